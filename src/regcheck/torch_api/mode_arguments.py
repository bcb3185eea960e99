"""Arguments of a forward that hold the mode, as in `forward(x, train=True)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from regcheck.lazy_dataclass import dataclass


class ModeFlag(Enum):
    """Stands in a call for an argument that holds the mode: true in training, or true in prediction."""

    TRAINS = "trains"
    PREDICTS = "predicts"

    def value_in(self, training: bool) -> bool:
        return training is (self is ModeFlag.TRAINS)


FLAGS = dict.fromkeys(("train", "training", "is_train", "is_training", "train_mode"), ModeFlag.TRAINS)
FLAGS |= dict.fromkeys(("deterministic", "inference", "eval", "is_eval", "test"), ModeFlag.PREDICTS)
"""The flag that stands for an argument of each name."""


@dataclass(frozen=True)
class _ModeArgument:
    """An argument of a call that holds the mode: its position, or None where it is passed by name or by default."""

    name: str
    position: int | None
    value: bool

    def agrees(self, training: bool) -> bool:
        return self.value is FLAGS[self.name].value_in(training)


def tied(
    forward: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    training: bool,
    defaults: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call, with a flag for each that holds the mode `training`.

    Without `defaults`, an argument that the call leaves out stays out.
    """
    by_position, by_name = list(args), dict(kwargs)
    for each in _mode_arguments(forward, args, kwargs):
        if not each.agrees(training):
            continue
        if each.position is not None:
            by_position[each.position] = FLAGS[each.name]
        elif defaults or each.name in kwargs:
            by_name[each.name] = FLAGS[each.name]
    return tuple(by_position), by_name


def is_tied(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call has other arguments in the other mode."""
    return any(isinstance(each, ModeFlag) for each in (*args, *kwargs.values()))


def in_mode(args: Sequence[Any], kwargs: Mapping[str, Any], training: bool) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, with the value of each flag in that mode."""

    def value(each: Any) -> Any:
        return each.value_in(training) if isinstance(each, ModeFlag) else each

    return [value(each) for each in args], {name: value(each) for name, each in kwargs.items()}


def contradictions(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], training: bool
) -> tuple[str, ...]:
    """The names of the arguments of a call that hold the other mode."""
    return tuple(each.name for each in _mode_arguments(forward, args, kwargs) if not each.agrees(training))


def _mode_arguments(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Sequence[_ModeArgument]:
    try:
        parameters = [*inspect.signature(forward).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    positional = (each.name for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD))
    values: dict[str, tuple[int | None, Any]] = {each.name: (None, each.default) for each in parameters}
    values |= {name: (at, value) for at, (name, value) in enumerate(zip(positional, args, strict=False))}
    values |= {name: (None, value) for name, value in kwargs.items()}
    flags = ((name, at, value) for name, (at, value) in values.items() if name in FLAGS)
    return [_ModeArgument(name, at, value) for name, at, value in flags if type(value) is bool]
