"""How much one real optimizer step decays biases and norm scales."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class Shrinkage(Measurement):
    """One real optimizer step on copies of biases and norm scales, with gradients of zero.

    `smallest` and `largest` are the shares of themselves that they lose in it, less what they lose in the same step
    without decay. Differences within `tolerance` are rounding.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.shrinkage"

    smallest: float
    largest: float
    norm_scales: int
    biases: int
    values: int
    tolerance: float

    @property
    def is_decay(self) -> bool:
        """Whether the decay shrinks every one of them."""
        return self.smallest > self.tolerance

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes none of them."""
        return max(self.largest, -self.smallest) <= self.tolerance

    @property
    def effect(self) -> Effect:
        return Effect("smallest decay of a bias or norm scale in a step at zero gradient", self.smallest, "of itself")

    @property
    def figures(self) -> Figures:
        statistic = "smallest share that decay takes in a step at zero gradient; exact step comparison"
        return Figures(self.smallest, 0.0, statistic, self.values)
