"""Compare the masks that a dropout in a loop draws at successive steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Mode, Op
from regcheck.core.measurements.mask_agreement import MaskAgreement
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import UNITS, Call, dropped_by
from regcheck.probe.probes import ModelProbe, measures
from regcheck.reference.dropout import inverted_dropout


@measures(ModelProbe, forwards=3)
def measure(probe: ModelProbe, op: Op) -> MaskAgreement:
    """Compare the masks of a call's steps in pairs, in at most `statistics.REPLAYS` train runs.

    No mask is in two pairs, so that the counted units are independent draws.
    """
    if op.kind is not Kind.DROPOUT or op.drops is not Drops.ELEMENTS or op.rate is None or "alpha" in op.site.function:
        raise CannotMeasure("this op is not an elementwise dropout whose rate is a number")
    runner, seed = probe.runner, probe.seed
    rate, spot = op.rate, replace(op.site, occurrence=0)
    sites = [each.site for each in probe.graph.dropouts(Mode.TRAIN) if replace(each.site, occurrence=0) == spot]
    if len(sites) < 2:
        return MaskAgreement(1.0, 0, len(sites), 1.0, (1.0, 1.0))
    masks: list[Tensor] = []

    def drop(function: Any, args: Any, kwargs: Any) -> Tensor:
        values: Tensor = args[0] if args else kwargs["input"]
        masks.append(dropped_by(spot, Call(function, tuple(args), dict(kwargs))))
        return inverted_dropout(values, ~masks[-1], rate)

    agreeing = units = turn = 0
    wanted, independent = 1, rate**2 + (1 - rate) ** 2
    runner.plan(1)
    while turn < wanted:
        masks.clear()
        vary = dict.fromkeys(sites, seed + turn)
        runner.run(Mode.TRAIN, seed, vary=vary, replace=dict.fromkeys(sites, drop), behind=sites)
        pairs = [(one, other) for one, other in zip(masks[::2], masks[1::2], strict=False) if one.shape == other.shape]
        agreeing += sum(int((one == other).sum()) for one, other in pairs)
        units += sum(one.numel() for one, _ in pairs)
        if units == 0:
            raise CannotMeasure("no two steps of this call drop from values of one shape")
        if turn == 0:
            wanted = min(statistics.REPLAYS, -(-UNITS // units))
            wanted = runner.plan_share(units, wanted, independent, probe.alpha)
        turn += 1
    interval = statistics.binomial_interval(units, independent, probe.alpha)
    return MaskAgreement(agreeing / units, units, len(sites), independent, interval)
