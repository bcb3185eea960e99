"""The measurements that a probe's subject does not allow, and the evidence that all probes give."""

from __future__ import annotations

from collections.abc import Sequence

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Evidence, Severity, Verdict
from regcheck.core.graph import Mode, Op
from regcheck.core.measurements import (
    ActivationOfZero,
    Agreement,
    BatchDependence,
    Decay,
    Effect,
    HandmadeMask,
    MaskOnMaps,
    Measured,
    ModeDifference,
    Moments,
    Share,
    Shift,
    Shrinkage,
    Spread,
    Stacked,
    UnitMask,
)
from regcheck.core.rank_masks import RankMasks
from regcheck.core.usage import Event

from . import statistics

ALPHA = 1e-6


class UnableProbe:
    """The measurements that a probe's subject does not allow: each says so."""

    def __init__(self, device: str, seed: int, alpha: float = ALPHA) -> None:
        self.device = device
        self.seed = seed
        self.alpha = alpha

    def spread(self, ops: Sequence[Op], mode: Mode) -> Spread:
        raise CannotMeasure("there is no model to run here")

    def zeroed(self, op: Op) -> Share:
        raise CannotMeasure("there is no model to run here")

    def drawn(self, op: Op) -> UnitMask:
        raise CannotMeasure("there is no model to run here")

    def effect(self, op: Op) -> Effect:
        raise CannotMeasure("there is no model to run here")

    def shift(self, op: Op) -> Shift:
        raise CannotMeasure("there is no model to run here")

    def mates(self, op: Op) -> BatchDependence:
        raise CannotMeasure("there is no model to run here")

    def kept(self, op: Op) -> HandmadeMask:
        raise CannotMeasure("there is no model to run here")

    def stacked(self, op: Op) -> Stacked:
        raise CannotMeasure("there is no model to run here")

    def moments(self, op: Op) -> Moments:
        raise CannotMeasure("there is no model to run here")

    def image(self, op: Op) -> ActivationOfZero:
        raise CannotMeasure("there is no model to run here")

    def agreement(self, op: Op) -> Agreement:
        raise CannotMeasure("there is no model to run here")

    def maps(self, op: Op, material: float) -> MaskOnMaps:
        raise CannotMeasure("there is no model to run here")

    def masks(self, op: Op) -> RankMasks:
        raise CannotMeasure("there are no ranks to compare")

    def gap(self, event: Event, against: Mode = Mode.EVAL, parts: Sequence[str] = ("",)) -> ModeDifference:
        raise CannotMeasure("the inputs of this call were not kept")

    def decay(self, event: Event) -> Decay:
        raise CannotMeasure("there is no optimizer to step here")

    def shrinkage(self, event: Event) -> Shrinkage:
        raise CannotMeasure("there is no optimizer to step here")

    def at_least(self, share: float, units: int, rate: float) -> float:
        return statistics.at_least(round(share * units), units, rate)

    def evidence(
        self, verdict: Verdict, because: str, measured: Measured, lowers_to: Severity | None = None
    ) -> Evidence:
        figures = measured.figures
        return Evidence(
            verdict,
            measured=figures.measured,
            expected=figures.expected,
            statistic=figures.statistic,
            alpha=self.alpha,
            samples=figures.samples,
            device=self.device,
            seed=self.seed,
            because=because,
            lowers_to=lowers_to,
        )
