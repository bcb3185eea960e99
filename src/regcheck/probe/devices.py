"""Which devices measurements run on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from regcheck.core.errors import UsageError


def chosen(devices: Sequence[str]) -> tuple[str, ...]:
    """The devices to measure on: `auto` stands for the CPU and each kind of accelerator present.

    Raises:
        UsageError: a device that does not exist here.
    """
    names: list[str] = []
    for name in devices:
        if name == "auto":
            accelerator = torch.accelerator.current_accelerator(check_available=True)
            names += ["cpu"] if accelerator is None else ["cpu", accelerator.type]
            continue
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"device {name!r} cannot be used: {reason}") from error
        names.append(name)
    return tuple(dict.fromkeys(names))


def moved(value: Any, device: str) -> Any:
    """A copy of nested inputs on `device`, detached from any autograd graph."""
    if isinstance(value, torch.Tensor):
        copied = value.detach().to(device, copy=True)
        return copied.requires_grad_(value.requires_grad) if value.is_leaf else copied
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(each, device) for each in value))
    if isinstance(value, (tuple, list)):
        return type(value)(moved(each, device) for each in value)
    if isinstance(value, dict):
        return {key: moved(each, device) for key, each in value.items()}
    return value
