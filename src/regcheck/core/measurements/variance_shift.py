"""How much variance the noise of a dropout adds at the input of a batch norm."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class VarianceShift(Measurement):
    """The variance at the input of the first batch norm that a dropout's noise reaches, with that dropout and without.

    Each of the `ratios` belongs to one mask, or to the mean of a few: the median over channels of the variance with the
    dropout over that without it. `expected` is their median with the reference dropout. Where there is no such batch
    norm all are one. `is_above` says whether their distribution has its median above the threshold of the measurement;
    None where the masks do not decide it.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.variance_shift"

    ratios: tuple[float, ...]
    expected: float
    is_above: bool | None

    @property
    def median(self) -> float:
        return sorted(self.ratios)[len(self.ratios) // 2]

    @property
    def effect(self) -> Effect:
        return Effect(
            "variance added at the batch norm's input", self.median - 1, "of the variance without the dropout"
        )

    @property
    def figures(self) -> Figures:
        statistic = "variance at the norm's input with over without this dropout, median channel; exact sign test"
        return Figures(self.median, self.expected, statistic, len(self.ratios))
