"""What an activation right behind a dropout returns for dropped units."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import BinomialShare, Figures, Measurement


@dataclass(frozen=True)
class ActivationOfZero(BinomialShare, Measurement):
    """What the `activation` right behind a dropout returns for dropped units (empty: no activation follows).

    `value` is the average over dropped units (None: zero for some of them only), `level` the average size over units
    that are not dropped. A `share` of the `units` have the value of dropped units, and `interval` is the exact binomial
    interval around the rate.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.activation_of_zero"

    activation: str
    value: float | None
    level: float
    share: float
    units: int
    interval: tuple[float, float]

    @property
    def effect(self) -> Effect:
        size = abs(self.value or 0.0) / self.level if self.level else 0.0
        return Effect("output for a dropped unit", size, "of the output for an ordinary unit")

    @property
    def figures(self) -> Figures:
        statistic = "the activation's output for dropped units; exact binomial interval of their share"
        return Figures(self.value or 0.0, 0.0, statistic, self.units)
