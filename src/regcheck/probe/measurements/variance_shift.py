"""Measure the variance that a dropout's noise adds at the input of a batch norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.core.measurements.variance_shift import VarianceShift
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, identity
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.runner import Enough
from regcheck.reference.dropout import inverted_dropout, spatial_dropout

REFERENCES = 5
"""Masks drawn for the reference, whose figure no verdict depends on."""

TOGETHER = 5
"""Masks of which the second look takes the mean."""

UNREACHED = 1e-5
"""The relative difference of a channel's variance that rounding may explain."""

FAR = 1.2
"""How far from the threshold a median is, as a factor, for which a second look pays."""


@measures(ModelProbe, forwards=27)
def measure(probe: ModelProbe, op: Op, threshold: float) -> VarianceShift:
    """Compare train runs with and without `op`, all else fixed, at the first batch norm that its noise reaches.

    Where some masks exceed the `threshold`, some do not, and their median is not near it, as with few samples, a second
    look compares the means of several masks, as a running variance has the mean of several batches.

    A batch norm behind another one, by the graph, is not the first. Runs distinguish them too where values repeat to
    the bit, and do not where a device adds in any order. Of the norm's channels those count that the noise reaches: it
    may have other inputs beside.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None:
        raise CannotMeasure("this op is not a dropout whose rate is a number")
    runner, seed = probe.runner, probe.seed
    _, stopped = probe.graph.train.ahead(op, lambda each: not (each.kind is Kind.BATCH_NORM and each.active))
    ahead = {each.site for each in stopped}

    def variances(turn: int, how: Replacement | None = None, upto: int | None = None) -> list[Tensor]:
        """The variances at the inputs of a run's batch norms, in call order, up to one of them or the last."""
        per_mask: list[Tensor] = []

        def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            if name == "batch_norm" and (site in ahead or not ahead):
                per_mask.append(channel_variance(args[0] if args else kwargs["input"]))
                if len(per_mask) - 1 == upto or len(per_mask) == len(ahead):
                    raise Enough

        replace = {op.site: how} if how is not None else None
        vary = {op.site: seed + turn}
        runner.run(Mode.TRAIN, seed, vary=vary, replace=replace, observe=look, behind=[op.site])
        return per_mask

    runner.plan(1)
    without = variances(0, identity)
    runner.plan(1, behind=[op.site])
    noisy = variances(1)
    if not any(each.kind is Kind.BATCH_NORM and each.active for each in probe.graph.train):
        raise CannotMeasure("no batch norm runs in train mode")
    both = enumerate(zip(without, noisy, strict=True))
    reached = next((turn for turn, (one, other) in both if not torch.equal(one, other)), None)
    if reached is None:
        return VarianceShift((1.0,) * statistics.SIGNS, 1.0, is_above=False)

    calm = without[reached]
    channels = ~torch.isclose(noisy[reached], calm, rtol=UNREACHED, atol=0.0)
    calm = calm[channels] if bool(channels.any()) else calm

    def ratio(turns: Iterable[int], how: Replacement | None = None) -> float:
        noise = torch.stack([variances(turn, how, reached)[reached] for turn in turns]).mean(0)
        return variance_ratio(noise[channels] if bool(channels.any()) else noise, calm)

    def plan(runs: int) -> None:
        runner.plan(runs, work=runner.operations)  # a run ends at the batch norm

    def side(ratios: Sequence[float]) -> bool | None:
        return statistics.sign_test(sum(each > threshold for each in ratios), len(ratios))

    generator = torch.Generator().manual_seed(seed)
    runner.plan(1, behind=[op.site])
    ratios = [ratio([1])]
    plan(statistics.SIGNS - 1 + REFERENCES)
    ratios += [ratio([1 + turn]) for turn in range(1, statistics.SIGNS)]
    expected = sorted(ratio([1 + turn], reference(op, generator)) for turn in range(REFERENCES))
    median = sorted(ratios)[len(ratios) // 2]
    if side(ratios) is None and not threshold / FAR < median < threshold * FAR:
        plan(statistics.MORE_SIGNS * TOGETHER)
        starts = range(1 + statistics.SIGNS, 1 + statistics.SIGNS + statistics.MORE_SIGNS * TOGETHER, TOGETHER)
        ratios = [ratio(range(start, start + TOGETHER)) for start in starts]
    return VarianceShift(tuple(ratios), expected[REFERENCES // 2], side(ratios))


def channel_variance(values: Tensor) -> Tensor:
    """The variance of every channel of (N, C, …) values, as batch norm computes it; zero where it may be rounding."""
    values = values.detach()
    values = values if values.dtype is torch.float64 else values.float()
    axes = [axis for axis in range(values.dim()) if axis != 1]
    mean = values.mean(axes, keepdim=True)
    variance = (values - mean).square_().mean(axes)  # ten times as fast as `var`, which has one pass
    rounding = (16 * torch.finfo(values.dtype).eps * mean.flatten()).square()
    return torch.where(variance > rounding, variance, 0.0)


def variance_ratio(noisy: Tensor, calm: Tensor) -> float:
    """The median over channels of one variance over another, of the channels that vary."""
    varying = calm > torch.finfo(torch.float32).eps * calm.max()
    if not bool(varying.any()):
        raise CannotMeasure("the input of the batch norm does not vary")
    return float((noisy[varying] / calm[varying]).median())


def reference(op: Op, generator: torch.Generator) -> Replacement:
    """The reference dropout in place of the call: elementwise, or whole channels where the call drops those."""
    rate = op.rate or 0.0

    def drop(function: Any, args: Any, kwargs: Any) -> Tensor:
        values: Tensor = args[0] if args else kwargs["input"]
        spatial = op.drops is Drops.CHANNELS and values.dim() > 2
        shape = values.shape[:2] if spatial else values.shape
        keep = (torch.rand(shape, generator=generator, device="cpu") >= rate).to(values.device)
        return (spatial_dropout if spatial else inverted_dropout)(values, keep, rate)

    return drop
