"""How a dropout moves the mean and the variance of the activations it is given."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Op
from regcheck.core.measurements import Moments
from regcheck.reference.dropout import alpha_dropout, inverted_dropout

from . import statistics
from .dropout_masks import CALLS, UNITS, caught
from .reductions import moments
from .runner import Runner
from .seeds import seed_streams


def moments_moved(runner: Runner, op: Op, seed: int) -> Moments:
    """Make the call of `op` again on the very activations that it is given, and the other kind of dropout beside it.

    The other kind of alpha dropout is inverted dropout, and that of any other is alpha dropout, at the same rate and
    with whole channels dropped where the call drops these.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None or op.rate >= 1:
        raise CannotMeasure("this is no dropout with a rate that is a number below one")
    rate, other = op.rate, inverted_dropout if "alpha" in op.site.function else alpha_dropout
    call = caught(runner, op, seed)
    values: Tensor = call.args[0] if call.args else call.kwargs["input"]
    kwargs = {name: each for name, each in call.kwargs.items() if name != "input"}
    spatial = op.drops is Drops.CHANNELS and values.dim() > 2
    shape = (*values.shape[:2], *[1] * (values.dim() - 2)) if spatial else values.shape
    generator = torch.Generator().manual_seed(seed + 1)
    before = moments([values])
    if not before[1] > 0:
        raise CannotMeasure("what this call is given does not vary")

    def made_again() -> Tensor:
        result: Tensor = call.function(values.clone(), *call.args[1:], **kwargs)
        return result

    def made_otherwise() -> Tensor:
        keep = torch.rand(shape, generator=generator, device="cpu") >= rate
        return other(values, keep.to(values.device), rate)

    def after(make: Callable[[], Tensor]) -> tuple[float, float]:
        return moments([make() for _ in range(min(CALLS, -(-UNITS // values.numel())))])

    seed_streams(seed)
    with torch.no_grad():
        pairs = [(after(made_again), after(made_otherwise)) for _ in range(statistics.SIGNS)]
    moved, otherwise = (tuple(divergence(before, pair[side]) for pair in pairs) for side in (0, 1))
    return Moments(before, *pairs[0], moved, otherwise)


def divergence(before: tuple[float, float], after: tuple[float, float]) -> float:
    """The Kullback-Leibler divergence of the normal distribution with the moments `after` from that with those before.

        D = ½ (v'/v + (m' - m)²/v - 1 - ln(v'/v))

    so that a change of the mean and one of the variance are counted in one unit, relative to the spread that there was.
    """
    (mean, variance), (new_mean, new_variance) = before, after
    ratio = torch.tensor(new_variance / variance, dtype=torch.float64, device="cpu")
    return float(ratio + (new_mean - mean) ** 2 / variance - 1 - ratio.log()) / 2
