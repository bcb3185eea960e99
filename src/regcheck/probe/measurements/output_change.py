"""Vary one op's random numbers, and take the op out, to see whether it changes the output in train mode."""

from __future__ import annotations

from collections.abc import Mapping

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode, Op, Site
from regcheck.core.measurements.output_change import OutputChange
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity
from regcheck.probe.probes import ModelProbe, measures


@measures(ModelProbe, forwards=26)
def measure(probe: ModelProbe, op: Op) -> OutputChange:
    """Compare train runs in which `op` replays its stream, draws from other streams, and is made identity."""

    def deviation(seed: int, replace: Mapping[Site, Replacement] | None = None) -> float:
        run = probe.runner.run(Mode.TRAIN, probe.seed, vary={op.site: seed}, replace=replace, behind=[op.site])
        return statistics.deviation(run, reference)

    if op.kind not in (Kind.DROPOUT, Kind.RECURRENT, Kind.ATTENTION):
        raise CannotMeasure("regcheck cannot run this op without its dropout")
    probe.runner.plan(1)
    reference = probe.runner.run(Mode.TRAIN, probe.seed, behind=[op.site])
    probe.runner.plan(2 * statistics.REPLAYS + 1, behind=[op.site])
    replays = [deviation(probe.seed) for _ in range(statistics.REPLAYS)]
    changed = [deviation(probe.seed + 1 + turn) for turn in range(statistics.REPLAYS)]
    removed = deviation(probe.seed, {op.site: identity})
    return OutputChange(tuple(changed), removed, max(replays), statistics.rank_test(len(replays), len(changed)))
