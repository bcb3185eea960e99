"""Compare the weights of a watched program with the limits that they had before its first step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isclose

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.limit_excess import LimitExcess
from regcheck.core.usage import ConstraintNotKept, Event, WeightRange, WeightsTrained
from regcheck.lazy_dataclass import dataclass
from regcheck.probe.probes import BaseProbe, measures

_SAME_NORM = 1e-5
"""The relative difference of norms that were scaled to one limit."""
_MATERIAL = 1e-3
"""The excess over a limit that counts, relative to it."""
_OF_NORMS = re.compile("renorm|norm$")
"""Begins the names of functions that limit norms."""


@measures(BaseProbe)
def measure(probe: BaseProbe, event: Event) -> LimitExcess:
    """The weights have moved on when a probe measures: the event holds their figures.

    Raises:
        CannotMeasure: no weight is at a limit before its first step, and source does not say the limit.
    """
    if not isinstance(event, (ConstraintNotKept, WeightsTrained)):
        raise CannotMeasure("this limits no weights")
    if not event.weights:
        raise CannotMeasure("no model that the program calls as a whole, and steps twice, has these weights")
    limited = event if isinstance(event, ConstraintNotKept) else None
    units = [unit for weight in event.weights for unit in _units(weight, limited)]
    if not units:
        raise CannotMeasure("no weight is at a limit before the first step, and source does not say the limit")
    furthest = max(units, key=lambda each: each.excess)
    beyond = sum(each.excess > _MATERIAL for each in units)
    return LimitExcess(furthest.what, len(units), beyond, furthest.limit, furthest.reached)


@dataclass(frozen=True, eq=False)
class _Unit:
    """A row or column of a weight: its element or norm furthest beyond a limit.

    `excess` is how far beyond, relative to the limit or, where that is near zero, to the largest element.
    """

    what: str
    limit: float
    reached: float
    excess: float


def _units(weight: WeightRange, limited: ConstraintNotKept | None) -> Iterator[_Unit]:
    """The units of a weight whose limit its first values or the source show."""
    if limited is None or not _OF_NORMS.match(limited.call):
        yield from _units_of_elements(weight, limited)
    if limited is None or _OF_NORMS.match(limited.call):
        yield from _units_of_norms(weight, limited)


def _units_of_elements(weight: WeightRange, limited: ConstraintNotKept | None) -> Iterator[_Unit]:
    """The rows of a weight with an upper or a lower limit of elements.

    Where source says one of the two limits, there is no other.
    """
    lowest, highest = (limited.lowest, limited.highest) if limited is not None else (None, None)
    first, later = weight.first, weight.later
    rows: list[list[_Unit]] = [[] for _ in later.highest]
    scale = max(map(abs, (*first.highest, *first.lowest)))
    for sign, before, after, equal, declared in (
        (1, first.highest, later.highest, weight.at_highest, highest),
        (-1, first.lowest, later.lowest, weight.at_lowest, lowest),
    ):
        limit = _limit([sign * each for each in before], equal, None if declared is None else sign * declared)
        if limit is not None and (declared is not None or lowest is highest is None):
            for row, each in zip(rows, after, strict=True):
                excess = (sign * each - limit) / max(abs(limit), scale)
                row.append(_Unit("elements", sign * limit, each, excess))
    yield from (max(row, key=lambda each: each.excess) for row in rows if row)


def _units_of_norms(weight: WeightRange, limited: ConstraintNotKept | None) -> Iterator[_Unit]:
    """The rows or columns of a weight with a limit of their norms."""
    axis = limited.axis if limited is not None else None
    norms = ((weight.first.norms, weight.later.norms), (weight.first.column_norms, weight.later.column_norms))
    for number, (before, after) in enumerate(norms):
        if axis in (0, 1) and axis != number:
            continue
        largest = max(before)
        equal = sum(isclose(each, largest, rel_tol=_SAME_NORM) for each in before)
        limit = _limit(before, equal, limited.highest if limited is not None and axis == number else None)
        if limit:
            yield from (_Unit("norms", limit, each, (each - limit) / limit) for each in after)


def _limit(first: Sequence[float], equal: int, declared: float | None) -> float | None:
    """The upper limit in force before the first step; None where neither `equal` largest values nor source show one."""
    largest = max(first)
    if declared is None or isclose(largest, declared, rel_tol=_MATERIAL):
        return largest if equal > 1 else declared
    return declared if largest <= declared else None
