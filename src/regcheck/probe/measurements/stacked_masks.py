"""Count what consecutive dropouts drop together."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Op, Site
from regcheck.core.measurements.stacked_masks import StackedMasks
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import UNITS
from regcheck.probe.interventions import Replacement, identity
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import pieces, tally
from regcheck.probe.runner import Enough


@measures(ModelProbe, forwards=3)
def measure(probe: ModelProbe, op: Op) -> StackedMasks:
    """Count the units that are zero behind `op`, and are not without it and the dropouts right before it."""
    runner, seed = probe.runner, probe.seed
    chain = [op, *probe.graph.dropouts_right_before(op)]
    elementwise = all(each.drops is Drops.ELEMENTS and "alpha" not in each.site.function for each in chain)
    if not elementwise or any(each.rate is None for each in chain):
        raise CannotMeasure("these ops are not elementwise dropouts whose rates are numbers")

    def behind(turn: int, replace: dict[Site, Replacement] | None = None) -> Tensor:
        results: list[Tensor] = []

        def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            if site == op.site:
                results.append(result.detach().clone())
                raise Enough

        vary = {each.site: seed + turn for each in chain}
        runner.run(op.mode, seed, vary=vary, replace=replace, observe=look, behind=[*vary])
        if not results:
            raise CannotMeasure(f"this call does not run in {op.mode.value} mode")
        return results[0]

    runner.plan(2, mode=op.mode)
    clean = behind(0, {each.site: identity for each in chain})
    units = clean.numel() - tally(clean).zeros
    if units == 0:
        raise CannotMeasure("the input of this call is zero everywhere")
    together = 1 - math.prod(1 - (each.rate or 0.0) for each in chain)
    wanted, work = min(statistics.REPLAYS, -(-UNITS // units)), runner.operations * len(chain[:2])
    runs = runner.plan_share(units, wanted, together, probe.alpha, mode=op.mode, work=work)
    total = units * runs

    def lost(replace: dict[Site, Replacement] | None = None) -> float:
        parts = (pair for turn in range(runs) for pair in pieces(behind(turn, replace), clean))
        return sum(int(((part == 0) & (whole != 0)).sum()) for part, whole in parts) / total

    share = lost()
    alone = lost({each.site: identity for each in chain[1:]}) if chain[1:] else share
    interval = statistics.binomial_interval(total, together, probe.alpha)
    return StackedMasks(share, total, op.rate or 0.0, together, interval, alone)
