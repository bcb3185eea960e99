"""What a model itself says of its inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from .call_inputs import Inputs
from .drawing import Spec, affordable


def examples(model: nn.Module) -> Iterator[Inputs]:
    """The inputs kept on a model for whoever wants to run it."""
    for name in ("example_inputs", "example_input_array", "dummy_inputs"):
        value = read(model, name)
        if isinstance(value, Mapping):
            yield Inputs((), dict(value), name)
        elif isinstance(value, (tuple, list)) and value:
            yield Inputs(tuple(value), {}, name)
        elif isinstance(value, torch.Tensor):
            yield Inputs((value,), {}, name)


def pretrained(model: nn.Module) -> Iterator[Inputs]:
    """Images of the size that the weights of a timm model were trained with."""
    size = pretrained_size(model)
    if size is not None:
        for samples in (affordable(size), 1):
            yield Inputs((Spec((None, *size)).drawn(samples),), {}, "pretrained_cfg")


def pretrained_size(model: nn.Module) -> tuple[int, ...] | None:
    """Channels, height and width in a timm model's `pretrained_cfg`."""
    declared = read(model, "pretrained_cfg") or read(model, "default_cfg")
    size = declared.get("input_size") if isinstance(declared, Mapping) else None
    if not isinstance(size, (tuple, list)) or not all(isinstance(each, int) for each in size):
        return None
    return tuple(size)


def read(owner: Any, name: str) -> Any:
    """An attribute's value; None where there is none, or where a property raises."""
    try:
        return getattr(owner, name, None)
    except Exception:
        return None
