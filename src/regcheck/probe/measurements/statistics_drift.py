"""Repeat a training call, and compare the running statistics of norms before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.statistics_drift import StatisticsDrift
from regcheck.core.usage import Event
from regcheck.probe.probes import CallProbe, Statistics, measures
from regcheck.probe.reductions import wide
from regcheck.runtime.models import updates_statistics


@measures(CallProbe, forwards=2)
def measure(probe: CallProbe, event: Event, parts: Sequence[str]) -> StatisticsDrift:
    """Run the call as it was, and with the norms in these parts in eval mode.

    Both begin with the running statistics that the program's call began with.

    Raises:
        CannotMeasure: forward raises, or exceeds the budget.
    """
    runner, modes = probe.runner, probe.modes
    norms = {
        path: module
        for path, module in runner.model.named_modules()
        if any(f"{path}.".startswith(f"{part}.") for part in parts) and modes.get(path) and updates_statistics(module)
    }
    calm = {**modes, **dict.fromkeys(norms, False)}
    runner.try_out(modes, probe.seed)
    runner.plan(1)
    distances = []
    for each in (modes, calm):
        with _watching(norms, probe.statistics) as pairs:
            runner.run(each, probe.seed)
        distances.append([_distance(norms[path], *pairs[path]) for path in pairs])
    moved, still = ([each for each in some if each > 0] for some in distances)
    return StatisticsDrift(len(norms), len(moved), len(still), max(moved, default=0.0))


@contextmanager
def _watching(
    norms: Mapping[str, nn.Module], begin: Mapping[str, Statistics]
) -> Iterator[dict[str, tuple[Statistics, Statistics]]]:
    """Begins the first call of each norm with these statistics; yields those before it and after the last call."""
    pairs: dict[str, tuple[Statistics, Statistics]] = {}

    def enter(path: str, norm: Any) -> None:
        if path not in pairs:
            for buffer, value in zip((norm.running_mean, norm.running_var), begin.get(path, ()), strict=False):
                buffer.copy_(value)
            pairs[path] = (_statistics(norm),) * 2

    def leave(path: str, norm: Any) -> None:
        pairs[path] = pairs[path][0], _statistics(norm)

    with ExitStack() as hooks:
        for path, norm in norms.items():
            pre = norm.register_forward_pre_hook(lambda norm, args, path=path: enter(path, norm))
            hooks.callback(pre.remove)
            hooks.callback(norm.register_forward_hook(lambda norm, args, out, path=path: leave(path, norm)).remove)
        yield pairs


def _statistics(norm: Any) -> Statistics:
    return norm.running_mean.clone(), norm.running_var.clone()


def _distance(norm: Any, before: Statistics, after: Statistics) -> float:
    """How far the statistics are away towards which a call has moved those of a norm, in running deviations."""
    if all(torch.equal(one, other) for one, other in zip(before, after, strict=True)):
        return 0.0
    (mean, variance), (new_mean, new_variance) = (tuple(map(wide, each)) for each in (before, after))
    if not bool(torch.stack((new_mean, new_variance)).isfinite().all()):
        raise CannotMeasure("the running statistics become values that are not finite")
    deviation = (variance + norm.eps).sqrt()
    far = (variance + (new_variance - variance) / norm.momentum).clamp_min(0) + norm.eps
    shift = (new_mean - mean) / norm.momentum / deviation
    return float((shift.square() + (far.sqrt() / deviation - 1).square()).mean().sqrt())
