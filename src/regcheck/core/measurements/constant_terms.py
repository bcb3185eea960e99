"""The summands of a back-propagated loss that have no gradient."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect, Verdict
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class ConstantTerms(Measurement):
    """The summands of the loss that a program back-propagated: `constants` of them have no node in its autograd graph.

    The gradient of a sum is the sum of the gradients, and such a summand has none.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.constant_terms"

    constants: int

    @property
    def verdict(self) -> Verdict:
        """The verdict on the suspicion that a term of the loss has no gradient."""
        return Verdict.CONFIRMED if self.constants else Verdict.REFUTED

    def describe(self) -> str:
        """What the graph shows, in words."""
        if not self.constants:
            return "every summand of the back-propagated loss has a gradient"
        summands = "1 summand" if self.constants == 1 else f"{self.constants} summands"
        return f"{summands} of the back-propagated loss without a gradient: all gradients are equal with and without it"

    @property
    def effect(self) -> Effect:
        return Effect("summands of the loss without a gradient", self.constants, "summands")

    @property
    def figures(self) -> Figures:
        return Figures(self.constants, 0.0, "summands without a node in the autograd graph; exact", 1)
