"""The work of a forward, counted from the shapes of its calls: equal on every machine and at any load."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from regcheck.core.errors import CannotTrace
from regcheck.core.graph import Kind
from regcheck.torch_api.functions import CELLS, KINDS, STACKED

from .nested_values import tensors_in

SECOND = 6 * 10**10
"""Operations per nominal second: about what one core of an ordinary machine multiplies and adds."""

CALL = 1_500_000
"""The fixed cost of a call in operations: about 25 µs, most of it regcheck's own."""

ELEMENT = 90
"""The cost of an element without multiplication: one or two nanoseconds to read and write it."""

RUN, STATE = 12 * 10**6, 60
"""The fixed cost of a run, and its cost for each element of the model's state, which is restored afterwards."""

_FREE = frozenset(name for name, kind in KINDS.items() if kind in (Kind.RESHAPE, Kind.IDENTITY))


class TooMuchWork(CannotTrace):
    """A forward takes more operations than the limit, and was stopped."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"one call takes more than {in_seconds(limit)} of work")


class Meter:
    """Adds up the operations of calls.

    Args:
        limit: the most operations allowed.
    """

    def __init__(self, limit: float = math.inf) -> None:
        self.operations = 0
        self._limit = limit

    def count(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Add a call of torch's function `name`.

        Raises:
            TooMuchWork: the sum exceeds the limit.
        """
        self.operations += operations_of(name, args, kwargs, result)
        if self.exceeded:
            raise TooMuchWork(self._limit)

    @property
    def exceeded(self) -> bool:
        """Whether the sum exceeds the limit."""
        return self.operations > self._limit


def overhead_of(model: nn.Module) -> int:
    """The cost of a run beside its calls, in operations."""
    state = {id(each): each for each in (*model.parameters(), *model.buffers())}.values()
    return RUN + STATE * sum(each.numel() for each in state if not nn.parameter.is_lazy(each))


def in_seconds(operations: float) -> str:
    """Operations as reports show them: in seconds of one ordinary core."""
    seconds = operations / SECOND
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds:.0f} s"


def operations_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """The operations of one call: `CALL`, plus two for each multiply-add, or else `ELEMENT` for each element.

    A call that returns no tensor costs nothing.
    """
    results = tensors_in(result)
    if name in _FREE or not results:
        return CALL if results else 0
    products = _PRODUCTS.get(name)
    if products is not None:
        with suppress(AttributeError, IndexError, KeyError, RuntimeError, StopIteration, TypeError, ValueError):
            count: Any = products([*args, *kwargs.values()], result)
            if type(count) is int:  # not where the call has an unexpected form
                return CALL + 2 * count
    return CALL + ELEMENT * max(sum(map(_elements, each)) for each in (tensors_in(args[:1]), results))


def _elements(tensor: Tensor) -> int:
    """The number of a tensor's elements; zero where it is known at run time only."""
    try:
        count: Any = tensor.numel()
    except RuntimeError:
        return 0
    return count if type(count) is int else 0


def _linear(inputs: list[Any], result: Tensor) -> int:
    return result.numel() * int(inputs[0].shape[-1])


def _added(inputs: list[Any], result: Tensor) -> int:
    return result.numel() * int(inputs[1].shape[-1])


def _convolution(inputs: list[Any], result: Tensor) -> int:
    return int(result.numel() * inputs[1][0].numel())


def _transposed(inputs: list[Any], result: Tensor) -> int:
    return int(inputs[0].numel() * inputs[1][0].numel())


def _any_convolution(inputs: list[Any], result: Tensor) -> int:
    return (_transposed if inputs[6] is True else _convolution)(inputs, result)


def _bilinear(inputs: list[Any], result: Tensor) -> int:
    return int(result.numel() * inputs[2][0].numel())


def _einsum(inputs: list[Any], result: Tensor) -> int:
    equation = str(inputs[0]).replace(" ", "")
    named, _, out = equation.partition("->")
    sizes: dict[str, int] = {}
    for letters, operand in zip(named.split(","), tensors_in(inputs[1:]), strict=True):
        before, dots, after = letters.partition("...")
        sizes |= dict(zip(before, operand.shape, strict=False))
        sizes |= dict(zip(reversed(after), reversed(operand.shape), strict=False)) if dots else {}
    output_axes = (
        set(out.replace("...", "")) if "->" in equation else {each for each in sizes if named.count(each) == 1}
    )
    return result.numel() * math.prod(size for letter, size in sizes.items() if letter not in output_axes)


def _attention(inputs: list[Any], result: Tensor) -> int:
    return int((inputs[0].numel() + result.numel()) * inputs[1].shape[-2])


def _heads(inputs: list[Any], result: Any) -> int:
    query, key, value = inputs[:3]
    projected = (2 * query.numel() + key.numel() + value.numel()) * query.shape[-1]
    return int(projected + 2 * query.numel() * key.shape[0])


def _recurrent(inputs: list[Any], result: Any) -> int:
    weights = next(each for each in inputs if isinstance(each, list))
    return _rows(inputs[0]) * int(sum(each.numel() for each in weights if each.dim() == 2))


def _cell(inputs: list[Any], result: Any) -> int:
    return _rows(inputs[0]) * int(inputs[2].numel() + inputs[3].numel())


def _rows(values: Tensor) -> int:
    return values.numel() // max(1, int(values.shape[-1]))


_PRODUCTS: dict[str, Callable[[list[Any], Any], int]] = {
    **dict.fromkeys(("linear", "matmul", "rmatmul", "mm", "bmm", "mv", "dot"), _linear),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), _added),
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _transposed for n in (1, 2, 3)},
    **dict.fromkeys(STACKED, _recurrent),
    **dict.fromkeys(CELLS, _cell),
    "convolution": _any_convolution,
    "bilinear": _bilinear,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "multi_head_attention_forward": _heads,
}
"""Counts the multiplications of a function's call from its arguments and its result."""
