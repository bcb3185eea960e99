"""Arguments of a forward as a value, and how they are copied and moved."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from regcheck.tracing.copies.objects import Copier
from regcheck.tracing.copies.shared import ATOMS
from regcheck.tracing.copies.tensors import Clones

DEPTH = 6
"""How deep tensors are looked for in objects that are no containers."""


@dataclass(frozen=True)
class Inputs:
    """Arguments of a forward, and where they come from (for the report)."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "given"


def home_of(model: nn.Module) -> torch.device:
    """The device a model is on: that of its first parameter or buffer."""
    return next((each.device for each in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def elsewhere(model: nn.Module, inputs: Inputs | None) -> str:
    """That inputs are on another device than the model, in words; empty where all are on the same."""
    given = (inputs.args, dict(inputs.kwargs)) if inputs is not None else ()
    found = dict.fromkeys(str(tensor.device) for tensor in _held(given, DEPTH))
    home = str(home_of(model))
    return f"the inputs are on {', '.join(found)}, the model is on {home}" if found and set(found) != {home} else ""


def precision_of(model: nn.Module) -> torch.dtype:
    """The dtype a model computes in: that of its first floating-point parameter."""
    return next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)


def suited(inputs: Inputs, model: nn.Module) -> Inputs:
    """The inputs on the model's device, their floating-point tensors in the model's dtype."""
    home, precision = home_of(model), precision_of(model)

    def suit(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(home, precision if tensor.is_floating_point() else tensor.dtype, copy=True)

    return Inputs(mapped(inputs.args, suit), mapped(inputs.kwargs, suit), inputs.origin)


def with_another_sample(inputs: Inputs) -> list[Inputs]:
    """The inputs with another sample beside the one that they hold, if it is one: batch norm trains on two or more."""
    held = [each for each in _held((inputs.args, dict(inputs.kwargs)), DEPTH) if each.dim()]
    if not held or any(each.layout is not torch.strided or each.size(0) != 1 for each in held):
        return []

    def beside(tensor: torch.Tensor) -> torch.Tensor:
        alone = tensor.detach()
        other = alone.flip(-1) if tensor.is_floating_point() else alone
        return torch.cat([alone, other]) if tensor.dim() else tensor

    try:
        return [Inputs(mapped(inputs.args, beside), mapped(inputs.kwargs, beside), f"{inputs.origin} and another")]
    except Exception:  # what cannot be copied was refused before
        return []


def moved(value: Any, device: torch.device | str | None = None) -> Any:
    """A copy of nested inputs, on `device` or where they are, detached from any autograd graph."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().to(device or tensor.device, copy=True)
        return copied.requires_grad_(tensor.requires_grad) if tensor.is_leaf else copied

    return mapped(value, move)


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested inputs with `change` applied to every tensor; everything else that a forward could write to is copied."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, PackedSequence):  # its batch sizes stay on the CPU
        order = (mapped(each, change) for each in (value.sorted_indices, value.unsorted_indices))
        return PackedSequence(change(value.data), value.batch_sizes, *order)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(each, change) for each in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(each, change) for each in value)
    if isinstance(value, dict):
        twin = copy.copy(value)
        twin.update((key, mapped(each, change)) for key, each in value.items())
        return twin
    return value if type(value) in ATOMS else _copied(value, change)


def _copied(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A copy of an object, with `change` applied to its tensors but for the parameters of models."""
    copier = Copier(lambda tensor: clone(tensor) if isinstance(tensor, nn.Parameter) else change(tensor))
    clone = Clones(copier.memo)
    return copier.copy(value)


def _held(value: Any, depth: int) -> Iterator[torch.Tensor]:
    """The tensors that a plain object (a dataclass, a batch of a data library) keeps in its attributes."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, (nn.Module, type)) or depth == 0:
        return
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _held(each, depth - 1)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for each in value:
            yield from _held(each, depth - 1)
    elif dataclasses.is_dataclass(value) or hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        kept = {**getattr(value, "__dict__", {}), **{name: getattr(value, name, None) for name in slots}}
        for each in kept.values():
            yield from _held(each, depth - 1)
