"""How far trained weights are beyond a limit that held before their first step."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, percent


@dataclass(frozen=True)
class LimitExcess(Measurement):
    """Weights that a program limited before the first step of their optimizer, looked at again before a later step.

    Attributes:
        units: the rows or columns of the weights that have the limit, of which some have elements or norms `beyond` it.
        what: what is limited: `elements` or `norms`.
        limit: the limit of the weight that leaves it furthest.
        reached: the element or norm furthest beyond that limit; the largest one where none is.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.limit_excess"

    what: str
    units: int
    beyond: int
    limit: float
    reached: float

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the limit is not kept."""
        return Verdict.CONFIRMED if self.beyond else Verdict.REFUTED

    def describe(self) -> str:
        """What the weights show, in words."""
        if not self.beyond:
            return f"after the program's own steps all {self.what} of the weights are within the limit {self.limit:.3g}"
        return (
            f"after the program's own steps {percent(self.beyond / self.units)} of the {self.units} units have "
            f"{self.what} beyond the limit {self.limit:.3g}, up to {self.reached:.3g}"
        )

    @property
    def effect(self) -> Effect:
        return Effect("units beyond the limit of their weights", self.beyond / self.units, "of the units")

    @property
    def figures(self) -> Figures:
        return Figures(self.reached, self.limit, f"{self.what} furthest beyond the limit; exact comparison", self.units)
