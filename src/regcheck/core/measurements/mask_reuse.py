"""Whether successive train-mode calls of a model multiply with the same mask."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class MaskReuse(Measurement):
    """The `share` of `units` that successive train-mode calls treat as the first one does: all drop, or all pass on.

    The calls get other random numbers. Independent masks that drop as many units agree in the share `independent` of
    them, and in all with the probability `p_value`. `in_eval` says that a call in eval mode multiplies with the same
    mask.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.mask_reuse"

    share: float
    units: int
    independent: float
    p_value: float
    in_eval: bool

    @property
    def effect(self) -> Effect:
        return Effect("units that successive train-mode calls treat alike", self.share, "of the units")

    @property
    def figures(self) -> Figures:
        statistic = "share of units that successive calls treat alike; exact binomial test"
        return Figures(self.share, self.independent, statistic, self.units)
