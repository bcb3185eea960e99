"""The whole of a model whose parameters are sharded over several processes, for one of them to follow.

A sharded model cannot run in one process: its layers gather their parameters from the others. Its structure, and the
shapes of the whole parameters, are there in each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from regcheck.core.errors import CannotMeasure

from .copies.lazy import blank_like
from .copies.objects import Copier, CopyFunction
from .copies.shared import CannotDuplicate
from .memory import free_bytes, gigabytes
from .unwrap import Subject, obstacle

_THEIRS = "torch.distributed."
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
Blank = Callable[[Any, torch.Size], torch.Tensor]
"""Makes a tensor of a shape in place of a shard, with its dtype and on its device."""


def followable(subject: Subject) -> tuple[nn.Module, str]:
    """The model to follow, and why one process cannot run it; the reason is empty where it can.

    Of a sharded model it is a copy as it was before: its own classes, and whole parameters, as fake tensors. The hooks
    that `torch.distributed` registered are gone, those of the user are there. Nothing is communicated.

    Raises:
        CannotMeasure: a sharded model cannot be copied.
    """
    reason = obstacle(_sharded(subject))
    if not reason:
        return subject.model, ""
    fakes = FakeTensorMode()

    def blank(shard: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        with fakes:
            return torch.empty(shape, dtype=shard.dtype, device=shard.device)

    try:
        return _copied(subject, blank), reason
    except CannotMeasure as error:
        raise CannotMeasure(f"{reason}, and {error}") from error


def with_arbitrary_values(subject: Subject) -> nn.Module:
    """A copy of a sharded model, whole, with small random numbers for parameters: it runs, and computes nothing of use.

    The random numbers do not come from the process's streams.

    Raises:
        CannotMeasure: the model cannot be copied, or there is no room for the copy.
    """
    generators: dict[torch.device, torch.Generator] = {}

    def blank(shard: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        free = free_bytes(shard.device)
        size = 2 * shape.numel() * shard.element_size()
        if free is not None and size > free:
            raise CannotMeasure(f"there is no room for the whole model: {gigabytes(free)} are free on {shard.device}")
        values = torch.zeros(shape, dtype=shard.dtype, device=shard.device)
        if not values.is_floating_point():
            return values
        generator = generators.setdefault(shard.device, torch.Generator(shard.device))
        return values.normal_(0, 0.02, generator=generator)

    return _copied(subject, blank)


def _copied(subject: Subject, blank: Blank) -> nn.Module:
    model = _sharded(subject)
    try:
        whole: nn.Module = _Unsharder(model, blank).copy(model)
    except CannotDuplicate as refusal:
        raise CannotMeasure(f"the model cannot be copied: {refusal}") from refusal
    return whole


def _sharded(subject: Subject) -> nn.Module:
    model: nn.Module = subject.model if subject.sharded is None else subject.sharded
    return model


class _Unsharder(Copier):
    """Copies modules without what shards them, and makes each tensor a blank one of the whole's shape."""

    def __init__(self, model: nn.Module, blank: Blank) -> None:
        super().__init__(self._whole)
        self._blank = blank
        self._flattened = _flattened_parameters(model)

    def _whole(self, tensor: torch.Tensor) -> torch.Tensor:
        """A blank tensor; the shape of a `DTensor` is that of the whole."""
        if nn.parameter.is_lazy(tensor):
            return blank_like(tensor)
        values = self._blank(tensor, tensor.shape)
        return nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values

    def _copy_function(self, kind: Any) -> CopyFunction:
        is_part = issubclass(kind, (nn.Module, torch.Tensor))
        if kind.__module__.startswith(_THEIRS) and not is_part:  # process groups, meshes, the state of the sharding
            return self._share
        return super()._copy_function(kind)

    def _object(self, value: Any) -> Any:
        if not isinstance(value, nn.Module):
            return super()._object(value)
        inner = getattr(value, "_fsdp_wrapped_module", None)
        if inner is not None:
            twin = self.memo[id(value)] = self(inner)
            return twin
        twin = super()._object(value)
        twin.__class__ = _class_before(type(value))
        for name in _HOOKS:
            hooks = getattr(twin, name)
            for key in [key for key, hook in hooks.items() if _is_theirs(hook)]:
                del hooks[key]
        twin._parameters.pop("_flat_param", None)
        for name, (flat, shape) in self._flattened.get(id(value), {}).items():
            vars(twin).pop(name, None)
            twin._parameters[name] = nn.Parameter(self._blank(flat, shape), flat.requires_grad)
        return twin


def _flattened_parameters(model: nn.Module) -> dict[int, dict[str, tuple[torch.Tensor, torch.Size]]]:
    """The parameters that FSDP has flattened: by module's id and name, the flat tensor and the whole's shape."""
    parameters: dict[int, dict[str, tuple[torch.Tensor, torch.Size]]] = {}
    for wrapper in model.modules():
        flat = getattr(getattr(wrapper, "_handle", None), "flat_param", None)
        if flat is None:
            continue
        for info, shape in zip(flat._param_infos, flat._shapes, strict=True):
            parameters.setdefault(id(info.module), {})[info.param_name] = flat, shape
        for info in flat._shared_param_infos:
            first = parameters[id(info.prim_module)][info.prim_param_name]
            parameters.setdefault(id(info.module), {})[info.param_name] = first
    return parameters


def _class_before(kind: type) -> type:
    """The class of a module before `fully_shard` or its like replaced it by a subclass."""
    return next((base for base in kind.__mro__ if not base.__module__.startswith(_THEIRS)), kind)


def _is_theirs(hook: Any) -> bool:
    return str(getattr(getattr(hook, "func", hook), "__module__", "")).startswith(_THEIRS)
