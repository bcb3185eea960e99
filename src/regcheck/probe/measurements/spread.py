"""Vary only the random streams of some ops, then take their randomness out, and compare the outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Verdict
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op, Site
from regcheck.core.measurements.spread import EARLY_LOOK, FIRST_LOOK, SECOND_LOOK, Spread
from regcheck.lazy_dataclass import dataclass
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity, regated
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import wide

RARE = 0.01
"""The largest probability that two streams of the early look draw one mask, at which it is worth its runs."""


class Runs(Protocol):
    """Runs of one subject in eval mode that all draw the same random numbers, but for those of a suspect."""

    @property
    def few(self) -> int:
        """How many samples of the batch the runs have; zero for all."""

    def plan(self, runs: int) -> None:
        """Take the work of so many runs from the subject's budget.

        Raises:
            CannotMeasure: the budget does not allow it.
        """

    def run(self, seed: int, *, silent: bool = False) -> list[torch.Tensor]:
        """The outputs where the suspect draws from the stream `seed`, or, `silent`, is in eval mode itself."""

    def on_fewer_samples(self) -> Runs | None:
        """The same runs on the first samples of the batch; None where all are needed."""

    def relative(self, runs: Sequence[Sequence[torch.Tensor]]) -> float:
        """The standard deviation over runs relative to that over the values of the output."""


@dataclass(frozen=True)
class ModelRuns:
    """Runs of a probe's model on `few` of its samples, or all (0); the dropouts `without` are identity in all."""

    probe: ModelProbe
    ops: Sequence[Op]
    mode: Mode
    without: Sequence[Op]
    few: int = 0

    @property
    def behind(self) -> list[Site]:
        """The calls in which the runs differ; none where the graph does not show what depends on them."""
        shown = not self.is_unseen and not any(op in self.probe.graph.steering for op in self.ops)
        return [op.site for op in (*self.ops, *self.without)] if shown else []

    @property
    def is_unseen(self) -> bool:
        """Whether the ops are lines that draw outside of torch."""
        return any(op in self.probe.graph.unseen for op in self.ops)

    def plan(self, runs: int) -> None:
        self.probe.runner.plan(runs, mode=self.mode, behind=self.behind, few=self.few)

    def run(self, seed: int, *, silent: bool = False) -> list[torch.Tensor]:
        instead: dict[Site, Replacement] = {op.site: identity for op in self.without}
        if silent:
            instead |= {op.site: regated for op in self.ops if is_switched(op)}
        vary = dict.fromkeys((op.site for op in self.ops), seed)
        lines = {op.place: seed for op in self.ops if op.place} if self.is_unseen else None
        runner, seed = self.probe.runner, self.probe.seed
        outputs = runner.run(self.mode, seed, vary=vary, replace=instead, behind=self.behind, few=self.few, lines=lines)
        if self.few and any(each.shape[:1] != (self.few,) for each in outputs):
            raise CannotMeasure("an output of fewer samples has no row for each")
        return outputs

    def on_fewer_samples(self) -> ModelRuns | None:
        """As few as make it improbable that two streams draw one mask, where each output has a row for each sample."""
        size, flow = self.probe.runner.samples, self.probe.graph.flow(self.mode)
        shapes = [flow.ops[key].shape for _, key in flow.outputs if key in flow.ops]
        if any(shape is None or shape[:1] != (size,) for shape in shapes):
            return None
        few = next((count for count in range(1, size) if self._chance_of_one_mask(count / size) <= RARE), 0)
        return replace(self, few=few) if few else None

    def _chance_of_one_mask(self, share: float) -> float:
        """At most the probability that two streams draw the same masks, on a share of the samples."""
        units = [(op.rate, None if (count := unit_count(op)) is None else int(count * share)) for op in self.ops]
        return math.comb(len({*statistics.STREAMS}), 2) * statistics.idle_chance(units, 1)

    def relative(self, runs: Sequence[Sequence[torch.Tensor]]) -> float:
        whole = self.probe.squares.get(self.mode, 0.0)
        if not self.few or not whole:
            return relative_spread(runs)
        noise = sum(float(wide(torch.stack(each)).var(0).sum()) for each in zip(*runs, strict=True))
        noise *= self.probe.runner.samples / self.few
        return math.sqrt(noise / max(noise, whole))  # the spread over the values has this noise in it


@measures(ModelProbe, forwards=24)
def measure(probe: ModelProbe, ops: Sequence[Op], mode: Mode) -> Spread:
    """Vary the streams of ops of the probe's model in one mode."""
    return spread_over(lambda without: ModelRuns(probe, ops, mode, without), probe.graph, ops, mode, probe.seed)


def spread_over(runs: Callable[[Sequence[Op]], Runs], graph: Graph, ops: Sequence[Op], mode: Mode, seed: int) -> Spread:
    """Take the early look, then the first one, then a second one with dropouts made identity that may hide the effect.

    `runs` makes the runs without some dropouts. Each look is taken where those before it do not confirm.
    """
    whole = Drawn(runs(()), ops, seed)
    few = whole.runs.on_fewer_samples()
    spread, refused = None, False
    if few is not None:
        try:
            spread = Drawn(few, ops, seed).early_look()
        except CannotMeasure:  # the model refuses so few samples, or the budget these runs
            refused = True
    if few is None or refused:
        spread = whole.early_look()
    spread = spread or whole.look()
    others = [op for op in graph.dropouts(mode) if op not in ops]
    if spread.verdict is not Verdict.REFUTED or spread.look != FIRST_LOOK or not others:
        return spread
    second = Drawn(runs(others), ops, seed).look(len(others))
    return spread if second.verdict is Verdict.REFUTED else second


def is_switched(op: Op) -> bool:
    """Whether the arguments of a call can keep it from drawing."""
    return op.drops is not None or op.kind is Kind.RECURRENT


class Drawn:
    """The runs of a suspect so far: a reference run, its replays, and a run of each other stream."""

    def __init__(self, runs: Runs, ops: Sequence[Op], seed: int) -> None:
        self.runs, self._ops, self._seed = runs, ops, seed
        self._silent = any(map(is_switched, ops))
        self._replays: list[float] = []
        self._varied: list[list[torch.Tensor]] = []
        self._runs_done = self._planned = 0

    @cached_property
    def _reference(self) -> list[torch.Tensor]:
        self._plan(1)  # the one whole forward
        return self._run(0)

    def early_look(self) -> Spread | None:
        """Make runs as long as those are equal to the bit whose streams are; None where others are, or not these."""
        replays, earlier = list[float](), [self._reference]
        self._plan(len(statistics.STREAMS) + 2 * self._silent)
        for turn in statistics.STREAMS[1:]:
            outputs = self._run(turn)
            if turn == len(earlier):
                self._varied.append(outputs)
                if any(statistics.are_identical(outputs, each) for each in earlier):
                    return None
                earlier.append(outputs)
            else:
                replays.append(deviation(outputs, earlier[turn]))
                self._replays += replays[-1:] if turn == 0 else []
                if replays[-1] > 0:
                    return None
        changed = tuple(deviation(each, self._reference) for each in self._varied)
        p_value = statistics.partition_chance(statistics.STREAMS)
        relative, few = self.runs.relative(earlier), self.runs.few
        return Spread(tuple(replays), changed, self._removed(), relative, p_value, look=EARLY_LOOK, few=few)

    def look(self, others: int = 0) -> Spread:
        """The spread, with `others` made identity in all runs, at twice the runs where the first ones cannot decide.

        Replays are made only where another stream changes anything.
        """
        looks = [(FIRST_LOOK, statistics.FIRST), (SECOND_LOOK, statistics.DOUBLED)]
        looks = [(SECOND_LOOK, statistics.ISOLATED)] if others else looks
        reference = self._reference
        for share, (replayed, noisy, draws) in looks:
            self._plan(self._runs_done + draws - len(self._varied))
            self._varied += [self._run(1 + turn) for turn in range(len(self._varied), draws)]
            changed = tuple(deviation(each, reference) for each in self._varied)
            if max(changed) > 0:
                self._replay(replayed)
                if max(self._replays) > 0:
                    self._replay(noisy)
            floor = max(self._replays, default=0.0)
            above = sum(each > floor for each in changed)
            p_value = statistics.rank_test(len(self._replays), len(changed), above)
            if floor == 0 and above == len(changed):
                p_value = min(p_value, statistics.coincidence(len(self._replays), above))
            idle = statistics.idle_chance([(op.rate, unit_count(op)) for op in self._ops], len(changed))
            relative = self.runs.relative(self._varied)
            spread = Spread(tuple(self._replays), changed, (), relative, p_value, idle, others, share)
            if not spread.undecided:
                break
        return replace(spread, removed=self._removed()) if spread.acts else spread

    def _plan(self, runs: int) -> None:
        """Take the work of `runs` runs in all, with those that are planned."""
        if runs > self._planned:
            self.runs.plan(runs - self._planned)
            self._planned = runs

    def _run(self, turn: int, *, silent: bool = False) -> list[torch.Tensor]:
        self._runs_done += 1
        return self.runs.run(self._seed + turn, silent=silent)

    def _replay(self, replays: int) -> None:
        """Make replays of the reference run until there are so many."""
        self._plan(self._runs_done + replays - len(self._replays))
        while len(self._replays) < replays:
            self._replays.append(deviation(self._run(0), self._reference))

    def _removed(self) -> tuple[float, ...]:
        """The deviation of two runs with the suspect in eval mode, where its arguments allow that."""
        if not self._silent:
            return ()
        self._plan(self._runs_done + 2)
        one, other = (self._run(turn, silent=True) for turn in (1, 2))
        return (deviation(one, other),)


def deviation(outputs: list[torch.Tensor], reference: list[torch.Tensor]) -> float:
    """The deviation of two runs, computed only where they differ."""
    same = outputs and statistics.are_identical(outputs, reference)
    return 0.0 if same else statistics.deviation(outputs, reference)


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
