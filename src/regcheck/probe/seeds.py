"""The random streams of torch: seeded for a run, and put back after it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch


def seed_streams(seed: int) -> None:
    """Seed the CPU's stream and those of the accelerator, if one is in use.

    `torch.manual_seed` would also queue the seed, with a formatted stack, for each accelerator that is not in use: that
    takes longer than most calls, and would seed whoever uses one later.
    """
    torch.default_generator.manual_seed(seed)
    module = accelerator()
    if module is not None and _in_use(module):
        seed_all = getattr(module, "manual_seed_all", None) or module.manual_seed
        seed_all(seed)


class Streams:
    """The state of torch's random streams, to be put back.

    An accelerator that is not in use has none yet: `begin_to_use` it before anything draws there.
    """

    def __init__(self) -> None:
        self._here = torch.get_rng_state()
        self._there: Any = None
        module = accelerator()
        if module is not None and _in_use(module):
            self._there = _states(module)

    def begin_to_use(self, device: str) -> None:
        """Keep the streams of an accelerator that is used now for the first time."""
        module = accelerator()
        if self._there is None and module is not None and torch.device(device).type == _kind():
            getattr(module, "init", lambda: None)()
            self._there = _states(module)

    def put_back(self) -> None:
        """Let every stream go on as if nothing had been drawn."""
        torch.set_rng_state(self._here)
        if self._there is not None:
            module = accelerator()
            put = getattr(module, "set_rng_state_all", None) or getattr(module, "set_rng_state", None)
            assert put is not None
            put(self._there)


def state_of(device: torch.device) -> bytes:
    """The state of the stream that calls on a device draw from where they are given no other."""
    there = device.type != "cpu"
    state = torch.get_device_module(device.type).get_rng_state(device) if there else torch.get_rng_state()
    return bytes(state.tolist())


def draw_from(device: torch.device, state: bytes) -> None:
    """Let calls on a device draw from a stream in this state."""
    held = torch.tensor([*state], dtype=torch.uint8)
    if device.type == "cpu":
        torch.set_rng_state(held)
    else:
        torch.get_device_module(device.type).set_rng_state(held, device)


def _kind() -> str:
    found = torch.accelerator.current_accelerator(check_available=True)
    return "" if found is None else found.type


@lru_cache(maxsize=1)
def accelerator() -> Any:
    """The module of the accelerator that is here (`torch.cuda`, `torch.mps`, …), or None; torch knows one at most."""
    kind = _kind()
    return torch.get_device_module(kind) if kind else None


def _in_use(module: Any) -> bool:
    """Whether it was initialized; one that need not be always is."""
    return bool(getattr(module, "is_initialized", lambda: True)())


def _states(module: Any) -> Any:
    return (getattr(module, "get_rng_state_all", None) or module.get_rng_state)()
