"""Count the output units that a dropout turns into a constant in train mode."""

from __future__ import annotations

from typing import Any

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Mode, Op, Site
from regcheck.core.measurements.dropped_outputs import DroppedOutputs
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity, nothing
from regcheck.probe.probes import ModelProbe, measures
from regcheck.torch_api.output_paths import OutputPaths

DRAWS = 20_000
"""Masks are drawn until there are this many draws (in at most `statistics.REPLAYS` runs)."""


@measures(ModelProbe, forwards=8)
def measure(probe: ModelProbe, op: Op) -> DroppedOutputs:
    """Compare train runs in which `op` drops all, drops nothing, and drops at its rate.

    Where a softmax, a reduction or a loss reads what is dropped, the units are those of its input, in which each of
    them is still by itself. Dropouts whose results are added to that of `op` drop all.
    """
    if op.rate is None:
        raise CannotMeasure("the rate of this dropout is not a number")
    paths = OutputPaths(probe.graph.flow(op.mode))
    readers = {each.site for each in paths.readers(op)}
    others: dict[Site, Replacement] = {each.site: nothing for each in paths.companions(op)}
    behind = [op.site, *others]
    draws_per_run = units = 0

    def run(how: Replacement | None, seed: int = 0, **extra: Any) -> list[torch.Tensor]:
        nonlocal draws_per_run, units
        read: list[torch.Tensor] = []

        def observe(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            nonlocal draws_per_run, units
            if site in readers:
                read.append((args[0] if args else kwargs["input"]).detach().clone())
            if site == op.site and isinstance(result, torch.Tensor):
                whole_channels = op.drops is Drops.CHANNELS and result.dim() > 2
                units = result.numel()
                draws_per_run = result.flatten(2)[..., 0].numel() if whole_channels else units

        swapped = {**others, **({op.site: how} if how else {})}
        vary = {op.site: probe.seed + seed}
        extra |= {"observe": observe, "behind": behind}
        outputs = probe.runner.run(Mode.TRAIN, probe.seed, vary=vary, replace=swapped, **extra)
        return read or outputs

    probe.runner.plan(2)
    blanks, blanks_of_other_input = run(nothing), run(nothing, change=another_input)
    probe.runner.plan(3, behind=behind)
    if statistics.deviation(run(nothing), blanks) > 0:
        raise CannotMeasure("runs with the same random numbers differ, so lost output units cannot be identified")
    constant = len(blanks) == len(blanks_of_other_input)
    noisy = [run(None, 1)]
    wanted = min(statistics.REPLAYS, -(-DRAWS // max(draws_per_run, 1)))
    wanted = probe.runner.plan_share(draws_per_run, wanted, op.rate, probe.alpha, behind=behind)
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


def another_input(tensor: torch.Tensor) -> torch.Tensor:
    """Another valid input of the same shape, which masks the same values: ids change places but for the smallest."""
    if tensor.is_floating_point():
        return tensor * 0.5
    if tensor.dtype is torch.bool or tensor.dim() < 2:
        return tensor
    ids, places = torch.unique(tensor, return_inverse=True)
    return torch.cat([ids[:1], ids[1:].flip(0)])[places]
