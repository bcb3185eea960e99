"""Whether a dropout that a loop makes draws one mask for all steps, or a new one each time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op
from regcheck.core.measurements import Agreement
from regcheck.reference.dropout import inverted_dropout

from . import statistics
from .dropout_masks import UNITS, Call, dropped_by
from .runner import Runner


def agreement_of(runner: Runner, graph: Graph, op: Op, seed: int, alpha: float) -> Agreement:
    """Compare the masks of successive turns of a call, two and two, in as many train runs as there are replays at most.

    No mask is in two of the pairs, so that what agrees is counted in independent draws.
    """
    if op.kind is not Kind.DROPOUT or op.drops is not Drops.ELEMENTS or op.rate is None or "alpha" in op.site.function:
        raise CannotMeasure("this is no elementwise dropout with a rate that is a number")
    rate, spot = op.rate, replace(op.site, occurrence=0)
    sites = [each.site for each in graph.dropouts(Mode.TRAIN) if replace(each.site, occurrence=0) == spot]
    if len(sites) < 2:
        return Agreement(1.0, 0, len(sites), 1.0, (1.0, 1.0))
    masks: list[Tensor] = []

    def drop(function: Any, args: Any, kwargs: Any) -> Tensor:
        values: Tensor = args[0] if args else kwargs["input"]
        masks.append(dropped_by(spot, Call(function, tuple(args), dict(kwargs), None)))
        return inverted_dropout(values, ~masks[-1], rate)

    agreeing = units = turn = 0
    wanted, alone = 1, rate**2 + (1 - rate) ** 2
    runner.plan(1)
    while turn < wanted:
        masks.clear()
        runner.run(Mode.TRAIN, seed, vary=dict.fromkeys(sites, seed + turn), replace=dict.fromkeys(sites, drop))
        pairs = [(one, other) for one, other in zip(masks[::2], masks[1::2], strict=False) if one.shape == other.shape]
        agreeing += sum(int((one == other).sum()) for one, other in pairs)
        units += sum(one.numel() for one, _ in pairs)
        if units == 0:
            raise CannotMeasure("no two turns of this call drop from values of one shape")
        if turn == 0:
            wanted = min(statistics.REPLAYS, -(-UNITS // units))
            wanted = runner.plan_share(units, wanted, alone, alpha)
        turn += 1
    return Agreement(agreeing / units, units, len(sites), alone, statistics.binomial_interval(units, alone, alpha))
