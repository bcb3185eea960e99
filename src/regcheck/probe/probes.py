"""What rules ask: the measurements of one subject on one device."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Evidence, Severity, Verdict
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op, Site
from regcheck.core.measurements import (
    FIRST_LOOK,
    SECOND_LOOK,
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
from regcheck.core.usage import Event, Stepped

from . import dropout_masks, statistics
from .activation_of_zero import image_of
from .batch_dependence import mates_matter
from .decay import measure_decay, measure_shrinkage
from .handmade_masks import kept_by
from .interventions import Replacement, identity, nothing, regated
from .mask_on_maps import maps_of
from .mode_difference import gap_between
from .moments import moments_moved
from .recurrent_masks import agreement_of
from .reductions import wide
from .runner import Runner
from .unavailable import UnableProbe
from .variance_shift import variance_shift
from .work_plan import Budget

DRAWS = 20_000
"""Masks are drawn until this many draws were seen (at most `measure.REPLAYS` runs)."""


class OptimizerProbe(UnableProbe):
    """Measures an optimizer of the user's on copies of its parameters."""

    def __init__(self, optimizer: torch.optim.Optimizer, device: str, seed: int, budget: Budget | None = None) -> None:
        super().__init__(device, seed)
        self._optimizer = optimizer
        self._budget = budget

    def decay(self, event: Event) -> Decay:
        rule = event.optimizer.update_rule if isinstance(event, Stepped) else None
        return measure_decay(self._optimizer, rule, seed=self.seed, device=self.device, budget=self._budget)

    def shrinkage(self, event: Event) -> Shrinkage:
        groups = event.optimizer.groups if isinstance(event, Stepped) else ()
        return measure_shrinkage(self._optimizer, groups, device=self.device, budget=self._budget)


class RunningProbe(UnableProbe):
    """A probe that runs a model; evidence says what the model's budget left out."""

    def __init__(self, runner: Runner, seed: int) -> None:
        super().__init__(runner.device, seed)
        self._runner = runner

    def evidence(
        self, verdict: Verdict, because: str, measured: Measured, lowers_to: Severity | None = None
    ) -> Evidence:
        because = "; ".join(dict.fromkeys((because, *self._runner.notes)))
        return super().evidence(verdict, because, measured, lowers_to)


class CallProbe(RunningProbe):
    """Measures one call that a program made, from its captured model state and inputs."""

    def __init__(self, runner: Runner, modes: Mapping[str, bool], seed: int) -> None:
        super().__init__(runner, seed)
        self._modes = modes

    def gap(self, event: Event, against: Mode = Mode.EVAL, parts: Sequence[str] = ("",)) -> ModeDifference:
        other: Mode | Mapping[str, bool] = against
        if "" not in parts:
            within = [path for path in self._modes if any(f"{path}.".startswith(f"{part}.") for part in parts)]
            other = {**self._modes, **dict.fromkeys(within, against is Mode.TRAIN)}
        quiet, noisy = (other, self._modes) if against is Mode.EVAL else (self._modes, other)
        both = quiet is not Mode.EVAL and any(self._modes.values())  # then layers draw in both modes
        return gap_between(self._runner, quiet, noisy, self.seed, both)


class ModelProbe(RunningProbe):
    """Measures a model through runs with interventions."""

    def __init__(self, runner: Runner, graph: Graph, seed: int) -> None:
        super().__init__(runner, seed)
        self._graph = graph
        runner.expect(op.site for flow in (graph.train, graph.eval) for op in flow)

    def spread(self, ops: Sequence[Op], mode: Mode) -> Spread:
        spread = self._spread(ops, mode, ())
        others = [op for op in self._graph.dropouts(mode) if op not in ops]
        if spread.verdict is not Verdict.REFUTED or spread.look != FIRST_LOOK or not others:
            return spread
        again = self._spread(ops, mode, others)
        return spread if again.verdict is Verdict.REFUTED else again

    def _spread(self, ops: Sequence[Op], mode: Mode, others: Sequence[Op]) -> Spread:
        """The spread with `others` made identity throughout, at twice the runs where as many cannot decide."""
        sites = {op.site for op in ops}
        without: dict[Site, Replacement] = {op.site: identity for op in others}

        def run(seed: int, replace: Mapping[Site, Replacement] | None = None) -> list[torch.Tensor]:
            replace = {**without, **(replace or {})}
            return self._runner.run(mode, self.seed, vary=dict.fromkeys(sites, seed), replace=replace)

        gates = (op.site for op in ops if op.drops is not None or op.kind is Kind.RECURRENT)
        silent: dict[Site, Replacement] = dict.fromkeys(gates, regated)
        removed: list[float] = []
        looks = [(FIRST_LOOK, statistics.FIRST), (SECOND_LOOK, statistics.DOUBLED)]
        looks = [(SECOND_LOOK, statistics.OTHERWISE)] if others else looks
        replays, _, draws = looks[0][1]
        self._runner.plan(1 + 2 * bool(silent) + replays + draws, mode=mode)
        if silent:
            removed = [statistics.deviation(run(self.seed + 1, silent), run(self.seed + 2, silent))]
        reference, kept, runs = run(self.seed), list[float](), list[list[torch.Tensor]]()
        for look, (replays, noisy, draws) in looks:
            if runs:
                self._runner.plan(replays - len(kept) + draws - len(runs), mode=mode)
            kept += [statistics.deviation(run(self.seed), reference) for _ in range(replays - len(kept))]
            if max(kept) > 0:
                self._runner.plan(noisy - len(kept), mode=mode)
                kept += [statistics.deviation(run(self.seed), reference) for _ in range(noisy - len(kept))]
            runs += [run(self.seed + 1 + turn) for turn in range(len(runs), draws)]
            changed = tuple(statistics.deviation(each, reference) for each in runs)
            above = sum(each > max(kept) for each in changed)
            p_value = statistics.rank_test(len(kept), len(changed), above)
            if max(kept) == 0 and above == len(changed):
                p_value = min(p_value, statistics.coincidence(len(kept), above))
            idle = statistics.idle_chance([(op.rate, _units(op)) for op in ops], len(changed))
            relative = relative_spread(runs)
            spread = Spread(tuple(kept), changed, tuple(removed), relative, p_value, idle, len(others), look)
            if not spread.undecided:
                break
        return spread

    def repeats(self) -> bool:
        """Whether eval runs with different seeds agree as closely as replays do."""
        reference = self._runner.run(Mode.EVAL, self.seed)
        replays, others = (
            [statistics.deviation(self._runner.run(Mode.EVAL, seed), reference) for seed in seeds]
            for seeds in ([self.seed] * 2, range(self.seed + 1, self.seed + 5))
        )
        return max(others) <= max(replays)

    def zeroed(self, op: Op) -> Share:
        if op.rate is None:
            raise CannotMeasure("the rate of this dropout is not a number")
        passed, _ = self._graph.flow(op.mode).ahead(op, lambda each: True)
        bare: dict[Site, Replacement] = {each.site: _first_argument for each in passed if each.kind is Kind.SOFTMAX}
        draws_per_run = units = 0

        def count(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            nonlocal draws_per_run, units
            if site == op.site and isinstance(result, torch.Tensor):
                whole_channels = op.drops is Drops.CHANNELS and result.dim() > 2
                units = result.numel()
                draws_per_run = result.flatten(2)[..., 0].numel() if whole_channels else units

        def run(how: Replacement | None, seed: int = 0, **extra: Any) -> list[torch.Tensor]:
            swapped = {**bare, **({op.site: how} if how else {})}
            vary = {op.site: self.seed + seed}
            return self._runner.run(Mode.TRAIN, self.seed, vary=vary, replace=swapped, **extra)

        self._runner.plan(5)
        image, other = run(nothing), run(nothing, change=_another)
        if statistics.deviation(run(nothing), image) > 0:
            raise CannotMeasure("runs that draw the same numbers differ, so no unit can be told to be lost")
        constant = len(image) == len(other)
        noisy = [run(None, 1, observe=count)]
        wanted = min(statistics.REPLAYS, -(-DRAWS // max(draws_per_run, 1)))
        wanted = self._runner.plan_share(draws_per_run, wanted, op.rate, self.alpha)
        noisy += [run(None, 1 + n) for n in range(1, wanted)]
        clean = run(identity)
        lost = touched = remaining = 0
        for index, blank in enumerate(image):
            moves = clean[index] != blank
            for each in noisy:
                moves |= each[index] != blank
            if not blank.is_floating_point() or not moves.any():
                continue
            constant = constant and not bool(((blank != other[index]) & moves).any())
            touched += int(moves.sum())
            lost += sum(int(((each[index] == blank) & moves).sum()) for each in noisy)
            remaining += int(((clean[index] == blank) & moves).sum())
        if touched == 0:
            raise CannotMeasure("what this call drops does not reach the output")
        reaching = min(draws_per_run, max(1, draws_per_run * touched // max(units, 1)))  # others decide nothing here
        draws = reaching * len(noisy)
        interval = statistics.binomial_interval(draws, op.rate, self.alpha)
        return Share(lost / (touched * len(noisy)), draws, op.rate, interval, constant, remaining / touched)

    def drawn(self, op: Op) -> UnitMask:
        return dropout_masks.drawn(self._runner, op, self.seed, self.alpha)

    def effect(self, op: Op) -> Effect:
        def away(seed: int, replace: Mapping[Site, Replacement] | None = None) -> float:
            run = self._runner.run(Mode.TRAIN, self.seed, vary={op.site: seed}, replace=replace)
            return statistics.deviation(run, reference)

        if op.kind not in (Kind.DROPOUT, Kind.RECURRENT, Kind.ATTENTION):
            raise CannotMeasure("it is not known what this call would do without dropping")
        self._runner.plan(2 * statistics.REPLAYS + 2)
        reference = self._runner.run(Mode.TRAIN, self.seed)
        kept = [away(self.seed) for _ in range(statistics.REPLAYS)]
        changed = [away(self.seed + 1 + turn) for turn in range(statistics.REPLAYS)]
        removed = away(self.seed, {op.site: identity})
        return Effect(tuple(changed), removed, max(kept), statistics.rank_test(len(kept), len(changed)))

    def shift(self, op: Op) -> Shift:
        return variance_shift(self._runner, self._graph, op, self.seed)

    def mates(self, op: Op) -> BatchDependence:
        return mates_matter(self._runner, self._graph, op, self.seed)

    def kept(self, op: Op) -> HandmadeMask:
        return kept_by(self._runner, op, self.seed, self.alpha)

    def stacked(self, op: Op) -> Stacked:
        return dropout_masks.stacked(self._runner, self._graph, op, self.seed, self.alpha)

    def moments(self, op: Op) -> Moments:
        return moments_moved(self._runner, op, self.seed)

    def image(self, op: Op) -> ActivationOfZero:
        return image_of(self._runner, op, self.seed, self.alpha)

    def agreement(self, op: Op) -> Agreement:
        return agreement_of(self._runner, self._graph, op, self.seed, self.alpha)

    def maps(self, op: Op, material: float) -> MaskOnMaps:
        return maps_of(self._runner, op, material, self.seed)


def _units(op: Op) -> int | None:
    """How many units a dropout keeps or drops in one run, as far as the shape of its result tells."""
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


def _first_argument(func: Any, args: Any, kwargs: Any) -> Any:
    return (args[0] if args else kwargs["input"]).clone()


def _another(tensor: torch.Tensor) -> torch.Tensor:
    """Another valid input of the same shape."""
    return tensor * 0.5 if tensor.is_floating_point() else tensor.flip(-1) if tensor.dim() else tensor
