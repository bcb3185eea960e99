"""Let one batch norm use its running statistics, and measure how the prediction changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode, Op, Site
from regcheck.core.measurements.running_statistics import RunningStatistics
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import relative_change
from regcheck.tracing.call_interceptor import arguments_by_name

from .batch_dependence import with_statistics


@measures(ModelProbe, forwards=25)
def measure(probe: ModelProbe, op: Op) -> RunningStatistics:
    """Compare eval runs with the running statistics in `op` with runs as they are, on the same random numbers."""

    def run(replace: Mapping[Site, Replacement] | None = None) -> list[Tensor]:
        outputs = probe.runner.run(Mode.EVAL, probe.seed, replace=replace, behind=[op.site])
        return [each for each in outputs if each.is_floating_point()]

    def from_training(function: Any, args: Any, kwargs: Any) -> Any:
        arguments = arguments_by_name(function, op.site.function, args, kwargs)
        mean, variance = arguments.get("running_mean"), arguments.get("running_var")
        if mean is None or variance is None:
            raise CannotMeasure("this call has no running statistics")
        return with_statistics(op, (mean, variance), function, args, kwargs)

    probe.runner.plan(1, mode=Mode.EVAL)
    reference = run()
    probe.runner.plan(2 * statistics.REPLAYS, mode=Mode.EVAL, behind=[op.site])
    others = [run({op.site: from_training}) for _ in range(statistics.REPLAYS)]
    replays = [statistics.deviation(run(), reference) for _ in range(statistics.REPLAYS)]
    changed = [statistics.deviation(each, reference) for each in others]
    relative = relative_change(others[0], reference)
    p_value = statistics.rank_test(len(changed), len(replays))
    return RunningStatistics(tuple(changed), tuple(replays), relative, p_value)
