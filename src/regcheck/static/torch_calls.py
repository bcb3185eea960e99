"""Classifies calls of torch functions and layers in source by the arguments that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regcheck.core.graph import Kind
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import LEARNED, STACKED, kind_of
from regcheck.torch_api.layers import UNKNOWN, layer_named

from .interpreter.values import (
    Constant,
    Items,
    LayerValue,
    Setting,
    Unknown,
    Value,
    argument,
    by_default,
    clause_of,
    truth,
)

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]

_REDUCING = ("mean", "amax", "sum")
_SPATIAL = ({2, 3}, {-1, -2}, {2, 3, 4}, {-1, -2, -3}, {2}, {3}, {-2})


@dataclass(frozen=True)
class CallKind:
    """The kind of a call; `window` says whether each of its results depends on several positions of its input."""

    kind: Kind
    window: bool = False


@dataclass(frozen=True)
class Rate:
    """A drop rate.

    Attributes:
        number: the rate; None where unknown.
        certain: whether it is certain to be a number; an unknown one counts as above zero then.
        default: whether it is the zero that a constructor or a configuration falls back on, and may be set otherwise.
        clause: for messages, if the number is a default that the user may change.
    """

    number: float | None
    certain: bool
    default: bool = False
    clause: str = ""

    @classmethod
    def of(cls, value: Value) -> Rate:
        if isinstance(value, Constant) and value.value is True:  # a switch where a rate belongs
            return cls(None, False)
        if isinstance(value, Constant) and isinstance(value.value, (int, float)):
            return cls(float(value.value), True, value.default)
        if isinstance(value, Setting):
            number = number_of(value)
            is_zero = number == 0
            return cls(None if is_zero else number, True, is_zero, clause_of(value) if number else "")
        return cls(None, isinstance(value, Unknown) and not value.varies)


def is_active(rate: Rate, switch: Value) -> bool | None:
    """Whether a call with this rate and switch drops; None where unknown."""
    on = truth(switch)
    if on is False or rate.number == 0:
        return False
    return True if on and rate.certain else None


def dropout_fields(rate: Rate, switch: Value, certain: bool) -> dict[str, Any]:
    """The fields of a dropping op; `certain` says that the call is made whenever its module runs."""
    active = is_active(rate, switch)
    return {
        "rate": rate.number,
        "active": active if certain or not active else None,
        "latent": certain and rate.default and truth(switch) is True,
        "by_default": rate.clause,
    }


def kind_of_call(function: str, args: Args, kwargs: Kwargs, scalar: bool) -> CallKind:
    """The kind of a function call; `args` begin with its input, `scalar` says that only one operand is a tensor."""
    kind = kind_of(function, scalar)
    if kind is Kind.CONV:
        return CallKind(kind)
    if function in _REDUCING:
        dims = _numbers(argument(args, kwargs, 1, "dim", kwargs.get("axis", Constant(None))))
        everything = dims is not None and len(dims) > 1 and set(dims) in _SPATIAL
        return CallKind(Kind.OTHER if everything else kind, dims is not None and set(dims) in _SPATIAL)
    if kind is Kind.POOL:
        return _pooling(function, argument(args, kwargs, 1, "kernel_size", ...), kind)
    return CallKind(kind)


def kind_of_layer(value: LayerValue) -> CallKind:
    """The kind of a layer's call."""
    row = layer_named(value.name)
    if row.kind is Kind.CONV:
        size = row.arguments["kernel_size"]
        return CallKind(row.kind, "transpose" not in row.function and _above_one(value.argument(*size)))
    if row.kind is Kind.POOL:
        size = row.arguments.get("kernel_size") or row.arguments["output_size"]
        return _pooling(row.function, value.argument(*size), row.kind)
    return CallKind(row.kind)


def _pooling(function: str, size: Value, kind: Kind) -> CallKind:
    """The kind of a pooling call; `Kind.OTHER` says that a single position, and so no map, may be left."""
    if "adaptive" in function:
        numbers = _numbers(size)
        return CallKind(Kind.OTHER if numbers and set(numbers) == {1} else kind, True)
    if not isinstance(size, (Constant, Items)):
        return CallKind(Kind.OTHER, isinstance(size, Unknown) and size.varies)
    return CallKind(kind, _above_one(size))


def may_learn(kind: Kind) -> bool:
    """Whether a layer of that kind may hold parameters of its own."""
    return kind in LEARNED or kind in (Kind.BATCH_NORM, Kind.NORM, Kind.ATTENTION, Kind.OPAQUE)


def number_of(value: Value) -> float | None:
    """The number that a value is, by default at least; None for any other value and for a placeholder below zero."""
    default = by_default(value)
    number = default.value if isinstance(default, Constant) else None
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        return None
    return float(number) if number >= 0 or default is value else None


def setting(value: LayerValue, name: str) -> Any:
    """The value of a layer's setting; `UNKNOWN` where it is no constant."""
    argument = value.argument(*layer_named(value.name).arguments[name])
    return argument.value if isinstance(argument, Constant) else UNKNOWN


def stacking(value: LayerValue) -> tuple[int | None, float | None, str]:
    """How many layers a recurrent layer stacks and its drop rate between them; None where unknown.

    The last item is a clause for messages, if one of both is a default that the user may change.
    """
    row = layer_named(value.name)
    if row.function not in STACKED or row.rate is None:
        return None, None, ""
    layers, rate = value.argument(*row.arguments["num_layers"]), value.argument(*row.rate)
    depth = by_default(layers)
    number = depth.value if isinstance(depth, Constant) and isinstance(depth.value, int) else None
    return number, Rate.of(rate).number, clause_of(layers, rate)


def tracks(value: LayerValue) -> bool | None:
    """Whether a norm keeps running statistics; None where unknown, and for a layer that cannot."""
    argument = layer_named(value.name).tracks
    return None if argument is None else truth(value.argument(*argument))


def layer_acts(value: LayerValue, kind: Kind, training: Value) -> bool | None:
    """Whether a layer draws, or normalizes by its batch, when its mode is `training`; None where unknown."""
    if kind is Kind.RANDOM:
        return True
    if kind is Kind.BATCH_NORM:
        keeps = tracks(value)
        return True if keeps is False else truth(training) if keeps else None
    depth, rate, _ = stacking(value)
    return truth(training) if depth is not None and depth > 1 and rate else False


def _above_one(size: Value) -> bool:
    return any(number > 1 for number in _numbers(size) or ())


def _numbers(value: Value) -> tuple[int, ...] | None:
    if isinstance(value, Constant):
        return (value.value,) if isinstance(value.value, int) else None
    if isinstance(value, Items):
        numbers = tuple(
            each.value for each in value.items if isinstance(each, Constant) and isinstance(each.value, int)
        )
        return numbers if len(numbers) == len(value.items) else None
    return None
