"""Leave no trace: what an audit runs is a copy of the model, and the original is never written to."""

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

from .process_state import keep_surroundings
from .run_state import originals


@contextmanager
def workspace(model: nn.Module) -> Iterator[Callable[[], nn.Module]]:
    """Gives copies of `model` to run and to change, each in the state that the model is in.

    What a lazy model became by its first run, the next copy is. A copy that runs part of the model itself, which it
    reaches by a global name, raises before that runs.

    Raises:
        CannotMeasure: when a copy is asked for, and there can be none.
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
    """Let a call that this thread makes of a model or a part of it raise before it runs."""
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
    """A copy of `model`, for measurements that change its modes: where it is, or with all it holds on a device.

    To another device its tensors are copied at once, with no copy between.

    Raises:
        CannotMeasure: the model cannot be copied, or there is no room for the copy.
    """
    if device:
        _refuse_without_room(model, device)
    copier = Copier(partial(_onto, device) if device else None)
    copier.memo.update(_lent(model))
    where = f" to {device}" * bool(device)
    try:
        twin: nn.Module = copier.copy(model)
        if device:
            twin = twin.to(device)  # what is not copied as tensors are: lazy parameters
    except CannotDuplicate as refusal:
        raise CannotMeasure(f"the model cannot be copied{where}: {refusal}") from refusal
    except BaseException as error:
        if stops(error):
            raise
        raise CannotMeasure(f"the model cannot be copied{where}: {format_error(error)}") from error
    for original, tensor in copier.tensors:
        if not nn.parameter.is_lazy(original):
            originals[tensor] = originals.get(original, original)
    keep_surroundings(copier.kinds)
    return twin


def _onto(device: str, tensor: torch.Tensor) -> torch.Tensor:
    """A detached copy of a tensor on a device."""
    if nn.parameter.is_lazy(tensor):
        return blank_like(tensor)
    made = tensor.detach().to(device, copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(made, tensor.requires_grad)
    return made.requires_grad_(tensor.requires_grad and tensor.is_leaf)


def _refuse_without_room(model: nn.Module, device: str) -> None:
    """Raise where a device has too little memory for a copy of the model."""
    size = sum(sizes_of(model).values())
    free = free_bytes(torch.device(device)) if size > SMALL else None
    if free is not None and size > free:
        raise CannotMeasure(f"a copy of the model takes {gigabytes(size)}, and {gigabytes(free)} are free on {device}")


def _lent(model: nn.Module) -> dict[int, Any]:
    """What a copy shares with the original: the trainer that a Lightning module refers to, with all its data."""
    lent = [vars(each).get(name) for each in parts(model) for name in ("_trainer", "trainer", "_fabric")]
    return {id(each): each for each in lent if each is not None}
