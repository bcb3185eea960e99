"""How much consecutive dropouts drop together."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import BinomialShare, Figures, Measurement


@dataclass(frozen=True)
class StackedMasks(BinomialShare, Measurement):
    """The `share` of `units` that are zero behind a dropout and the dropouts right before it.

    `rate` is its own rate and `together` the rate of all of them, with the exact binomial `interval` around it; both
    are equal where no dropout precedes it. `alone` is the share that is zero when identity replaces those before it.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.stacked_masks"

    share: float
    units: int
    rate: float
    together: float
    interval: tuple[float, float]
    alone: float

    @property
    def effect(self) -> Effect:
        return Effect("units dropped beyond this call's rate", self.share - self.rate, "of the units")

    @property
    def figures(self) -> Figures:
        return Figures(self.share, self.together, "share of units dropped; exact binomial test", self.units)
