"""The arguments of a forward as a value, with functions that copy and move them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from regcheck.lazy_dataclass import dataclass
from regcheck.tracing.copies.objects import Copier
from regcheck.tracing.copies.shared import ATOMS
from regcheck.tracing.copies.tensors import Clones

DEPTH = 6
"""The greatest depth of the search for tensors in nested objects."""


@dataclass(frozen=True)
class Inputs:
    """The arguments of a forward, and their origin as reports name it."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "given"


def home_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter or buffer."""
    return next((each.device for each in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def elsewhere(model: nn.Module, inputs: Inputs | None) -> str:
    """A sentence that names the devices of inputs and model where they differ, else an empty string."""
    values = (inputs.args, dict(inputs.kwargs)) if inputs is not None else ()
    devices = dict.fromkeys(str(tensor.device) for tensor in _tensors_of(values, DEPTH))
    home = str(home_of(model))
    if not devices or set(devices) == {home}:
        return ""
    return f"the inputs are on {', '.join(devices)}, the model is on {home}"


def precision_of(model: nn.Module) -> torch.dtype:
    """The dtype of a model's first floating-point parameter."""
    return next((each.dtype for each in model.parameters() if each.is_floating_point()), torch.float32)


def fit_to_model(inputs: Inputs, model: nn.Module) -> Inputs:
    """A copy of the inputs on the model's device, with floating-point tensors in the model's dtype."""
    home, precision = home_of(model), precision_of(model)

    def fit(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(home, precision if tensor.is_floating_point() else tensor.dtype, copy=True)

    return Inputs(mapped(inputs.args, fit), mapped(inputs.kwargs, fit), inputs.origin)


def with_another_sample(inputs: Inputs) -> list[Inputs]:
    """Inputs of one sample, doubled by a second one: batch norm in train mode needs two. Empty for other inputs."""
    tensors = [each for each in _tensors_of((inputs.args, dict(inputs.kwargs)), DEPTH) if each.dim()]
    if not tensors or any(each.layout is not torch.strided or each.size(0) != 1 for each in tensors):
        return []

    def beside(tensor: torch.Tensor) -> torch.Tensor:
        alone = tensor.detach()
        other = alone.flip(-1) if tensor.is_floating_point() else alone
        return torch.cat([alone, other]) if tensor.dim() else tensor

    try:
        return [Inputs(mapped(inputs.args, beside), mapped(inputs.kwargs, beside), f"{inputs.origin} and another")]
    except Exception:  # inputs that cannot be copied have failed before
        return []


def moved(value: Any, device: torch.device | str | None = None) -> Any:
    """A copy of nested inputs, on `device` (default: on their own), detached from any autograd graph."""

    def move(tensor: torch.Tensor) -> torch.Tensor:
        copied = tensor.detach().to(device or tensor.device, copy=True)
        return copied.requires_grad_(tensor.requires_grad) if tensor.is_leaf else copied

    return mapped(value, move)


def mapped(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Nested inputs with `change` applied to every tensor, and copies of all other mutable objects."""
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
    """A copy of an object, with `change` applied to its tensors, except to parameters of models."""
    copier = Copier(lambda tensor: clone(tensor) if isinstance(tensor, nn.Parameter) else change(tensor))
    clone = Clones(copier.memo)
    return copier.copy(value)


def _tensors_of(value: Any, depth: int) -> Iterator[torch.Tensor]:
    """The tensors in nested containers, and in the attributes of plain objects such as dataclasses."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, PackedSequence):
        yield value.data
    elif isinstance(value, (nn.Module, type)) or depth == 0:
        return
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tensors_of(each, depth - 1)
    elif isinstance(value, (tuple, list, set, frozenset)):
        for each in value:
            yield from _tensors_of(each, depth - 1)
    elif dataclasses.is_dataclass(value) or hasattr(value, "__dict__") or hasattr(value, "__slots__"):
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        attributes = {**getattr(value, "__dict__", {}), **{name: getattr(value, name, None) for name in slots}}
        for each in attributes.values():
            yield from _tensors_of(each, depth - 1)
