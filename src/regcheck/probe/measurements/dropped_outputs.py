"""Count the output units that a dropout turns into a constant in train mode."""

from __future__ import annotations

from typing import Any

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.core.measurements.dropped_outputs import DroppedOutputs
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity, nothing
from regcheck.probe.probes import ModelProbe, measures

DRAWS = 20_000
"""Masks are drawn until there are this many draws (in at most `statistics.REPLAYS` runs)."""


@measures(ModelProbe, forwards=8)
def measure(probe: ModelProbe, op: Op) -> DroppedOutputs:
    """Compare train runs in which `op` drops all, drops nothing, and drops at its rate."""
    if op.rate is None:
        raise CannotMeasure("the rate of this dropout is not a number")
    passed, _ = probe.graph.flow(op.mode).ahead(op, lambda each: True)
    bare: dict[Site, Replacement] = {each.site: first_argument for each in passed if each.kind is Kind.SOFTMAX}
    draws_per_run = units = 0

    def count(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        nonlocal draws_per_run, units
        if site == op.site and isinstance(result, torch.Tensor):
            whole_channels = op.drops is Drops.CHANNELS and result.dim() > 2
            units = result.numel()
            draws_per_run = result.flatten(2)[..., 0].numel() if whole_channels else units

    def run(how: Replacement | None, seed: int = 0, **extra: Any) -> list[torch.Tensor]:
        swapped = {**bare, **({op.site: how} if how else {})}
        vary = {op.site: probe.seed + seed}
        return probe.runner.run(Mode.TRAIN, probe.seed, vary=vary, replace=swapped, **extra)

    probe.runner.plan(5)
    blanks, blanks_of_other_input = run(nothing), run(nothing, change=another_input)
    if statistics.deviation(run(nothing), blanks) > 0:
        raise CannotMeasure("runs with the same random numbers differ, so lost output units cannot be identified")
    constant = len(blanks) == len(blanks_of_other_input)
    noisy = [run(None, 1, observe=count)]
    wanted = min(statistics.REPLAYS, -(-DRAWS // max(draws_per_run, 1)))
    wanted = probe.runner.plan_share(draws_per_run, wanted, op.rate, probe.alpha)
    noisy += [run(None, 1 + n) for n in range(1, wanted)]
    clean = run(identity)
    lost = touched = remaining = 0
    for index, blank in enumerate(blanks):
        moves = clean[index] != blank
        for each in noisy:
            moves |= each[index] != blank
        if not blank.is_floating_point() or not moves.any():
            continue
        constant = constant and not bool(((blank != blanks_of_other_input[index]) & moves).any())
        touched += int(moves.sum())
        lost += sum(int(((each[index] == blank) & moves).sum()) for each in noisy)
        remaining += int(((clean[index] == blank) & moves).sum())
    if touched == 0:
        raise CannotMeasure("the units that this call drops do not reach the output")
    reaching = min(draws_per_run, max(1, draws_per_run * touched // max(units, 1)))  # others decide nothing here
    draws = reaching * len(noisy)
    interval = statistics.binomial_interval(draws, op.rate, probe.alpha)
    return DroppedOutputs(lost / (touched * len(noisy)), draws, op.rate, interval, constant, remaining / touched)


def first_argument(func: Any, args: Any, kwargs: Any) -> Any:
    """A replacement that returns a copy of the call's input."""
    return (args[0] if args else kwargs["input"]).clone()


def another_input(tensor: torch.Tensor) -> torch.Tensor:
    """Another valid input of the same shape."""
    return tensor * 0.5 if tensor.is_floating_point() else tensor.flip(-1) if tensor.dim() else tensor
