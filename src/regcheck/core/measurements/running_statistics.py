"""How much a prediction changes if a batch norm uses its running statistics in place of its batch's."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, percent


@dataclass(frozen=True)
class RunningStatistics(Measurement):
    """How far the output moves, in eval mode, if one batch norm uses its running statistics.

    `changed` are the deviations of such runs from a reference, `replays` those of runs as they are. `relative` is the
    root mean square change over the spread of the output (over its size where it does not vary). `p_value` is that of
    the rank test whose null hypothesis says that the statistics change nothing.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.running_statistics"

    changed: tuple[float, ...]
    replays: tuple[float, ...]
    relative: float
    p_value: float

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the batch's statistics replace others."""
        return Verdict.CONFIRMED if min(self.changed) > max(self.replays) else Verdict.REFUTED

    def describe(self, suspect: str) -> str:
        """What the runs show about the suspect, in words."""
        if self.verdict is Verdict.REFUTED:
            return f"with its running statistics in {suspect} the prediction is the same"
        return (
            f"with its running statistics in {suspect} the prediction changes by {percent(self.relative)} of its spread"
        )

    @property
    def effect(self) -> Effect:
        return Effect("change of the prediction with running statistics", self.relative, "of the prediction's spread")

    @property
    def figures(self) -> Figures:
        statistic = "relative change with running statistics; exact rank test"
        return Figures(self.relative, 0.0, statistic, len(self.changed) + len(self.replays))
