"""The accelerator that is here beside the CPU, of whatever kind, and the states of its random streams."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def kind() -> str:
    """The type of its devices ("cuda", "mps", "xpu", the name of a backend of its own); empty where there is none."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return "" if found is None else found.type


@lru_cache(maxsize=1)
def accelerator() -> Any:
    """Its module (`torch.cuda`, `torch.mps`, …), or None; torch knows one accelerator at most."""
    found = kind()
    return torch.get_device_module(found) if found else None


def in_use() -> Any:
    """Its module, or None where it has not been initialized; one that need not be is always in use.

    Whether there is a device is not asked where none is initialized: a forked process could not use CUDA afterwards.
    """
    module = _built_for()
    if module is None or not hasattr(module, "is_initialized"):
        return accelerator()
    return module if module.is_initialized() else None


@lru_cache(maxsize=1)
def _built_for() -> Any:
    """The module of the accelerator that this torch is built for, whether there is one here or not."""
    found = torch.accelerator.current_accelerator(check_available=False)
    return torch.get_device_module(found) if found else None


def capturing() -> bool:
    """Whether a CUDA graph is being captured, in which nothing else may run."""
    return in_use() is torch.cuda and torch.cuda.is_current_stream_capturing()


def states(module: Any) -> list[Tensor]:
    """The states of all its streams; some kinds have one device, and tell of that without being asked for it."""
    return [*module.get_rng_state_all()] if hasattr(module, "get_rng_state_all") else [module.get_rng_state()]


def put_back(module: Any, kept: list[Tensor]) -> None:
    """Let all its streams go on from the states that they had."""
    module.set_rng_state_all(kept) if hasattr(module, "set_rng_state_all") else module.set_rng_state(*kept)


def state(device: torch.device) -> Tensor:
    """The state of one device's stream."""
    module: Any = torch.get_device_module(device)
    kept: Tensor = module.get_rng_state(*[device] * hasattr(module, "get_rng_state_all"))
    return kept


def set_state(device: torch.device, kept: Tensor) -> None:
    """Let one device's stream go on from a state."""
    module: Any = torch.get_device_module(device)
    module.set_rng_state(kept, *[device] * hasattr(module, "set_rng_state_all"))
