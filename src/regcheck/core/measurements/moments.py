"""How a dropout moves the mean and the variance of activations."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class Moments(Measurement):
    """Mean and variance of a dropout's input, of its output, and of the output of the other kind of dropout.

    `before`, `after` and `alternative` are pairs of a mean and a variance; the alternative to alpha dropout is inverted
    dropout, and that to any other is alpha dropout. `divergences` and `alternative_divergences` are the divergences of
    both outputs from the input, one for each set of masks.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.moments"

    before: tuple[float, float]
    after: tuple[float, float]
    alternative: tuple[float, float]
    divergences: tuple[float, ...]
    alternative_divergences: tuple[float, ...]

    @property
    def is_worse(self) -> bool:
        """Whether the call moves the moments farther than its alternative does, each time."""
        return all(one > other for one, other in zip(self.divergences, self.alternative_divergences, strict=True))

    @property
    def is_better(self) -> bool:
        """Whether the call moves them less far than its alternative does, each time."""
        return all(one < other for one, other in zip(self.divergences, self.alternative_divergences, strict=True))

    @property
    def effect(self) -> Effect:
        return Effect("divergence of mean and variance from the input's", self._median(self.divergences), "nats")

    @property
    def figures(self) -> Figures:
        statistic = "divergence of mean and variance from those before the dropout; exact sign test"
        expected = self._median(self.alternative_divergences)
        return Figures(self._median(self.divergences), expected, statistic, len(self.divergences))

    @staticmethod
    def _median(values: tuple[float, ...]) -> float:
        return sorted(values)[len(values) // 2]
