"""Seed torch's random streams for a run."""

from __future__ import annotations

import torch


def seed_streams(seed: int) -> None:
    """Seed the CPU's stream and those of the accelerators in use.

    `torch.manual_seed` would also queue the seed, with a formatted stack, for each accelerator that is not in use: that
    takes longer than most calls, and would seed whoever uses one later.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    if torch.xpu.is_initialized():  # type: ignore[no-untyped-call]
        torch.xpu.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
