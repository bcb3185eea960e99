"""How much a sample's prediction depends on the other samples of its batch."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, percent


@dataclass(frozen=True)
class BatchDependence(Measurement):
    """How far the output for one sample moves, in eval mode, when the other samples of its batch are exchanged.

    `changed` are the deviations in the other batches, `fixed_statistics` those in the same batches with the suspect's
    batch statistics fixed at their first values: what remains then is rounding. `relative` is the largest root mean
    square change over the spread of the whole batch's output (over its size where it does not vary). `p_value` is that
    of the rank test whose null hypothesis says that the statistics change nothing.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.batch_dependence"

    changed: tuple[float, ...]
    fixed_statistics: tuple[float, ...]
    relative: float
    p_value: float

    @property
    def is_dependent(self) -> bool:
        """Whether every other batch moves the output farther than any batch does with the statistics fixed."""
        return min(self.changed) > max(self.fixed_statistics)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the other samples change the output."""
        if self.is_dependent:
            return Verdict.CONFIRMED
        return Verdict.REFUTED if max(self.changed) <= max(self.fixed_statistics) else Verdict.UNMEASURED

    def describe(self, suspect: str) -> str:
        """What the batches show about the suspect, in words."""
        if self.verdict is Verdict.REFUTED:
            return "one sample's prediction is the same in every batch"
        if self.verdict is Verdict.UNMEASURED:
            return "one sample's prediction changes in some batches and not in others"
        changes = f"one sample's prediction changes by up to {percent(self.relative)} of the predictions' spread"
        fixed = f"with the batch statistics of {suspect} fixed, only rounding remains"
        return f"{changes} in {len(self.changed)} batches with other samples; {fixed}"

    @property
    def effect(self) -> Effect:
        return Effect("change of one sample's prediction with its batch", self.relative, "of the predictions' spread")

    @property
    def figures(self) -> Figures:
        statistic = "relative change of a sample's output with its batch; exact rank test"
        return Figures(self.relative, 0.0, statistic, len(self.changed) + len(self.fixed_statistics))
