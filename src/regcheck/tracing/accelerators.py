"""The accelerator of this machine, of any kind, and the states of its random streams."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def kind() -> str:
    """The accelerator's device type ("cuda", "mps", "xpu", a custom backend's name); empty without accelerator."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return "" if device is None else device.type


@lru_cache(maxsize=1)
def accelerator() -> Any:
    """The accelerator's module (`torch.cuda`, `torch.mps`, …), or None; torch supports one accelerator at a time."""
    name = kind()
    return torch.get_device_module(name) if name else None


def in_use() -> Any:
    """The accelerator's module if it is initialized, else None; one without initialization always counts as in use.

    Before initialization it does not query for devices: a forked process could not use CUDA afterwards.
    """
    module = _built_for()
    if module is None or not hasattr(module, "is_initialized"):
        return accelerator()
    return module if module.is_initialized() else None


@lru_cache(maxsize=1)
def _built_for() -> Any:
    """The module of the accelerator that this torch is built for, available or not."""
    device = torch.accelerator.current_accelerator(check_available=False)
    return torch.get_device_module(device) if device else None


def capturing() -> bool:
    """Whether a CUDA graph is being captured; nothing else may run meanwhile."""
    return in_use() is torch.cuda and torch.cuda.is_current_stream_capturing()


def states(module: Any) -> list[Tensor]:
    """The states of the random streams of all devices; a single-device backend has one stream."""
    return [*module.get_rng_state_all()] if hasattr(module, "get_rng_state_all") else [module.get_rng_state()]


def put_back(module: Any, states: list[Tensor]) -> None:
    """Restore the states of the random streams of all devices."""
    module.set_rng_state_all(states) if hasattr(module, "set_rng_state_all") else module.set_rng_state(*states)


def state(device: torch.device) -> Tensor:
    """The state of one device's random stream."""
    module: Any = torch.get_device_module(device)
    stream: Tensor = module.get_rng_state(*[device] * hasattr(module, "get_rng_state_all"))
    return stream


def set_state(device: torch.device, state: Tensor) -> None:
    """Restore the state of one device's random stream."""
    module: Any = torch.get_device_module(device)
    module.set_rng_state(state, *[device] * hasattr(module, "set_rng_state_all"))
