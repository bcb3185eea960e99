"""Exchange the other samples of a batch, and measure how the prediction for the first one changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode, Op, Site
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import relative_change
from regcheck.torch_api.functions import STATISTICS
from regcheck.tracing.call_interceptor import arguments_by_name
from regcheck.tracing.nested_values import tensors_in


@measures(ModelProbe, forwards=25)
def measure(probe: ModelProbe, op: Op) -> BatchDependence:
    """Repeat the first sample with other samples around it, with the batch statistics of `op` free and fixed.

    The size of the batch stays the same, so that the same kernels run: what differs with the statistics fixed is noise.
    The batch statistics of other ops are fixed in all runs.
    """
    runner, seed = probe.runner, probe.seed
    size = batch_size(runner.inputs())
    reducers = {each.site: each for each in probe.graph.eval if takes_statistics(each, size)} | {op.site: op}
    first: dict[Site, Any] = {}
    own: dict[Site, Any] = {}

    def record(site: Site, into: dict[Site, Any]) -> Replacement:
        """Run the call, and record the statistics of its batch."""

        def recording(function: Any, args: Any, kwargs: Any) -> Any:
            into[site] = batch_statistics(reducers[site], function, args, kwargs)
            return function(*args, **kwargs)

        return recording

    def fix(site: Site) -> Replacement:
        return lambda function, args, kwargs: with_statistics(reducers[site], first[site], function, args, kwargs)

    def outputs(replace: Mapping[Site, Replacement], turn: int | None = None) -> list[Tensor]:
        change = None if turn is None else other_samples(size, seed + turn)
        return rows_of(runner.run(Mode.EVAL, seed, replace=replace, change=change), size)

    def first_sample(batch: list[Tensor]) -> list[Tensor]:
        return [each[:1] for each in batch]

    runner.plan(1 + 2 * statistics.REPLAYS, mode=Mode.EVAL)
    whole = outputs({site: record(site, first) for site in reducers})
    reference = first_sample(whole)
    if op.site not in first:
        raise CannotMeasure("this call does not run in eval mode")
    if not reference:
        raise CannotMeasure("no output has a row for each sample")
    turns = range(1, statistics.REPLAYS + 1)
    fixed = {site: fix(site) for site in first}
    free = {**fixed, op.site: record(op.site, own)}
    others, moved = [], False
    for turn in turns:
        others.append(first_sample(outputs(free, turn)))
        moved = moved or differ(own[op.site], first[op.site])
    if not moved:
        raise CannotMeasure("none of the other batches changes the statistics of this call")
    noise = [statistics.deviation(first_sample(outputs(fixed, turn)), reference) for turn in turns]
    changed = [statistics.deviation(each, reference) for each in others]
    relative = max(relative_change(each, reference, whole) for each in others)
    return BatchDependence(tuple(changed), tuple(noise), relative, statistics.rank_test(len(changed), len(noise)))


def rows_of(outputs: Iterable[Tensor], size: int) -> list[Tensor]:
    """The outputs that have a row for each sample."""
    rows = [each for each in outputs if each.is_floating_point() and each.dim() > 0 and each.size(0) == size]
    return [each for each in rows if each.shape[1:2] != (size,)] or rows  # the others may be tables of pairs


def takes_statistics(op: Op, size: int) -> bool:
    """Whether a call takes statistics over the samples of its batch."""
    if op.kind is Kind.BATCH_NORM:
        return op.active is True
    return op.site.function in STATISTICS and op.shape is not None and op.shape[:1] != (size,)


def batch_size(inputs: Iterable[Tensor]) -> int:
    """The number of samples in the inputs: the leading size that most of them have."""
    sizes = Counter(each.size(0) for each in inputs if each.dim() > 0)
    size = sizes.most_common(1)[0][0] if sizes else 0
    if size < 2:
        raise CannotMeasure("the inputs contain fewer than two samples")
    return size


def other_samples(size: int, seed: int) -> Callable[[Tensor], Tensor]:
    """A change of inputs that replaces all samples of a batch but the first by others, flipped or scaled."""
    generator = torch.Generator().manual_seed(seed)
    order = F.pad(torch.randint(1, size, (size - 1,), generator=generator, device="cpu"), (1, 0))
    scale = float(0.5 + torch.rand((), generator=generator, device="cpu"))

    def change(values: Tensor) -> Tensor:
        if values.dim() == 0 or values.size(0) != size:
            return values
        batch = values[order.to(values.device)]
        if batch.is_floating_point():
            batch[1:] *= scale
        elif batch.dim() > 1:
            batch[1:] = batch[1:].flip(-1)
        return batch

    return change


def batch_statistics(op: Op, function: Any, args: Any, kwargs: Any) -> Any:
    """The batch statistics of a call: mean and variance (None: a norm that takes none), or a reduction's result."""
    if op.kind is not Kind.BATCH_NORM:
        return function(*args, **kwargs)
    if not op.active:
        return None
    values = args[0] if args else kwargs["input"]
    axes = [axis for axis in range(values.dim()) if axis != 1]
    return values.mean(axes), values.var(axes, correction=0)


def differ(some: Any, others: Any) -> bool:
    """Whether two batches have different statistics; a call that takes none counts as different."""
    pairs = zip(tensors_in(some), tensors_in(others), strict=True)
    return others is None or any(not torch.equal(one, other) for one, other in pairs)


def with_statistics(op: Op, recorded: Any, function: Any, args: Any, kwargs: Any) -> Any:
    """The call with recorded statistics in place of its batch's."""
    if op.kind is not Kind.BATCH_NORM:
        return recorded
    if recorded is None:
        return function(*args, **kwargs)
    arguments = arguments_by_name(function, op.site.function, args, kwargs)
    mean, variance = recorded
    eps = arguments.get("eps", arguments.get("epsilon", 1e-5))
    normalized = F.batch_norm(
        arguments["input"], mean, variance, arguments.get("weight"), arguments.get("bias"), eps=eps
    )
    result = function(*args, **kwargs)
    return (normalized, *result[1:]) if isinstance(result, tuple) else normalized  # some return statistics as well
