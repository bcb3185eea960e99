"""The share of a model's output units that one dropout loses."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import BinomialShare, Figures, Measurement


@dataclass(frozen=True)
class DroppedOutputs(BinomialShare, Measurement):
    """The `share` of output units that a dropout replaces by a constant in train mode, over `draws` independent draws.

    `interval` is the exact binomial interval around the rate, `expected`. `constant` says whether a dropped unit gives
    the same output for all samples; `remaining` is the share still lost when identity replaces the call.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.dropped_outputs"

    share: float
    draws: int
    expected: float
    interval: tuple[float, float]
    constant: bool
    remaining: float

    @property
    def effect(self) -> Effect:
        return Effect("outputs lost in train mode", self.share, "of the output units")

    @property
    def figures(self) -> Figures:
        statistic = "share of output units replaced by a constant; exact binomial interval"
        return Figures(self.share, self.expected, statistic, self.draws)
