"""Vary only the random streams of some ops, then take their randomness out, and compare the outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from regcheck.core.finding import Verdict
from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.core.measurements.spread import FIRST_LOOK, SECOND_LOOK, Spread
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity, regated
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import wide


@measures(ModelProbe, forwards=24)
def measure(probe: ModelProbe, ops: Sequence[Op], mode: Mode) -> Spread:
    """Take one look or, where other dropouts may hide the effect, a second one with those made identity."""
    spread = look(probe, ops, mode, ())
    others = [op for op in probe.graph.dropouts(mode) if op not in ops]
    if spread.verdict is not Verdict.REFUTED or spread.look != FIRST_LOOK or not others:
        return spread
    second = look(probe, ops, mode, others)
    return spread if second.verdict is Verdict.REFUTED else second


def look(probe: ModelProbe, ops: Sequence[Op], mode: Mode, others: Sequence[Op]) -> Spread:
    """The spread with `others` made identity in all runs, at twice the runs where the first ones cannot decide."""
    runner = probe.runner
    sites = {op.site for op in ops}
    without: dict[Site, Replacement] = {op.site: identity for op in others}

    def run(seed: int, replace: Mapping[Site, Replacement] | None = None) -> list[torch.Tensor]:
        replace = {**without, **(replace or {})}
        return runner.run(mode, probe.seed, vary=dict.fromkeys(sites, seed), replace=replace)

    gates = (op.site for op in ops if op.drops is not None or op.kind is Kind.RECURRENT)
    silent: dict[Site, Replacement] = dict.fromkeys(gates, regated)
    removed: list[float] = []
    looks = [(FIRST_LOOK, statistics.FIRST), (SECOND_LOOK, statistics.DOUBLED)]
    looks = [(SECOND_LOOK, statistics.ISOLATED)] if others else looks
    replayed, _, draws = looks[0][1]
    runner.plan(1 + 2 * bool(silent) + replayed + draws, mode=mode)
    if silent:
        removed = [statistics.deviation(run(probe.seed + 1, silent), run(probe.seed + 2, silent))]
    reference, replays, runs = run(probe.seed), list[float](), list[list[torch.Tensor]]()
    for alpha, (replayed, noisy, draws) in looks:
        if runs:
            runner.plan(replayed - len(replays) + draws - len(runs), mode=mode)
        replays += [statistics.deviation(run(probe.seed), reference) for _ in range(replayed - len(replays))]
        if max(replays) > 0:
            runner.plan(noisy - len(replays), mode=mode)
            replays += [statistics.deviation(run(probe.seed), reference) for _ in range(noisy - len(replays))]
        runs += [run(probe.seed + 1 + turn) for turn in range(len(runs), draws)]
        changed = tuple(statistics.deviation(each, reference) for each in runs)
        above = sum(each > max(replays) for each in changed)
        p_value = statistics.rank_test(len(replays), len(changed), above)
        if max(replays) == 0 and above == len(changed):
            p_value = min(p_value, statistics.coincidence(len(replays), above))
        idle = statistics.idle_chance([(op.rate, unit_count(op)) for op in ops], len(changed))
        relative = relative_spread(runs)
        spread = Spread(tuple(replays), changed, tuple(removed), relative, p_value, idle, len(others), alpha)
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
