"""How far a training call moves the running statistics of norms."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, percent


@dataclass(frozen=True)
class StatisticsDrift(Measurement):
    """The running statistics of norms before and after one training call.

    Of `norms`, the call moves the statistics of `moved`, and with these norms in eval mode those of `moved_in_eval`.
    `distance` is how far the statistics of the batch, towards which they move, are from the running ones: the root mean
    square over channels of the Wasserstein distance of two normal distributions, in running standard deviations, of
    the norm where it is largest.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.statistics_drift"

    norms: int
    moved: int
    moved_in_eval: int
    distance: float

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the mode of these norms moves their statistics."""
        return Verdict.CONFIRMED if self.moved > self.moved_in_eval else Verdict.REFUTED

    def describe(self) -> str:
        """What the call shows, in words."""
        if self.verdict is Verdict.REFUTED:
            return "this call leaves their running statistics alone"
        which = f"{self.moved} of {self.norms} norms" if self.moved < self.norms else "these norms"
        towards = f"towards its batch, {percent(self.distance)} of their standard deviation away"
        return f"one training call moves the running statistics of {which} {towards}; in eval mode they stay"

    @property
    def effect(self) -> Effect:
        return Effect(
            "distance of the batch's statistics from the running ones", self.distance, "of the running deviation"
        )

    @property
    def figures(self) -> Figures:
        statistic = "distance of the batch's statistics from the running ones; exact comparison of buffers"
        return Figures(self.distance, 0.0, statistic, 2)
