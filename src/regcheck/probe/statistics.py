"""The exact tests behind verdicts; none has a threshold of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from regcheck.core.errors import CannotMeasure

from .reductions import pieces, wide

REPLAYS = 12
"""Runs on each side of the rank test: the least for which its false-alarm probability is below 1e-6."""

STREAMS = (0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 0, 1, 0)
"""The random stream of each run of a spread's early look: the fewest runs whose partition by streams has a chance
below its share of α. A stream repeats as soon as it can, so that noise shows at once."""

FIRST, DOUBLED, ISOLATED = (10, 14, 12), (60, 60, 60), (13, 13, 12)
"""Runs of a spread: replays, replays where these differ by themselves, and changed runs, at the first look and at the
second one, which has more in all or takes other calls out. Those of the first and the isolated look are the least for
which the looks keep below their shares of α; the changed ones are as many as elsewhere, for what a look may overlook
rests on them. The second look has as many as prove a draw of few values, where a third of the changed runs differ."""

SIGNS = 20
"""Runs of the sign test: the least for which its false-alarm probability, 2 to the minus of them, is below 1e-6."""

MORE_SIGNS, MAJORITY = 40, 37
"""Runs of a second look at other samples, where those of the first one do not agree, and how many of them must: the
least share for which both looks together keep below 1e-6."""


def rank_test(replays: int, changed: int, above: int | None = None) -> float:
    """Probability that the `above` largest of all deviations are `changed` ones when all come from one distribution.

    All deviations are taken from one common reference run, so under the null hypothesis they are exchangeable and every
    choice of those that are the largest is equally likely (Fisher's randomization argument). Without `above`, all
    `changed` ones exceed all replays.
    """
    above = changed if above is None else above
    return math.comb(changed, above) / math.comb(replays + changed, above)


def sign_test(above: int, runs: int) -> bool | None:
    """Whether the median is above a threshold that `above` of the `runs` exceed; None where they do not decide it."""
    needed = runs if runs <= SIGNS else MAJORITY
    return True if above >= needed else False if runs - above >= needed else None


def coincidence(replays: int, changed: int) -> float:
    """Probability that all replays equal a reference run to the bit and no `changed` run does, by chance alone.

    Given the reference, each run equals it with one probability q, and q^replays (1 - q)^changed is largest at the
    share of those that do. By de Finetti's theorem that bounds all exchangeable runs of which there could be more.
    """
    q = replays / (replays + changed)
    return float(q**replays * (1 - q) ** changed)


def partition_chance(streams: Sequence[int]) -> float:
    """Probability that runs are equal exactly where their streams are, by chance alone.

    Where the streams do not matter the runs are exchangeable: given which of them are equal, each assignment of the
    streams to them is equally likely, and so is each partition into groups of these sizes.
    """
    sizes = Counter(streams).values()
    same = math.prod(map(math.factorial, (*sizes, *Counter(sizes).values())))
    return same / math.factorial(len(streams))


def fewest_draws(rate: float, alpha: float) -> int:
    """The least number of draws that distinguish a rate of zero, which drops none of them, from this rate."""
    if not 0 < rate < 1:
        return 1
    return math.ceil(math.log(alpha / 2) / math.log1p(-rate))


def idle_chance(dropouts: Iterable[tuple[float | None, int | None]], runs: int) -> float:
    """Probability that `runs` runs all draw the masks of the reference run, for dropouts of these rates and units.

    Zero where a rate or a number of units is not known.
    """
    chance = 1.0
    for rate, units in dropouts:
        if rate is None or units is None:
            return 0.0
        chance *= ((1 - rate) ** (runs + 1) + rate ** (runs + 1)) ** units
    return chance


def beta_tail(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - beta_tail(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1 / max(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            step = c * d
            value *= step
        if abs(step - 1) < 1e-15:
            break
    return front * value


def at_least(successes: int, draws: int, rate: float) -> float:
    """P(X ≥ successes) of a binomial count."""
    if not 0 < successes <= draws:
        return float(successes <= 0)
    return beta_tail(successes, draws - successes + 1, rate)


def binomial_interval(draws: int, rate: float, alpha: float) -> tuple[float, float]:
    """The shares between which a binomial count falls with probability 1 - `alpha` or more (exact, alpha/2 a tail)."""
    low = _first(lambda k: 1 - at_least(k + 1, draws, rate) > alpha / 2, draws)
    high = _first(lambda k: at_least(k + 1, draws, rate) <= alpha / 2, draws)
    return low / draws, high / draws


def _first(holds: object, draws: int) -> int:
    """The least count in 0…draws at which a monotone condition holds."""
    assert callable(holds)
    low, high = 0, draws
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def fit_test(r_squared: float, samples: int, groups: int) -> float:
    """P-value of the F test that one predictor, with a slope and a mean per group, explains nothing.

    Under that null hypothesis 1 - R² follows Beta((samples - 2 groups) / 2, groups / 2).
    """
    freedom = samples - 2 * groups
    return 1.0 if freedom < 1 else beta_tail(freedom / 2, groups / 2, 1 - r_squared)


def material_fit_test(r_squared: float, samples: int, groups: int, material: float) -> float:
    """P-value of the test that one predictor, with a slope and a mean per group, explains a `material` share or more.

    The F statistic is then noncentral; its distribution is approximated by a scaled central one (Patnaik, 1949).
    """
    freedom = samples - 2 * groups
    if freedom < 1:
        return 1.0
    noncentrality = samples * material / (1 - material)
    wide = (groups + noncentrality) ** 2 / (groups + 2 * noncentrality)
    scaled = wide * r_squared / (groups + noncentrality)
    return beta_tail(wide / 2, freedom / 2, scaled / (scaled + 1 - r_squared)) if r_squared < 1 else 1.0


def deviation(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """The largest absolute difference between two runs' outputs; infinite where shapes or finiteness differ.

    Raises:
        CannotMeasure: neither run has an output.
    """
    if not first and not second:
        raise CannotMeasure("forward returns no tensor or number to compare")
    if len(first) != len(second):
        return math.inf
    worst = 0.0
    for one, other in zip(first, second, strict=True):
        if one.shape != other.shape:
            return math.inf
        for here, there in pieces(one, other) if one.numel() else ():
            difference = (wide(here) - wide(there)).abs()
            equal = ((here == there) | (here.isnan() & there.isnan())).to(difference.device)
            worst = max(worst, float(torch.where(equal, 0.0, difference).nan_to_num(nan=math.inf).max()))
    return worst


def are_identical(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    """Whether two runs' outputs are equal to the bit."""
    return len(first) == len(second) and all(
        torch.equal(one, other) or deviation([one], [other]) == 0 for one, other in zip(first, second, strict=True)
    )


def neighbour_fit(
    values: torch.Tensor, dropped: torch.Tensor, surviving: torch.Tensor, *, ranked: bool = False
) -> tuple[float, int, int]:
    """R² of dropped values on the mean of their surviving direct neighbours, and the counts of values and of channels.

    Args:
        values: maps before dropping, shape (N, C, …extent).
        dropped: where the mask dropped, same shape, bool.
        surviving: where the mask did not drop, same shape, bool.
        ranked: fit the ranks that the dropped values have in their channel: outliers among rectified or heavy-tailed
            values would exceed what the F test allows for, and ranks have none.

    Every channel has a mean and a slope of its own, so that only what is local counts.
    """
    total = torch.zeros_like(values)
    count = torch.zeros_like(values)
    for axis in range(2, values.dim()):
        for shift in (1, -1):
            for source, target in ((values * surviving, total), (surviving.to(values.dtype), count)):
                rolled = source.roll(shift, axis)
                edge = 0 if shift == 1 else rolled.size(axis) - 1
                rolled.select(axis, edge).zero_()
                target += rolled
    usable = dropped & (count > 0)
    samples = int(usable.sum())
    channel = torch.arange(values.size(1), device=values.device).view(1, -1, *[1] * (values.dim() - 2))
    channel = channel.expand_as(values)[usable]

    def sums(each: torch.Tensor) -> torch.Tensor:
        return torch.zeros(values.size(1), dtype=each.dtype, device=each.device).index_add_(0, channel, each)

    sizes = sums(torch.ones_like(channel, dtype=values.dtype))
    left, right = values[usable], (total / count.clamp(min=1))[usable]
    if ranked:
        order = left.argsort()
        order = order[channel[order].argsort(stable=True)]  # any shift of a channel's ranks goes with its mean
        left = torch.empty_like(left).index_put_((order,), torch.arange(samples, dtype=left.dtype, device=left.device))
    left, right = (each - (sums(each) / sizes.clamp(min=1))[channel] for each in (left, right))
    crossed, squares, variance = sums(left * right), sums(right * right), float(left @ left)
    explained = float(torch.where(squares > 0, crossed.square() / squares.clamp(min=1e-300), 0.0).sum())
    return (min(explained / variance, 1.0) if variance > 0 else 0.0), samples, int((sizes > 0).sum())
