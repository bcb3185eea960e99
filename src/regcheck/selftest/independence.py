"""Whether the draws of a mask are independent: exact tests of pairs, and a scan of all distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from regcheck.probe.statistics import binomial_interval

interval = cache(binomial_interval)
"""The same numbers of draws come back for every mode and device."""


@dataclass(frozen=True)
class Correlation:
    """How far one set of draws goes along with another, against how far independent ones may; `where` names them."""

    where: str
    value: float
    low: float
    high: float
    samples: int

    @property
    def excess(self) -> float:
        """Above one where it is more than chance allows."""
        return max(self.value / self.high, self.value / self.low)


def agreement(where: str, one: Tensor, other: Tensor, rate: float, alpha: float) -> Correlation:
    """Compare two sets of draws, each of which drops with probability `rate`, pair by pair.

    Independent ones differ in a binomial number of places, with probability 2p(1 - p) each. Exact.
    """
    pairs, differ = one.numel(), 2 * rate * (1 - rate)
    low, high = interval(pairs, differ, alpha)
    share = float((one != other).double().mean())
    return Correlation(where, 1 - share / differ, 1 - high / differ, 1 - low / differ, pairs)


def neighbours(where: str, dropped: Tensor, axis: int, rate: float, alpha: float) -> Correlation:
    """Compare every second position along an axis with the one after it, so that no draw is in two pairs."""
    half = dropped.size(axis) // 2
    even, odd = (dropped.index_select(axis, torch.arange(first, 2 * half, 2)) for first in (0, 1))
    return agreement(where, even, odd, rate, alpha)


def repetition(dropped: Tensor, rate: float, alpha: float) -> Correlation:
    """Compare all draws in a row with themselves, shifted by every distance up to half of them; the worst counts.

    At distance k the sum of z_i z_{i+k}, with z = dropped - p, is a martingale: given all before, z_{i+k} has mean zero
    and lies in an interval of length one, so each term lies in one of length max(p, 1 - p) at most. Hoeffding's
    inequality (as extended to martingales by Azuma and McDiarmid) then bounds P(|sum| ≥ t) by
    2 exp(-2 t² / (n max(p, 1 - p)²)), and `alpha` is shared by the distances.
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
    """The correlation that exceeds what chance allows the most: along each axis, or at any distance.

    Args:
        dropped: the draws of several calls, bool, in the order in which they were made.
        axes: the names of its axes, the first of which is that of the calls.
        rate: the probability of dropping.
        alpha: the probability that independent draws exceed anything, shared by the tests.
    """
    long = [axis for axis in range(len(axes)) if dropped.size(axis) > 1]
    share = alpha / (len(long) + 1)
    found = [neighbours(f"along {axes[axis]}", dropped, axis, rate, share) for axis in long]
    return max([*found, repetition(dropped, rate, share)], key=lambda each: each.excess)
