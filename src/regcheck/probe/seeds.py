"""The random streams of torch: seeded for a run, and put back after it."""

from __future__ import annotations

import random
import sys

import torch
from torch import Tensor

from regcheck.tracing import accelerators
from regcheck.tracing.accelerators import accelerator, in_use


def seed_streams(seed: int) -> None:
    """Seed the CPU's stream and those of the accelerator, if one is in use.

    `torch.manual_seed` would also queue the seed, with a formatted stack, for each accelerator that is not in use: that
    takes longer than most calls, and would seed whoever uses one later.
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
    """The state of torch's random streams, to be put back; as a context manager it puts them back itself.

    An accelerator that is not in use has none yet: `begin_to_use` it before anything draws there.
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
        self.put_back()

    def begin_to_use(self, device: str) -> None:
        """Keep the streams of an accelerator that is used now for the first time."""
        module = accelerator()
        if self._there is None and module is not None and torch.device(device).type == accelerators.kind():
            getattr(module, "init", lambda: None)()
            self._there = accelerators.states(module)

    def put_back(self) -> None:
        """Let every stream go on as if nothing had been drawn."""
        torch.set_rng_state(self._here)
        if self._there is not None:
            accelerators.put_back(accelerator(), self._there)


def state_of(device: torch.device) -> bytes:
    """The state of the stream that calls on a device draw from where they are given no other."""
    return bytes((torch.get_rng_state() if device.type == "cpu" else accelerators.state(device)).tolist())


def draw_from(device: torch.device, state: bytes) -> None:
    """Let calls on a device draw from a stream in this state."""
    held = torch.tensor([*state], dtype=torch.uint8, device="cpu")
    if device.type == "cpu":
        torch.set_rng_state(held)
    else:
        accelerators.set_state(device, held)
