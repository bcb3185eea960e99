"""Repeat a dropout call on ones, and read how much it drops and which values it drops together."""

from __future__ import annotations

import math

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Op
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import CALLS, UNITS, capture, on_ones
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import constant_axes, tally
from regcheck.probe.seeds import seed_streams
from regcheck.reference.dropout import inverted_dropout
from regcheck.torch_api.axes import AxesInFlow


@measures(ModelProbe, forwards=1)
def measure(probe: ModelProbe, op: Op) -> UnitMask:
    """Repeat the call of `op` on ones, and count the dropped units."""
    if op.rate is None:
        raise CannotMeasure("the rate of this dropout is not a number")
    call = capture(probe.runner, op, probe.seed)
    seed_streams(probe.seed)
    with torch.no_grad():
        first = on_ones(op.site, call)
        shape, device, tallies = first.shape, first.device, [tally(first)]
        del first
        wanted = min(CALLS, -(-UNITS // max(shape.numel(), 1)))
        while len(tallies) < wanted:
            tallies.append(tally(on_ones(op.site, call)))
        axes = constant_axes(tallies)
        while len(tallies) < CALLS and len(tallies) * unit_count(shape, axes) < UNITS:
            tallies.append(tally(on_ones(op.site, call)))
    units = unit_count(shape, axes) * len(tallies)
    share = sum(each.zeros for each in tallies) / sum(each.size for each in tallies)
    interval = statistics.binomial_interval(units, op.rate, probe.alpha)
    layout = AxesInFlow(probe.graph.flow(op.mode)).of(op)
    channel = None if layout is None or layout.features is None else len(shape) + layout.features
    reference_axes = feature_axes(shape, device, channel, op.rate, len(tallies))
    return UnitMask(share, units, op.rate, interval, axes, tuple(shape), channel, reference_axes)


def feature_axes(
    shape: torch.Size, device: torch.device, channel: int | None, rate: float, draws: int
) -> tuple[int, ...]:
    """The axes that a unit extends along in masks of the same shape by the reference that drops features."""
    if channel is None:
        return ()
    per_feature = torch.Size((*shape[: channel + 1], *(1 for _ in shape[channel + 1 :])))
    ones = torch.ones(per_feature, device=device)
    masks = (inverted_dropout(ones, torch.rand(per_feature, device=device) >= rate, rate) for _ in range(draws))
    features = constant_axes([tally(each) for each in masks])
    return tuple(axis for axis, size in enumerate(shape) if size > 1 and (axis > channel or axis in features))


def unit_count(shape: torch.Size, axes: tuple[int, ...]) -> int:
    """How many draws a mask of a shape consists of."""
    return math.prod(size for axis, size in enumerate(shape) if axis not in axes)
