"""The mask of one dropout call: how much it drops, and which values it drops together."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import BinomialShare, Figures, Measurement


@dataclass(frozen=True)
class UnitMask(BinomialShare, Measurement):
    """The mask of a dropout call, repeated many times on ones of its input's shape.

    The call drops a `share` of `units`; `expected` is its rate, `interval` the exact binomial interval around the rate.
    A unit is what one draw decides: it extends in full along those `axes` of the `shape`. `channel` is the feature
    axis, to which the last layer before the call wrote its features (None: it is unknown);
    `reference_axes` are the axes that a unit of the reference extends along, which drops features at the same rate.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.unit_mask"

    share: float
    units: int
    expected: float
    interval: tuple[float, float]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    channel: int | None = None
    reference_axes: tuple[int, ...] = ()

    @property
    def effect(self) -> Effect:
        return Effect("units dropped in train mode", self.share, "of the units")

    @property
    def figures(self) -> Figures:
        return Figures(self.share, self.expected, "share of units dropped; exact binomial test", self.units)
