"""What is read off tensors that may be as large as memory: counts and sums, exact, with no copy of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

PIECE = {"cpu": 2**18}
"""At most this many elements are looked at together, by device type: on a CPU what its caches hold,"""

ELSEWHERE = 2**24
"""and on any other device what hides the time that it takes to begin."""

EXACT = 2**24
"""So far float32 counts without rounding, in whatever order it adds up."""

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Numbers of as many bytes."""

CORNER = 8
"""Along each axis, so many positions are looked at first: a mask that changes mostly changes there already."""


@dataclass(frozen=True)
class Tally:
    """How many of the `size` elements of a tensor are `zeros`, and along which axes the pattern of these is constant.

    Of those axes that have at least two positions.
    """

    zeros: int
    size: int
    constant: tuple[int, ...]


def tally(values: Tensor) -> Tally:
    """Count zeros, and compare them along each axis, in one pass over the values."""
    corner = values[(slice(CORNER),) * values.dim()]
    axes = tuple(
        axis
        for axis, size in enumerate(values.shape)
        if size > 1 and (corner.narrow(axis, 0, 1) == 0).eq(corner == 0).all()
    )
    counted = None
    if values.device.type not in PIECE:
        with suppress(RuntimeError):  # a device may lack it
            counted = tally_at_once(values, axes)
    return counted or tally_in_pieces(values, axes)


def tally_at_once(values: Tensor, axes: Sequence[int]) -> Tally | None:
    """The tally as one reduction of torch's, the norm of order zero, where at most `axes` can be constant.

    None where that cannot tell: too much is to be counted together, or the pattern is not constant along all the axes.
    """
    over = [*axes]
    while not axes and len(over) < values.dim() and values.shape[-len(over) - 1 :].numel() <= EXACT:
        over.insert(0, values.dim() - len(over) - 1)
    whole = math.prod(values.shape[axis] for axis in over)
    if not over or whole > EXACT:
        return None
    kept = torch.linalg.vector_norm(values, 0, over, dtype=torch.float32 if values.itemsize < 4 else None)
    if axes and not bool(((kept == 0) | (kept == whole)).all()):
        return None
    zeros = values.numel() - sum(int(each.long().sum()) for (each,) in pieces(kept))
    return Tally(zeros, values.numel(), tuple(axes))


def tally_in_pieces(values: Tensor, axes: Sequence[int]) -> Tally:
    """The tally piece by piece, where at most `axes` can be constant."""
    zeros, constant = 0, {axis: values.narrow(axis, 0, 1).expand_as(values) for axis in axes}
    for part, *firsts in pieces(values, *constant.values()):
        zeros += int((part == 0).sum())
        for axis, first in zip(axes, firsts, strict=True):
            if axis not in constant or torch.equal(first, part):  # mostly not only the pattern is the same
                continue
            if not torch.equal(first == 0, part == 0):
                del constant[axis]
    return Tally(zeros, values.numel(), tuple(constant))


def constant_axes(tallies: Sequence[Tally]) -> tuple[int, ...]:
    """The axes along which none of several patterns changes."""
    return tuple(axis for axis in tallies[0].constant if all(axis in each.constant for each in tallies))


def moments(parts: Sequence[Tensor]) -> tuple[float, float]:
    """Mean and variance of all values together; those of values that are all alike are exact."""
    count = sum(each.numel() for each in parts)
    if count == 0:
        return math.nan, math.nan
    origin = next(float(each[(0,) * each.dim()]) for each in parts if each.numel())
    origin = origin if math.isfinite(origin) else 0.0

    def summed(term: Callable[[Tensor], Tensor]) -> float:
        return sum(float(term(wide(each) - origin).sum()) for part in parts for (each,) in pieces(part))

    mean = summed(lambda each: each) / count
    return origin + mean, summed(lambda each: (each - mean).square()) / count


def pieces(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of parts of some tensors of one shape, the same part of each; together they show all."""
    first = tensors[0]
    most = PIECE.get(first.device.type, ELSEWHERE)
    if first.numel() <= most:
        yield tensors
        return
    axis = next(axis for axis, size in enumerate(first.shape) if size > 1)
    rows = max(1, most * first.size(axis) // first.numel())
    for parts in zip(*(torch.split(each, rows, axis) for each in tensors), strict=True):
        yield from pieces(*parts)


def fingerprint(values: Tensor) -> tuple[int, ...]:
    """Numbers that are others as soon as one bit is: for each piece the sum of its elements' bits, by odd weights.

    A change of one element, or an exchange of two, always shows; another one does not with a probability of 2⁻⁶⁴.
    """
    bits = torch.view_as_real(values) if values.is_complex() else values
    found = []
    for (part,) in pieces(bits.detach().view(INTEGERS[bits.itemsize])):
        weights = 2 * torch.arange(part.numel(), device=part.device).view(part.shape) + 1
        found.append((part * weights).sum())
    return tuple(map(int, found))


def wide(values: Tensor) -> Tensor:
    """The values in float64, on the CPU where their device has no numbers as wide."""
    return (values if has_float64(values.device.type) else values.cpu()).double()


@cache
def has_float64(device: str) -> bool:
    """Whether devices of a type compute in float64."""
    try:
        torch.ones(1, dtype=torch.float64, device=device).sqrt()
    except (RuntimeError, TypeError):
        return False
    return True
