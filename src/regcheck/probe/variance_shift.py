"""How the noise of one dropout changes the variance that a batch norm sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Graph, Kind, Mode, Op, Site
from regcheck.core.measurements import Shift
from regcheck.reference.dropout import inverted_dropout, spatial_dropout

from . import statistics
from .interventions import Replacement, identity
from .reductions import wide
from .runner import Enough, Runner

REFERENCES = 5
"""Masks drawn for the reference: its figure is shown, no verdict rests on it."""


def variance_shift(runner: Runner, graph: Graph, op: Op, seed: int) -> Shift:
    """Compare train runs with and without `op`, all else held still, at the first batch norm its noise reaches.

    Behind another one, by the graph, is none that is the first; runs tell them apart where their values repeat to the
    bit, and do not where a device adds up in any order.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None:
        raise CannotMeasure("this is no dropout with a rate that is a number")
    _, stopped = graph.train.ahead(op, lambda each: not (each.kind is Kind.BATCH_NORM and each.active))
    ahead = {each.site for each in stopped}

    def variances(turn: int, how: Replacement | None = None, upto: int | None = None) -> list[Tensor]:
        """The variances that the batch norms of a run see, in the order of their calls, up to one of them."""
        met: list[Tensor] = []

        def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            if name == "batch_norm" and (site in ahead or not ahead):
                met.append(channel_variance(args[0] if args else kwargs["input"]))
                if len(met) - 1 == upto:
                    raise Enough

        replace = {op.site: how} if how is not None else None
        runner.run(Mode.TRAIN, seed, vary={op.site: seed + turn}, replace=replace, observe=look)
        return met

    runner.plan(2)
    without, noisy = variances(0, identity), variances(1)
    if not without:
        raise CannotMeasure("no batch norm runs in train mode")
    both = enumerate(zip(without, noisy, strict=True))
    reached = next((turn for turn, (one, other) in both if not torch.equal(one, other)), None)
    if reached is None:
        return Shift((1.0,) * statistics.SIGNS, 1.0)

    def ratio(turn: int, how: Replacement | None = None) -> float:
        return variance_ratio(variances(turn, how, reached)[reached], without[reached])

    generator = torch.Generator().manual_seed(seed)
    runner.plan(1)
    ratios = [ratio(1)]
    runner.plan(statistics.SIGNS - 1 + REFERENCES, work=runner.operations)  # a run ends at the batch norm
    ratios += [ratio(1 + turn) for turn in range(1, statistics.SIGNS)]
    expected = sorted(ratio(1 + turn, reference(op, generator)) for turn in range(REFERENCES))
    return Shift(tuple(ratios), expected[REFERENCES // 2])


def channel_variance(values: Tensor) -> Tensor:
    """The variance of every channel of (N, C, …) values, as batch norm computes it."""
    return wide(values.detach().transpose(0, 1).flatten(1)).var(1, correction=0)


def variance_ratio(noisy: Tensor, calm: Tensor) -> float:
    """The median over channels of one variance over another; channels that do not vary tell nothing."""
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
