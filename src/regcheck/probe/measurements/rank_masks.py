"""Compare the masks that data-parallel ranks draw, each from its own random stream."""

from __future__ import annotations

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Op
from regcheck.core.measurements.rank_masks import RankMasks
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import CALLS, UNITS, capture, dropped_by
from regcheck.probe.probes import RanksProbe, measures
from regcheck.probe.runner import Runner
from regcheck.probe.seeds import draw_from
from regcheck.tracing.example_inputs import home_of


@measures(RanksProbe)
def measure(probe: RanksProbe, op: Op) -> RankMasks:
    """Draw the mask of `op` from this rank's stream, exchange it for those of the other ranks, and compare."""
    if op.rate is None or len(probe.ranks) < 2:
        raise CannotMeasure("the rate of this dropout is not a number" if op.rate is None else "there is one rank")
    masks = probe.exchange("masks", mask_from(probe.runner, op, probe.state, probe.seed), probe.ranks)
    if len({len(each) for each in masks.values()}) > 1:
        raise CannotMeasure("the inputs of the ranks have different shapes")
    units = len(masks[probe.ranks[0]])
    agreeing = sum(len(set(each)) == 1 for each in zip(*masks.values(), strict=True))
    independent = op.rate**2 + (1 - op.rate) ** 2
    return RankMasks(probe.ranks, agreeing, units, independent, statistics.at_least(agreeing, units, independent))


def mask_from(runner: Runner, op: Op, state: bytes, seed: int) -> bytes:
    """The mask that `op` draws on ones from a stream in this state, one byte for each unit."""
    call = capture(runner, op, seed)
    draw_from(home_of(runner.model), state)
    masks: list[torch.Tensor] = []
    with torch.no_grad():
        while len(masks) < CALLS and sum(each.numel() for each in masks) < UNITS:
            mask = dropped_by(op.site, call)
            channels = op.drops is Drops.CHANNELS and mask.dim() > 2
            masks.append((mask.flatten(2)[..., 0] if channels else mask).flatten())
    return bytes(torch.cat(masks)[:UNITS].byte().tolist())
