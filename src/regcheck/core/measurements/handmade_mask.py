"""The mask that hand-written dropout multiplies activations with."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class HandmadeMask(Measurement):
    """The mask that a random draw becomes: `nonzero` of its `units` are not zero, and all of these equal `scale`.

    `mean` is its average, one where train mode passes on as much as eval mode does. `p_value` is that of the exact
    two-sided binomial test whose null hypothesis says that a unit survives with probability 1 / `scale`.
    `reference_mean` is the average of a reference mask that drops the same share of as many units.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.handmade_mask"

    nonzero: int
    units: int
    scale: float
    p_value: float
    reference_mean: float

    @property
    def mean(self) -> float:
        return self.scale * self.nonzero / self.units

    @property
    def effect(self) -> Effect:
        return Effect("gap between train-mode and eval-mode activations", abs(1 - self.mean), "of the activation")

    @property
    def figures(self) -> Figures:
        return Figures(self.mean, 1.0, "average of the mask; exact binomial test", self.units)
