"""Whether data-parallel ranks draw the same dropout masks."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class RankMasks(Measurement):
    """How many of `units` all `ranks` treat alike where one call draws from the stream of each: all drop, or none does.

    `independent` is the share of units that two independent masks agree in, and `p_value` the probability that such
    masks agree in at least as many.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.rank_masks"

    ranks: tuple[int, ...]
    agreeing: int
    units: int
    independent: float
    p_value: float

    @property
    def identical(self) -> bool:
        """Whether the masks agree in every unit."""
        return self.agreeing == self.units

    @property
    def effect(self) -> Effect:
        return Effect("units that all ranks treat alike", self.agreeing / self.units, "of the units")

    @property
    def figures(self) -> Figures:
        statistic = "share of units that the ranks treat alike; exact binomial test"
        return Figures(self.agreeing / self.units, self.independent, statistic, self.units)
