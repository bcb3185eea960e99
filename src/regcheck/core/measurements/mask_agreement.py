"""Whether a dropout in a loop draws one mask for all steps, or a new mask each time."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import BinomialShare, Figures, Measurement


@dataclass(frozen=True)
class MaskAgreement(BinomialShare, Measurement):
    """The `share` of `units` that two successive of a call's `steps` treat alike: both drop, or both pass on.

    `independent` is the share that independent masks agree in, with the exact binomial `interval` around it. The
    reference, which draws one mask for all steps, agrees everywhere; so does a call that runs once.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.mask_agreement"

    share: float
    units: int
    steps: int
    independent: float
    interval: tuple[float, float]

    @property
    def effect(self) -> Effect:
        return Effect("units that two steps treat differently", 1 - self.share, "of the units")

    @property
    def figures(self) -> Figures:
        return Figures(self.share, 1.0, "share of units that two steps treat alike; exact binomial test", self.units)
