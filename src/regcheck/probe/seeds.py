"""Seed torch's random streams for a run, and restore them after it."""

from __future__ import annotations

import random
import sys

import torch
from torch import Tensor

from regcheck.tracing import accelerators
from regcheck.tracing.accelerators import accelerator, in_use


def seed_streams(seed: int) -> None:
    """Seed the CPU's stream and those of the accelerator, if one is in use.

    `torch.manual_seed` also queues the seed, with a formatted stack, for each accelerator that is not in use: that
    takes longer than most calls, and seeds a later user of it.
    """
    torch.default_generator.manual_seed(seed)
    module = in_use()
    if module is not None:
        seed_all = getattr(module, "manual_seed_all", None) or module.manual_seed
        seed_all(seed)


def seed_everything(seed: int) -> None:
    """Seed the streams of torch, Python and, where it is in use, NumPy."""
    random.seed(seed)
    seed_streams(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


class Streams:
    """The state of torch's random streams, and how to restore it; a context manager that restores it at exit.

    An accelerator that is not in use has no streams yet: call `begin_to_use` before anything draws there.
    """

    def __init__(self) -> None:
        self._here = torch.get_rng_state()
        self._there: list[Tensor] | None = None
        module = in_use()
        if module is not None:
            self._there = accelerators.states(module)

    def __enter__(self) -> Streams:
        return self

    def __exit__(self, *stopped_by: object) -> None:
        self.restore()

    def begin_to_use(self, device: str) -> None:
        """Record the streams of an accelerator before its first use."""
        module = accelerator()
        if self._there is None and module is not None and torch.device(device).type == accelerators.kind():
            getattr(module, "init", lambda: None)()
            self._there = accelerators.states(module)

    def restore(self) -> None:
        """Restore every stream, as if nothing had drawn from it."""
        torch.set_rng_state(self._here)
        if self._there is not None:
            accelerators.put_back(accelerator(), self._there)


def state_of(device: torch.device) -> bytes:
    """The state of the default stream of a device."""
    return bytes((torch.get_rng_state() if device.type == "cpu" else accelerators.state(device)).tolist())


def draw_from(device: torch.device, state: bytes) -> None:
    """Set the state of the default stream of a device."""
    restored = torch.tensor([*state], dtype=torch.uint8, device="cpu")
    if device.type == "cpu":
        torch.set_rng_state(restored)
    else:
        accelerators.set_state(device, restored)
