"""Vary only the random streams of some ops, then take their randomness out, and compare the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from regcheck.core.finding import Verdict
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op, Site
from regcheck.core.measurements.spread import FIRST_LOOK, SECOND_LOOK, Spread
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity, regated
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import wide


class Runs(Protocol):
    """Runs of one subject in eval mode that all draw the same random numbers, but for those of a suspect."""

    def plan(self, runs: int) -> None:
        """Take the work of so many runs from the subject's budget.

        Raises:
            CannotMeasure: the budget does not allow it.
        """

    def run(self, seed: int, *, silent: bool = False) -> list[torch.Tensor]:
        """The outputs where the suspect draws from the stream `seed`, or, `silent`, is in eval mode itself."""


@dataclass(frozen=True)
class ModelRuns:
    """Runs of a probe's model; the dropouts `without` are identity in all of them."""

    probe: ModelProbe
    ops: Sequence[Op]
    mode: Mode
    without: Sequence[Op]

    @property
    def behind(self) -> list[Site]:
        """The calls in which the runs differ."""
        return [op.site for op in (*self.ops, *self.without)]

    def plan(self, runs: int) -> None:
        self.probe.runner.plan(runs, mode=self.mode, behind=self.behind)

    def run(self, seed: int, *, silent: bool = False) -> list[torch.Tensor]:
        replace: dict[Site, Replacement] = {op.site: identity for op in self.without}
        if silent:
            replace |= {op.site: regated for op in self.ops if is_switched(op)}
        vary = dict.fromkeys((op.site for op in self.ops), seed)
        return self.probe.runner.run(self.mode, self.probe.seed, vary=vary, replace=replace, behind=self.behind)


@measures(ModelProbe, forwards=24)
def measure(probe: ModelProbe, ops: Sequence[Op], mode: Mode) -> Spread:
    """Vary the streams of ops of the probe's model in one mode."""
    return spread_over(lambda without: ModelRuns(probe, ops, mode, without), probe.graph, ops, mode, probe.seed)


def spread_over(runs: Callable[[Sequence[Op]], Runs], graph: Graph, ops: Sequence[Op], mode: Mode, seed: int) -> Spread:
    """Take one look or, where other dropouts may hide the effect, a second one with those made identity.

    `runs` makes the runs without some dropouts.
    """
    spread = look(runs(()), ops, seed)
    others = [op for op in graph.dropouts(mode) if op not in ops]
    if spread.verdict is not Verdict.REFUTED or spread.look != FIRST_LOOK or not others:
        return spread
    second = look(runs(others), ops, seed, len(others))
    return spread if second.verdict is Verdict.REFUTED else second


def is_switched(op: Op) -> bool:
    """Whether the arguments of a call can keep it from drawing."""
    return op.drops is not None or op.kind is Kind.RECURRENT


def look(runs: Runs, ops: Sequence[Op], seed: int, others: int = 0) -> Spread:
    """The spread, with `others` made identity in all runs, at twice the runs where the first ones cannot decide."""
    silent = any(map(is_switched, ops))
    removed: list[float] = []
    looks = [(FIRST_LOOK, statistics.FIRST), (SECOND_LOOK, statistics.DOUBLED)]
    looks = [(SECOND_LOOK, statistics.ISOLATED)] if others else looks
    replayed, _, draws = looks[0][1]
    runs.plan(1)
    reference, replays, varied = runs.run(seed), list[float](), list[list[torch.Tensor]]()
    runs.plan(2 * silent + replayed + draws)
    if silent:
        removed = [statistics.deviation(runs.run(seed + 1, silent=True), runs.run(seed + 2, silent=True))]
    for alpha, (replayed, noisy, draws) in looks:
        if varied:
            runs.plan(replayed - len(replays) + draws - len(varied))
        replays += [statistics.deviation(runs.run(seed), reference) for _ in range(replayed - len(replays))]
        if max(replays) > 0:
            runs.plan(noisy - len(replays))
            replays += [statistics.deviation(runs.run(seed), reference) for _ in range(noisy - len(replays))]
        varied += [runs.run(seed + 1 + turn) for turn in range(len(varied), draws)]
        changed = tuple(statistics.deviation(each, reference) for each in varied)
        above = sum(each > max(replays) for each in changed)
        p_value = statistics.rank_test(len(replays), len(changed), above)
        if max(replays) == 0 and above == len(changed):
            p_value = min(p_value, statistics.coincidence(len(replays), above))
        idle = statistics.idle_chance([(op.rate, unit_count(op)) for op in ops], len(changed))
        relative = relative_spread(varied)
        spread = Spread(tuple(replays), changed, tuple(removed), relative, p_value, idle, others, alpha)
        if not spread.undecided:
            break
    return spread


def unit_count(op: Op) -> int | None:
    """How many units a dropout decides on in one run; None where the shape of its result is not known."""
    if op.drops is None or op.shape is None:
        return None
    return math.prod(op.shape[:2] if op.drops is Drops.CHANNELS else op.shape)


def relative_spread(runs: Sequence[Sequence[torch.Tensor]]) -> float:
    """Standard deviation over runs relative to that over values, of the outputs that can be compared."""
    noise = signal = 0.0
    for outputs in zip(*runs, strict=False):
        if outputs[0].is_floating_point() and all(each.shape == outputs[0].shape for each in outputs):
            stacked = torch.stack([wide(each) for each in outputs])
            noise += float(stacked.var(0).sum())
            signal += float((stacked - stacked.mean()).square().mean(0).sum())
    return float((noise / signal) ** 0.5) if signal > 0 else 0.0
