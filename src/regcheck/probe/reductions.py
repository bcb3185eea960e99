"""Exact counts and sums over tensors that may be as large as memory, without a copy of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache

import torch
from torch import Tensor

from regcheck.lazy_dataclass import dataclass

PIECE = {"cpu": 2**18}
"""The elements that one kernel reads at most, by device type: on a CPU what its caches hold,"""

ELSEWHERE = 2**24
"""and on any other device enough to hide the launch of the kernel."""

EXACT = 2**24
"""Up to here float32 counts without rounding, in any order of summation."""

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""The integer type of so many bytes."""

ROUNDING = 1e-6
"""Values vary where their spread exceeds this share of their size: below it lies the rounding of float32."""

CORNER = 8
"""The positions along each axis that are compared first: a mask that varies mostly varies there already."""


@dataclass(frozen=True)
class Tally:
    """How many of the `size` elements of a tensor are `zeros`, and along which axes their pattern is constant.

    Only axes with at least two positions count.
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
    """The tally by one torch reduction, the norm of order zero, where at most `axes` can be constant.

    None where that does not decide: there is too much to count at once, or the pattern varies along one of the axes.
    """
    over = [*axes]
    while not axes and len(over) < values.dim() and values.shape[-len(over) - 1 :].numel() <= EXACT:
        over.insert(0, values.dim() - len(over) - 1)
    whole = math.prod(values.shape[axis] for axis in over)
    if not over or whole > EXACT:
        return None
    nonzero = torch.linalg.vector_norm(values, 0, over, dtype=torch.float32 if values.itemsize < 4 else None)
    if axes and not bool(((nonzero == 0) | (nonzero == whole)).all()):
        return None
    zeros = values.numel() - sum(int(each.long().sum()) for (each,) in pieces(nonzero))
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
    """Mean and variance of all values together; exact where all values are equal."""
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
    """Views that partition tensors of one shape, the same part of each tensor at a time."""
    first = tensors[0]
    most = PIECE.get(first.device.type, ELSEWHERE)
    if first.numel() <= most:
        yield tensors
        return
    axis = next(axis for axis, size in enumerate(first.shape) if size > 1)
    rows = max(1, most * first.size(axis) // first.numel())
    for parts in zip(*(torch.split(each, rows, axis) for each in tensors), strict=True):
        yield from pieces(*parts)


def relative_change(
    changed: Sequence[Tensor], reference: Sequence[Tensor], scale: Sequence[Tensor] | None = None
) -> float:
    """The root mean square difference of outputs from a reference, relative to the spread of the outputs' values.

    The spread is the standard deviation of `scale` (by default the reference) around each output's mean, or its root
    mean square where its values do not vary. The change is infinite where a difference is not finite, and 1 where the
    scale is zero.
    """
    difference = spread = size = 0.0
    count = sum(each.numel() for each in changed)
    for one, other in zip(changed, reference, strict=True):
        one, other = wide(one), wide(other)
        equal = (one == other) | (one.isnan() & other.isnan())
        difference += float(torch.where(equal, 0.0, one - other).square().sum()) / count
    finite = [values[values.isfinite()] for values in map(wide, reference if scale is None else scale)]
    count = sum(each.numel() for each in finite)
    for each in finite:
        if each.numel():
            spread += float((each - each.mean()).square().sum()) / count
            size += float(each.square().sum()) / count
    if difference == 0:
        return 0.0
    unit = spread if spread > ROUNDING**2 * size else size or difference
    return math.sqrt(difference / unit) if math.isfinite(difference) else math.inf


def fingerprint(values: Tensor) -> tuple[int, ...]:
    """A checksum of the bits: for each piece the sum of its elements as integers, with odd weights.

    A change of one element, or an exchange of two, always changes it; another change does not with probability 2⁻⁶⁴.
    """
    bits = torch.view_as_real(values) if values.is_complex() else values
    sums = []
    for (part,) in pieces(bits.detach().view(INTEGERS[bits.itemsize])):
        weights = 2 * torch.arange(part.numel(), device=part.device).view(part.shape) + 1
        sums.append((part * weights).sum())
    return tuple(map(int, sums))


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
