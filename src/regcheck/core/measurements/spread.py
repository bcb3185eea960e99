"""How much a model's output varies with the random numbers of some of its ops."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement, is_undecided, percent

EARLY_LOOK, FIRST_LOOK, SECOND_LOOK = 3.8e-7, 3.7e-7, 2.4e-7
"""The false-alarm probabilities of a spread's three looks, together no more than α."""


@dataclass(frozen=True)
class Spread(Measurement):
    """How far outputs deviate from a reference run, with the suspect's random stream replayed, changed and removed.

    Every other random op replays its stream in all runs. `p_value` is that of the rank test whose null hypothesis says
    that changing the suspect's stream does nothing: the probability that the largest of all deviations, as many as
    exceed every replay, are `changed` ones by chance. `relative` is the standard deviation over the changed runs
    relative to that over the output's values. `idle` is the probability that no run differs though the suspect drops
    (0 where it is not known).

    The probe takes three looks, which share α; `look` is the part of it that this one may use. The early one confirms
    an effect where runs are equal to the bit exactly where their streams are; each run may be compared with the first
    one of its stream then, and has a `few` samples of the batch, or all (0). The second one has twice the runs, where
    the first cannot decide, or has `others` active dropouts replaced by identity, where it shows nothing and they might
    hide the effect.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.spread"

    replays: tuple[float, ...]
    changed: tuple[float, ...]
    removed: tuple[float, ...]
    relative: float
    p_value: float
    idle: float = 0.0
    others: int = 0
    look: float = FIRST_LOOK
    few: int = 0

    @property
    def runs(self) -> int:
        return len(self.replays) + len(self.changed)

    @property
    def effect(self) -> Effect:
        return Effect("standard deviation of the prediction between runs", self.relative, "of the prediction's spread")

    @property
    def figures(self) -> Figures:
        few = f", for {self.few} of its samples" if self.few else ""
        return Figures(self.relative, 0.0, f"std over seeds relative to the output's{few}; exact test", self.runs)

    @property
    def floor(self) -> float:
        """The largest deviation of a replay: the noise floor."""
        return max(self.replays, default=0.0)

    @property
    def above(self) -> int:
        """How many changed runs deviate from the reference by more than any replay does."""
        return sum(each > self.floor for each in self.changed)

    @property
    def acts(self) -> bool:
        """Whether more changed runs deviate from the reference than would by chance."""
        return self.p_value <= self.look

    @property
    def undecided(self) -> bool:
        """Whether too few changed runs deviate for a verdict either way."""
        return not self.acts and (is_undecided(self.above, len(self.changed), self.floor) or self.idle > self.look)

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that the suspect changes the output."""
        if self.undecided:
            return Verdict.UNMEASURED
        return Verdict.CONFIRMED if self.acts else Verdict.REFUTED

    def describe(self, suspect: str) -> str:
        """What the runs show about the suspect, in words."""
        changed = f"{self.above} of {len(self.changed)}"
        if self.undecided:
            return f"only {changed} eval runs with new random numbers differ: too few to decide"
        if not self.acts:
            return f"{self.runs} eval runs agree whatever random numbers {suspect} draws"
        hidden = f", with {self.others} more off that hide the effect" if self.others else ""
        return f"the prediction varies by {percent(self.relative)} of its spread between eval runs{hidden}"

    @property
    def agreement(self) -> str:
        """How closely runs with the same random numbers agree, in words."""
        return "identical" if self.floor == 0 else "equal up to rounding"

    @property
    def vanishes(self) -> bool:
        """Whether the runs with the suspect removed agree as closely as replays do."""
        return max(self.removed, default=0.0) <= self.floor
