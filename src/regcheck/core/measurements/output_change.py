"""Whether one op's random numbers, or the op itself, change the output in train mode."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class OutputChange(Measurement):
    """How far runs with new random numbers in one call, and a run with identity in its place, deviate from a reference.

    Everything else is fixed. `floor` is the largest deviation between replays of the reference. `p_value` is that of
    the rank test whose null hypothesis says that the call's random numbers change nothing.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.output_change"

    changed: tuple[float, ...]
    removed: float
    floor: float
    p_value: float

    @property
    def acts(self) -> bool:
        """Whether every run with new random numbers deviates by more than any replay does."""
        return min(self.changed) > self.floor

    @property
    def is_nothing(self) -> bool:
        """Whether neither new random numbers nor identity in place of the call changes the output."""
        return max(*self.changed, self.removed) <= self.floor

    @property
    def effect(self) -> Effect:
        unchanged = sum(each <= self.floor for each in self.changed) / len(self.changed)
        return Effect("train runs that the dropout leaves unchanged", unchanged, "of the runs")

    @property
    def figures(self) -> Figures:
        return Figures(max(self.changed), self.floor, "largest change over seeds; exact rank test", len(self.changed))
