"""Optimizers: what one is, where it was built, and when it steps."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.usage import Group, OptimizerInfo
from regcheck.torch_api.optimizers import DECAY, FLAG

from .models import kinds_of_parameters

_numbers = itertools.count(1)
_keys: Any = WeakIdKeyDictionary()


def described(optimizer: torch.optim.Optimizer, models: Iterable[nn.Module] = ()) -> OptimizerInfo:
    """The optimizer in the words of rules. Its key stays the same for as long as it lives.

    What its parameters are is told by those of the `models` that own them. One that leaves its steps to others has no
    groups, for they have them.
    """
    name = type(optimizer).__name__
    wanted = {id(each) for group in optimizer.param_groups for each in group["params"]}
    kinds = {key: kind for model in models for key, kind in kinds_of_parameters(model) if key in wanted}
    own = () if inner_optimizers(optimizer) else optimizer.param_groups
    groups = tuple(_group(each, kinds) for each in own)
    return OptimizerInfo(key_of(optimizer), name, followed(type(optimizer)), groups)


def key_of(optimizer: torch.optim.Optimizer) -> str:
    """What the optimizer is called for as long as it lives."""
    if optimizer not in _keys:
        _keys[optimizer] = f"{type(optimizer).__name__}#{next(_numbers)}"
    key: str = _keys[optimizer]
    return key


def holds(optimizer: torch.optim.Optimizer, module: nn.Module) -> bool:
    """Whether the optimizer holds parameters of the module."""
    wanted = {id(each) for group in optimizer.param_groups for each in group["params"]}
    return any(id(each) in wanted for each in module.parameters())


def inner_optimizers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that one with a step of its own keeps: it leaves its steps to them."""
    if followed(type(optimizer)) is not None:
        return []
    kept = [value for name, value in vars(optimizer).items() if name not in ("state", "param_groups", "defaults")]
    kept += [each for value in kept if isinstance(value, (list, tuple)) for each in value]
    kept += [each for value in kept if isinstance(value, dict) for each in value.values()]
    found = {id(each): each for each in kept if isinstance(each, torch.optim.Optimizer) and each is not optimizer}
    return [*found.values()]


def trains_whole(optimizer: torch.optim.Optimizer, module: nn.Module) -> bool:
    """Whether the optimizer holds all parameters of the module, none of them frozen, and some have a gradient."""
    held = {id(each) for group in optimizer.param_groups for each in group["params"]}
    own = [*module.parameters()]
    return all(id(each) in held and each.requires_grad for each in own) and any(each.grad is not None for each in own)


def followed(cls: type[torch.optim.Optimizer]) -> str | None:
    """The torch.optim class whose update a class follows; None if it has an update of its own."""
    base: Any
    for base in cls.__mro__:
        if base is torch.optim.Optimizer:
            return None
        if base.__module__.startswith("torch.optim."):
            # torch wraps `step` on the class of each optimizer it builds, so only what is inside the wrapping tells.
            return base.__name__ if inspect.unwrap(cls.step) is inspect.unwrap(base.step) else None
    return None


def _group(group: dict[str, Any], kinds: Mapping[int, str]) -> Group:
    try:
        decay = float(group[DECAY])
    except (KeyError, TypeError, ValueError):
        decay = None
    holds = tuple(kinds.get(id(each), "") for each in group["params"])
    return Group(decay, bool(group.get(FLAG, False)), holds)


def building(original: Callable[..., None], note: Callable[[Any, FrameType | None], None]) -> Callable[..., None]:
    """`Optimizer.__init__`, telling `note` of the optimizer and of the frame that builds it."""

    @functools.wraps(original)
    def __init__(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807, it replaces a method
        __tracebackhide__ = True
        note(self, _builder(sys._getframe(1), self))
        original(self, *args, **kwargs)

    return __init__


def _builder(frame: FrameType | None, optimizer: torch.optim.Optimizer) -> FrameType | None:
    """The frame that built the optimizer: past the `__init__` of every class derived from torch's."""
    while frame is not None and frame.f_code.co_name == "__init__":
        names = frame.f_code.co_varnames[:1]
        if not names or frame.f_locals.get(names[0]) is not optimizer:
            break
        frame = frame.f_back
    return frame
