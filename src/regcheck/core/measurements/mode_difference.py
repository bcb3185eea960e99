"""How far the output of one call differs between train and eval mode."""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, is_undecided, percent


@dataclass(frozen=True)
class ModeDifference(Measurement):
    """The output of a call in its own mode against that in another mode, on the input of that call.

    `relative` is the root mean square of the difference over the spread of the other output's values (over their size
    where they do not vary), for the output that changes most; infinite where the two cannot be compared. `flips` is the
    share of argmax changes there (None where there is no class axis). Of `others`, the runs that should differ from the
    reference, `above` do so by more than `floor`, the largest deviation of those that should not. `p_value` is that of
    the rank test whose null hypothesis says that the mode changes nothing.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.mode_difference"

    relative: float
    flips: float | None
    above: int
    others: int
    floor: float
    p_value: float
    runs: int

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the mode changes the output."""
        if self.above == self.others and self.relative > 0:
            return Verdict.CONFIRMED
        return Verdict.UNMEASURED if is_undecided(self.above, self.others, self.floor) else Verdict.REFUTED

    def describe(self, output: str, mode: str) -> str:
        """What the runs show about an output with this name, in the other mode, in words."""
        if self.verdict is Verdict.UNMEASURED:
            return f"only {self.above} of {self.others} runs differ {mode}: too few to decide"
        if self.verdict is Verdict.REFUTED:
            return f"{mode} the {output} is the same"
        if not isfinite(self.relative):
            return f"{mode} the {output} has another shape, or values that are not finite"
        flips = "" if self.flips is None else f"; {percent(self.flips)} of predicted classes flip"
        return f"{mode} the {output} changes by {percent(self.relative)} of its spread{flips}"

    @property
    def effect(self) -> Effect:
        return Effect("change of the output between the modes", self.relative, "of the output's spread")

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "relative change between modes; exact rank test", self.runs)
