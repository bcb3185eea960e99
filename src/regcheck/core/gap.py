"""What is measured of a call that a program made in the wrong mode."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from .finding import Verdict
from .measured import Figures, in_doubt


@dataclass(frozen=True)
class Gap:
    """Predictions in the mode a call was made in against those in another one, on the input of that call.

    `relative` is the norm of the difference over that of the eval-mode prediction, for the output that changes most
    (infinite where the two cannot be compared), `flips` the share of argmax changes there (None where there is no class
    dimension). Of `others`, the runs that should differ from the reference, `above` do so
    by more than `floor`, the largest deviation of those that should not. `p_value` is that of the rank test that modes
    do not matter.
    """

    relative: float
    flips: float | None
    above: int
    others: int
    floor: float
    p_value: float
    runs: int

    @property
    def verdict(self) -> Verdict:
        """What the runs say of the suspicion that the mode changes the prediction."""
        if self.above == self.others and self.relative > 0:
            return Verdict.CONFIRMED
        return Verdict.UNMEASURED if in_doubt(self.above, self.others, self.floor) else Verdict.REFUTED

    @property
    def away(self) -> str:
        """How far a prediction is from that in the other mode, to be followed by whose."""
        if isfinite(self.relative):
            return f"{self.relative:.2g} (relative) away from"
        return "of other shapes, or not finite, against"

    @property
    def doubt(self) -> str:
        return f"only {self.above} of {self.others} runs differ between the modes, too few to tell"

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "relative change between modes; exact rank test", self.runs)
