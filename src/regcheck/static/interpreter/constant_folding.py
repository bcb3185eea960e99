"""Operations on constants, with one bound on their work.

No operation creates or traverses more than `WORK` characters, items or bits: `work_of` predicts its work beforehand. A
constant above its bound is an unknown value. `State.compute` runs every operation and charges steps for it.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from regcheck.static.project.names import Definition

from .values import Bound, Constant, Either, External, TensorRef, Unknown, Value

LARGEST = 10_000
"""A string or a sequence that is longer than this is an unknown value."""
BITS = 1_000
"""An integer of more bits than this is an unknown value; a float holds smaller ones."""
WORK = 1_000_000
"""An operation that may create or traverse more than this is not computed."""


def contains(item: Any, owner: Any) -> bool:
    """`item in owner`."""
    return item in owner


def lacks(item: Any, owner: Any) -> bool:
    """`item not in owner`."""
    return item not in owner


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
    ast.In: contains,
    ast.NotIn: lacks,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}
BUILTINS: dict[str, Callable[..., object]] = {
    each.__name__: each for each in (int, float, bool, str, abs, round, max, min)
}
CONVERSIONS: dict[str, Callable[[object], str]] = {"r": repr, "s": str, "a": ascii}
MATH: dict[str, Callable[..., object]] = {
    name: getattr(math, name) for name in "sqrt log log2 log10 exp floor ceil pow prod gcd".split()
}
METHODS: dict[tuple[type, str], Callable[..., object]] = {
    (str, name): getattr(str, name)
    for name in "capitalize casefold center count endswith expandtabs find format index isalnum isalpha isdecimal"
    " isdigit isidentifier islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix"
    " removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title"
    " upper zfill".split()
} | {(int, "bit_length"): int.bit_length}
"""The methods that are computed; a string's method creates at most the product of the sizes of its arguments."""
_OF_TEXT = frozenset(METHODS.values()) - {int.bit_length}

OPERANDS = (int, float, str, type(None), tuple, range)
"""The constants that operators are computed for."""
_WIDTH = re.compile(r"\d+")
_NUMBER = 400
"""The most digits of a float, or of an integer that fits."""


def fits(value: object) -> bool:
    """Whether a constant is within its bound."""
    if isinstance(value, int):
        return value.bit_length() <= BITS
    if isinstance(value, range):
        return _size(value) <= sys.maxsize
    return not isinstance(value, (str, bytes, tuple, list)) or len(value) <= LARGEST


def work_of(compute: Callable[..., object], values: Sequence[Any]) -> Any:
    """A bound on the characters, items and bits that an operation on constants creates or traverses."""
    if compute in (contains, lacks) and isinstance(values[1], range) and isinstance(values[0], int):
        return 1
    if compute is operator.mul and not all(isinstance(each, (int, float)) for each in values):
        return math.inf
    if compute is operator.pow and all(isinstance(each, int) for each in values):
        return _size(values[0]) * max(values[1], 1)
    if compute is round and len(values) > 1:
        return _NUMBER * abs(values[1]) if isinstance(values[1], int) else math.inf
    if compute is math.prod:
        return BITS * sum(map(_size, values))
    if compute is str.format or (compute is operator.mod and isinstance(values[0], str)):
        return _formatted(*values)
    if compute is format:
        return _formatted("{" + values[1], values[0])
    if compute in _OF_TEXT:
        text, *arguments = values
        return (len(text) + 1) * (1 + sum(abs(each) if isinstance(each, int) else _size(each) for each in arguments))
    return sum(map(_size, values))


def _size(value: object) -> int:
    if isinstance(value, range):  # `len` cannot return the length of a very long one
        return max(0, -(-(value.stop - value.start) // value.step)) + 1
    if isinstance(value, int):
        return value.bit_length()
    return len(value) + 1 if isinstance(value, (str, bytes, tuple, list)) else 1


def _formatted(text: str, *arguments: Any) -> float:
    """A bound on the length of a formatted text: a field is at most as wide as a number in it, or as its argument."""
    widths = _WIDTH.findall(text)
    if any(len(each) > 6 for each in widths):
        return math.inf
    largest = max([_NUMBER, *(abs(each) if isinstance(each, int) else 6 * _size(each) for each in arguments)])
    fields = text.count("{") + text.count("%")
    return len(text) + sum(map(int, widths)) + fields * largest


def concatenate(*parts: object) -> str:
    """The text of an f-string's parts."""
    return "".join(map(str, parts))


def is_data(node: ast.expr) -> bool:
    """Whether an expression consists of literals only."""
    if isinstance(node, ast.Dict):
        return all(each is not None and is_data(each) for each in (*node.keys, *node.values))
    if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        return all(map(is_data, node.elts))
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and is_data(node.operand))


def identical(left: Value, right: Value) -> bool | None:
    """Whether two values are the same object; None if that is not known."""
    if isinstance(left, Constant) and isinstance(right, Constant):
        return left == right if left.value is None or right.value is None or isinstance(left.value, bool) else None
    for one, other in ((left, right), (right, left)):
        if one == Constant(None) and not isinstance(other, (Unknown, TensorRef, Either, Bound)):
            return False
    if isinstance(left, (Definition, External)) and isinstance(right, (Definition, External)):
        return left == right
    return None
