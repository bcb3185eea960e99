"""Whether a sample's prediction depends on what else is in its batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Graph, Kind, Mode, Op, Site
from regcheck.core.measurements import BatchDependence
from regcheck.torch_api.functions import STATISTICS
from regcheck.tracing.call_interceptor import arguments_by_name
from regcheck.tracing.nested_values import tensors_in

from . import statistics
from .interventions import Replacement
from .reductions import wide
from .runner import Runner


def mates_matter(runner: Runner, graph: Graph, op: Op, seed: int) -> BatchDependence:
    """Keep the first sample and exchange the others, with the statistics that `op` takes free and held.

    The size of the batch stays the same, so that the same kernels run: what differs with the statistics held is noise.
    The statistics that other calls take are held throughout.
    """
    size = batch_size(runner)
    takers = {each.site: each for each in graph.eval if takes_statistics(each, size)} | {op.site: op}
    kept: dict[Site, Any] = {}
    own: dict[Site, Any] = {}

    def note(site: Site, into: dict[Site, Any]) -> Replacement:
        """Keep the statistics of a batch."""

        def noting(function: Any, args: Any, kwargs: Any) -> Any:
            into[site] = batch_statistics(takers[site], function, args, kwargs)
            return function(*args, **kwargs)

        return noting

    def hold(site: Site) -> Replacement:
        return lambda function, args, kwargs: holding(takers[site], kept[site], function, args, kwargs)

    def outputs(replace: Mapping[Site, Replacement], turn: int | None = None) -> list[Tensor]:
        change = None if turn is None else other_mates(size, seed + turn)
        made = runner.run(Mode.EVAL, seed, replace=replace, change=change)
        rows = [each for each in made if each.is_floating_point() and each.dim() > 0 and each.size(0) == size]
        alone = [each for each in rows if each.shape[1:2] != (size,)]  # the others may be tables of pairs
        return [each[:1] for each in alone or rows]

    runner.plan(1 + 2 * statistics.REPLAYS, mode=Mode.EVAL)
    reference = outputs({site: note(site, kept) for site in takers})
    if op.site not in kept:
        raise CannotMeasure("this call does not run in eval mode")
    if not reference:
        raise CannotMeasure("no output has a row for each sample")
    turns = range(1, statistics.REPLAYS + 1)
    everyone = {site: hold(site) for site in kept}
    free = {**everyone, op.site: note(op.site, own)}
    others, moved = [], False
    for turn in turns:
        others.append(outputs(free, turn))
        moved = moved or differ(own[op.site], kept[op.site])
    if not moved:
        raise CannotMeasure("no other mates that were tried change what this call takes from its batch")
    held = [statistics.deviation(outputs(everyone, turn), reference) for turn in turns]
    changed = [statistics.deviation(each, reference) for each in others]
    norm = size_of(reference)
    moves = (size_of([a - b for a, b in zip(each, reference, strict=True)]) for each in others)
    relative = max(moves) / norm if norm > 0 else 0.0
    return BatchDependence(tuple(changed), tuple(held), relative, statistics.rank_test(len(changed), len(held)))


def takes_statistics(op: Op, size: int) -> bool:
    """Whether a call takes statistics over the samples of its batch."""
    if op.kind is Kind.BATCH_NORM:
        return op.active is True
    return op.site.function in STATISTICS and op.shape is not None and op.shape[:1] != (size,)


def size_of(outputs: list[Tensor]) -> float:
    """The norm of all values together."""
    return float(sum(float(wide(each).square().sum()) for each in outputs) ** 0.5)


def batch_size(runner: Runner) -> int:
    """The number of samples in the inputs: the leading size that most of them have."""
    sizes = Counter(each.size(0) for each in runner.inputs() if each.dim() > 0)
    size = sizes.most_common(1)[0][0] if sizes else 0
    if size < 2:
        raise CannotMeasure("the inputs hold fewer than two samples")
    return size


def other_mates(size: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Exchange all samples of a batch but the first: others take their places, turned round and scaled."""
    generator = torch.Generator().manual_seed(seed)
    order = F.pad(torch.randint(1, size, (size - 1,), generator=generator, device="cpu"), (1, 0))
    scale = float(0.5 + torch.rand((), generator=generator, device="cpu"))

    def change(values: Tensor) -> Tensor:
        if values.dim() == 0 or values.size(0) != size:
            return values
        mates = values[order.to(values.device)]
        if mates.is_floating_point():
            mates[1:] *= scale
        elif mates.dim() > 1:
            mates[1:] = mates[1:].flip(-1)
        return mates

    return change


def batch_statistics(op: Op, function: Any, args: Any, kwargs: Any) -> Any:
    """What a call takes from its batch: mean and variance (None: a norm that takes none), or a reduction's result."""
    if op.kind is not Kind.BATCH_NORM:
        return function(*args, **kwargs)
    if not op.active:
        return None
    values = args[0] if args else kwargs["input"]
    axes = [axis for axis in range(values.dim()) if axis != 1]
    return values.mean(axes), values.var(axes, correction=0)


def differ(some: Any, others: Any) -> bool:
    """Whether two batches give different statistics; a call that takes none leaves nothing to be changed."""
    pairs = zip(tensors_in(some), tensors_in(others), strict=True)
    return others is None or any(not torch.equal(one, other) for one, other in pairs)


def holding(op: Op, kept: Any, function: Any, args: Any, kwargs: Any) -> Any:
    """The call with statistics that were kept in place of its batch's."""
    if op.kind is not Kind.BATCH_NORM:
        return kept
    if kept is None:
        return function(*args, **kwargs)
    given = arguments_by_name(function, op.site.function, args, kwargs)
    mean, variance = kept
    eps = given.get("eps", given.get("epsilon", 1e-5))
    made = F.batch_norm(given["input"], mean, variance, given.get("weight"), given.get("bias"), eps=eps)
    result = function(*args, **kwargs)
    return (made, *result[1:]) if isinstance(result, tuple) else made  # some give their statistics as well
