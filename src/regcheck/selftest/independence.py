"""Whether the draws of a mask are independent: exact tests of pairs, and a scan of all distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from regcheck.lazy_dataclass import dataclass
from regcheck.probe.statistics import binomial_interval

interval = cache(binomial_interval)
"""Cached: the numbers of draws repeat for every mode and device."""


@dataclass(frozen=True)
class Correlation:
    """The correlation of two sets of draws, which `where` names, and the interval of independent ones."""

    where: str
    value: float
    low: float
    high: float
    samples: int

    @property
    def excess(self) -> float:
        """The correlation relative to its interval: above one, it is outside."""
        return max(self.value / self.high, self.value / self.low)


def agreement(where: str, one: Tensor, other: Tensor, rate: float, alpha: float) -> Correlation:
    """Compare two sets of draws with drop probability `rate`, pair by pair.

    The number of pairs that differ is binomial for independent draws, with probability 2p(1 - p) each. Exact.
    """
    pairs, differ = one.numel(), 2 * rate * (1 - rate)
    low, high = interval(pairs, differ, alpha)
    share = float((one != other).double().mean())
    return Correlation(where, 1 - share / differ, 1 - high / differ, 1 - low / differ, pairs)


def neighbours(where: str, dropped: Tensor, axis: int, rate: float, alpha: float) -> Correlation:
    """Compare every second position along an axis with the next one, so that no draw is in two pairs."""
    half = dropped.size(axis) // 2
    even, odd = (dropped.index_select(axis, torch.arange(first, 2 * half, 2)) for first in (0, 1))
    return agreement(where, even, odd, rate, alpha)


def repetition(dropped: Tensor, rate: float, alpha: float) -> Correlation:
    """Compute the autocorrelation of all draws at every distance up to half their number, and return the worst.

    At distance k the sum of z_i z_{i+k}, with z = dropped - p, is a martingale: given all earlier draws, z_{i+k} has
    mean zero and lies in an interval of length one, so each term lies in one of length max(p, 1 - p) at most.
    Hoeffding's inequality (for martingales: Azuma, McDiarmid) then bounds P(|sum| ≥ t) by
    2 exp(-2 t² / (n max(p, 1 - p)²)), and the distances share `alpha`.
    """
    row = dropped.flatten().double() - rate
    length, most = row.numel(), row.numel() // 2
    power = torch.fft.rfft(row, 2 * length).abs().square()
    sums = torch.fft.irfft(power, 2 * length)[1 : most + 1]
    terms = length - torch.arange(1, most + 1, dtype=torch.float64)
    bounds = max(rate, 1 - rate) * (terms * math.log(2 * most / alpha) / 2).sqrt()
    worst = int((sums.abs() / bounds).argmax())
    unit = float(terms[worst]) * rate * (1 - rate)
    bound = float(bounds[worst]) / unit
    return Correlation(f"at distance {worst + 1}", float(sums[worst]) / unit, -bound, bound, length)


def worst_correlation(dropped: Tensor, axes: Sequence[str], rate: float, alpha: float) -> Correlation:
    """Returns the correlation with the largest excess: along each axis, or at any distance.

    Args:
        dropped: the draws of several calls, bool, in the order of the calls.
        axes: the names of its axes; the first is the axis of calls.
        rate: the probability of dropping.
        alpha: the false-alarm probability, shared by the tests.
    """
    long = [axis for axis in range(len(axes)) if dropped.size(axis) > 1]
    share = alpha / (len(long) + 1)
    along_axes = [neighbours(f"along {axes[axis]}", dropped, axis, rate, share) for axis in long]
    return max([*along_axes, repetition(dropped, rate, share)], key=lambda each: each.excess)
