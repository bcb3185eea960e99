"""Live optimizers: their groups, the update they follow, the parameters they hold, the frame that constructs them."""

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
from regcheck.torch_api.optimizers import FLAG, decay_key

from .models import kinds_of_parameters

_numbers = itertools.count(1)
_keys: Any = WeakIdKeyDictionary()


def optimizer_info(optimizer: Any, models: Iterable[nn.Module] = ()) -> OptimizerInfo:
    """The optimizer as rules see it, under a key that stays the same for its lifetime.

    `models` own its parameters and so tell their kinds. An optimizer that delegates its steps to others has no groups:
    theirs are reported. One of Keras decays the weights apart from the gradients; it has no groups either.
    """
    name = type(optimizer).__name__
    if not isinstance(optimizer, torch.optim.Optimizer):
        return OptimizerInfo(key_of(optimizer), name, None)
    wanted = {id(each) for group in optimizer.param_groups for each in group["params"]}
    kinds = {key: kind for model in models for key, kind in kinds_of_parameters(model) if key in wanted}
    own = () if inner_optimizers(optimizer) else optimizer.param_groups
    groups = tuple(_group(each, kinds) for each in own)
    return OptimizerInfo(key_of(optimizer), name, update_rule(type(optimizer)), groups)


def decayed_groups(optimizer: Any) -> tuple[bool, ...]:
    """Whether each parameter group has a weight decay above zero, or of a type that only torch compares.

    An optimizer of Keras has no groups.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        return ()
    decays = [group.get(decay_key(group)) for group in optimizer.param_groups]
    return tuple([each != 0 if isinstance(each, (int, float)) else each is not None for each in decays])


def key_of(optimizer: Any) -> str:
    """The name and number of an optimizer, the same for its lifetime."""
    if optimizer not in _keys:
        _keys[optimizer] = f"{type(optimizer).__name__}#{next(_numbers)}"
    key: str = _keys[optimizer]
    return key


def holds(optimizer: Any, module: nn.Module) -> bool:
    """Whether the optimizer holds parameters of the module."""
    wanted = {id(each) for each in parameters_of(optimizer)}
    return any(id(each) in wanted for each in module.parameters())


def parameters_of(optimizer: Any) -> list[torch.Tensor]:
    """The parameters that an optimizer of torch or of Keras holds."""
    if isinstance(optimizer, torch.optim.Optimizer):
        return [each for group in optimizer.param_groups for each in group["params"]]
    return [variable.value for variable in getattr(optimizer, "_trainable_variables", ())]


def inner_optimizers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizers that a wrapper with a `step` of its own keeps as attributes, and delegates its steps to."""
    if update_rule(type(optimizer)) is not None:
        return []
    values = [value for name, value in vars(optimizer).items() if name not in ("state", "param_groups", "defaults")]
    values += [each for value in values if isinstance(value, (list, tuple)) for each in value]
    values += [each for value in values if isinstance(value, dict) for each in value.values()]
    inner = {id(each): each for each in values if isinstance(each, torch.optim.Optimizer) and each is not optimizer}
    return [*inner.values()]


def trains_whole(optimizer: torch.optim.Optimizer, module: nn.Module) -> bool:
    """Whether the optimizer holds all parameters of the module, none of them frozen, and some have a gradient."""
    stepped = {id(each) for each in parameters_of(optimizer)}
    own = [*module.parameters()]
    trained = all(id(each) in stepped and each.requires_grad for each in own)
    return trained and any(each.grad is not None for each in own)


def update_rule(cls: type[torch.optim.Optimizer]) -> str | None:
    """The torch.optim class whose `step` a class inherits; None if it defines its own."""
    base: Any
    for base in cls.__mro__:
        if base is torch.optim.Optimizer:
            return None
        if base.__module__.startswith("torch.optim."):
            # torch wraps `step` on the class of each optimizer it constructs: compare the functions inside.
            return base.__name__ if inspect.unwrap(cls.step) is inspect.unwrap(base.step) else None
    return None


def _group(group: dict[str, Any], kinds: Mapping[int, str]) -> Group:
    key = decay_key(group)
    try:
        decay = float(group[key])
    except (KeyError, TypeError, ValueError):
        decay = None
    holds = tuple(kinds.get(id(each), "") for each in group["params"])
    return Group(decay, bool(group.get(FLAG, False)), holds, key=key)


def wrap_apply(original: Callable[..., Any], note: Callable[[Any], None]) -> Callable[..., Any]:
    """The step of Keras' optimizers; reports each to `note` after it."""

    @functools.wraps(original)
    def apply(self: Any, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        result = original(self, *args, **kwargs)
        note(self)
        return result

    return apply


def report_construction(
    original: Callable[..., None], note: Callable[[Any, FrameType | None], None]
) -> Callable[..., None]:
    """Wraps `Optimizer.__init__` to call `note` with the optimizer and the frame that constructs it."""

    @functools.wraps(original)
    def __init__(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: N807, it replaces a method
        __tracebackhide__ = True
        note(self, _constructing_frame(sys._getframe(1), self))
        original(self, *args, **kwargs)

    return __init__


def _constructing_frame(frame: FrameType | None, optimizer: torch.optim.Optimizer) -> FrameType | None:
    """The frame that constructs the optimizer: the first outside the `__init__` of its classes."""
    while frame is not None and frame.f_code.co_name == "__init__":
        names = frame.f_code.co_varnames[:1]
        if not names or frame.f_locals.get(names[0]) is not optimizer:
            break
        frame = frame.f_back
    return frame
