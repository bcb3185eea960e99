"""Leave no trace: an audit runs copies of the model, and never writes to the original."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.errors import CannotMeasure, format_error, stops
from regcheck.runtime.models import parts
from regcheck.tracing.copies.lazy import blank_like, is_lazy
from regcheck.tracing.copies.objects import Copier
from regcheck.tracing.copies.shared import CannotDuplicate, NotCopied
from regcheck.tracing.memory import SMALL, free_bytes, gigabytes, sizes_of

from .process_state import record_referenced_state
from .run_state import originals


@contextmanager
def workspace(model: nn.Module) -> Iterator[Callable[[], nn.Module]]:
    """Yields a function that copies `model`, in its current state, to run and to change.

    All copies of a lazy model are one object, so that the first run materializes it for all. A copy that calls a part
    of the original, which it reaches by a global name, raises before that part runs.

    Raises:
        CannotMeasure: the function is called, and the model cannot be copied.
    """
    lazy: list[nn.Module] = []

    def fresh() -> nn.Module:
        if lazy:
            return lazy[0]
        twin = copied(model)
        lazy.extend([twin] * is_lazy(twin))
        return twin

    with never_run(model):
        yield fresh


@contextmanager
def never_run(model: nn.Module) -> Iterator[None]:
    """Make every call of the model or a part of it in this thread raise before it runs."""
    own: Any = WeakIdKeyDictionary(dict.fromkeys(parts(model), True))
    here = threading.get_ident()

    def refuse(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == here and module in own:
            name = type(module).__name__
            raise NotCopied(f"its copy runs a {name} of the original, which it refers to by a global name or a class")

    handle = register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def copied(model: nn.Module, device: str = "") -> nn.Module:
    """A copy of `model`, on its own device or with all its tensors on another one.

    Tensors are copied to another device directly, without a copy in between.

    Raises:
        CannotMeasure: the model cannot be copied, or there is no room for the copy.
    """
    if device:
        _refuse_without_room(model, device)
    copier = Copier(partial(_onto, device) if device else None)
    copier.memo.update(_shared_with_original(model))
    where = f" to {device}" * bool(device)
    try:
        twin: nn.Module = copier.copy(model)
        if device:
            twin = twin.to(device)  # moves lazy parameters, which are not copied like other tensors
    except CannotDuplicate as refusal:
        raise CannotMeasure(f"the model cannot be copied{where}: {refusal}") from refusal
    except BaseException as error:
        if stops(error):
            raise
        raise CannotMeasure(f"the model cannot be copied{where}: {format_error(error)}") from error
    for original, tensor in copier.tensors:
        if not nn.parameter.is_lazy(original):
            originals[tensor] = originals.get(original, original)
    record_referenced_state(copier.kinds)
    return twin


def _onto(device: str, tensor: torch.Tensor) -> torch.Tensor:
    """A detached copy of a tensor on a device."""
    if nn.parameter.is_lazy(tensor):
        return blank_like(tensor)
    moved = tensor.detach().to(device, copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(moved, tensor.requires_grad)
    return moved.requires_grad_(tensor.requires_grad and tensor.is_leaf)


def _refuse_without_room(model: nn.Module, device: str) -> None:
    """Raise where a device has too little memory for a copy of the model."""
    size = sum(sizes_of(model).values())
    free = free_bytes(torch.device(device)) if size > SMALL else None
    if free is not None and size > free:
        raise CannotMeasure(f"a copy of the model takes {gigabytes(size)}, and {gigabytes(free)} are free on {device}")


def _shared_with_original(model: nn.Module) -> dict[int, Any]:
    """The objects that a copy shares with the original: a Lightning module's trainer, with all its data."""
    shared = [vars(each).get(name) for each in parts(model) for name in ("_trainer", "trainer", "_fabric")]
    return {id(each): each for each in shared if each is not None}
