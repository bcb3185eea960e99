"""Measure how a dropout moves the mean and the variance of its input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Op
from regcheck.core.measurements.moments import Moments
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import CALLS, UNITS, capture
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import moments
from regcheck.probe.seeds import seed_streams
from regcheck.reference.dropout import alpha_dropout, inverted_dropout


@measures(ModelProbe, forwards=1)
def measure(probe: ModelProbe, op: Op) -> Moments:
    """Repeat the call of `op` on its own input, and apply the other kind of dropout to the same input.

    The alternative to alpha dropout is inverted dropout, and that to any other is alpha dropout, at the same rate and
    on whole channels where the call drops these.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None or op.rate >= 1:
        raise CannotMeasure("this op is not a dropout whose rate is a number below one")
    rate, other = op.rate, inverted_dropout if "alpha" in op.site.function else alpha_dropout
    call = capture(probe.runner, op, probe.seed)
    values: Tensor = call.args[0] if call.args else call.kwargs["input"]
    kwargs = {name: each for name, each in call.kwargs.items() if name != "input"}
    spatial = op.drops is Drops.CHANNELS and values.dim() > 2
    shape = (*values.shape[:2], *[1] * (values.dim() - 2)) if spatial else values.shape
    generator = torch.Generator().manual_seed(probe.seed + 1)
    before = moments([values])
    if not before[1] > 0:
        raise CannotMeasure("the input of this call does not vary")

    def repeated() -> Tensor:
        result: Tensor = call.function(values.clone(), *call.args[1:], **kwargs)
        return result

    def alternative() -> Tensor:
        keep = torch.rand(shape, generator=generator, device="cpu") >= rate
        return other(values, keep.to(values.device), rate)

    def after(make: Callable[[], Tensor]) -> tuple[float, float]:
        return moments([make() for _ in range(min(CALLS, -(-UNITS // values.numel())))])

    seed_streams(probe.seed)
    with torch.no_grad():
        pairs = [(after(repeated), after(alternative)) for _ in range(statistics.SIGNS)]
    own, other_kind = (tuple(divergence(before, pair[side]) for pair in pairs) for side in (0, 1))
    return Moments(before, *pairs[0], own, other_kind)


def divergence(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The Kullback-Leibler divergence of the normal distribution with the moments `after` from that with those before.

        D = ½ (v'/v + (m' - m)²/v - 1 - ln(v'/v))

    so that a change of the mean and one of the variance are counted in one unit, relative to the spread that there was.
    """
    (mean, variance), (new_mean, new_variance) = before, after
    ratio = torch.tensor(new_variance / variance, dtype=torch.float64, device="cpu")
    return float(ratio + (new_mean - mean) ** 2 / variance - 1 - ratio.log()) / 2
