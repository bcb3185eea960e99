"""Computing with constants."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from .names import Definition
from .values import Bound, Either, External, Known, Traced, Unknown, Value

BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", operator.add),
    ast.Sub: ("sub", operator.sub),
    ast.Mult: ("mul", operator.mul),
    ast.Div: ("div", operator.truediv),
    ast.FloorDiv: ("floordiv", operator.floordiv),
    ast.Mod: ("mod", operator.mod),
    ast.Pow: ("pow", operator.pow),
    ast.MatMult: ("matmul", operator.matmul),
    ast.BitAnd: ("and", operator.and_),
    ast.BitOr: ("or", operator.or_),
    ast.BitXor: ("xor", operator.xor),
}
COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, other: one in other,
    ast.NotIn: lambda one, other: one not in other,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
_LARGEST = 10_000
_WIDE = re.compile(r"\d{5}|\*")
_SIMPLE = (int, float, str, type(None), tuple, range)


def folded(compute: Callable[[Any, Any], Any], left: Any, right: Any) -> Value:
    """What an operator gives for two constants; unknown where that is an error, or large."""
    if not isinstance(left, _SIMPLE) or not isinstance(right, _SIMPLE):
        return Unknown()
    if compute in (operator.pow, operator.mul) and not (_is_small(left) and _is_small(right)):
        return Unknown()
    if compute is operator.mod and isinstance(left, str) and swells(left, "format", (right,)):
        return Unknown()
    return computed(compute, left, right)


def computed(compute: Callable[..., Any], *values: Any) -> Value:
    """What a computation gives for constants; unknown where it fails, as it may for the constants of a dead branch."""
    try:
        found = compute(*values)
    except Exception:
        return Unknown()
    long = isinstance(found, (str, bytes, tuple, list)) and len(found) > _LARGEST
    return Unknown(varies=True) if long else Known(found)


def swells(owner: object, method: str, args: Sequence[object]) -> bool:
    """Whether a method may pad what it is given to a length that memory does not hold."""
    wide = method.startswith("format") and isinstance(owner, str) and _WIDE.search(owner) is not None
    return wide or any(isinstance(each, int) and abs(each) > _LARGEST for each in args)


def _is_small(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST


def identical(left: Value, right: Value) -> bool | None:
    """Whether two values are the same object; None where that cannot be told."""
    if isinstance(left, Known) and isinstance(right, Known):
        return left == right if left.value is None or right.value is None or isinstance(left.value, bool) else None
    for one, other in ((left, right), (right, left)):
        if one == Known(None) and not isinstance(other, (Unknown, Traced, Either, Bound)):
            return False
    if isinstance(left, (Definition, External)) and isinstance(right, (Definition, External)):
        return left == right
    return None
