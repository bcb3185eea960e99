"""The independence tests raise no more false alarms than α, and have the documented power."""

from __future__ import annotations

import pytest
import torch

from regcheck.probe.statistics import binomial_interval
from regcheck.selftest.independence import agreement, repetition, worst_correlation

TRIALS = 400


def masks(rate: float, *shape: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(int(rate * 100) + len(shape))
    return [torch.rand(shape, generator=generator) < rate for _ in range(TRIALS)]


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5, 0.9])
def test_independent_draws_exceed_no_more_often_than_stated(rate: float) -> None:
    """At α = 0.2, the number of alarms in 400 masks of independent draws is within its binomial bound at 1e-6."""
    alpha = 0.2
    exceeded = sum(
        worst_correlation(mask, ["call", "row", "column"], rate, alpha).excess > 1 for mask in masks(rate, 2, 8, 12)
    )
    assert exceeded / TRIALS <= binomial_interval(TRIALS, alpha, 1e-6)[1]


def test_the_test_of_pairs_is_exact() -> None:
    """The interval is that of a binomial count of the pairs that differ: here, half of 1024 within 4.9 deviations."""
    one, other = masks(0.5, 1024)[:2]
    found = agreement("", one, other, 0.5, 1e-6)
    assert found.samples == 1024
    assert found.high == pytest.approx(-found.low, abs=0.01)
    assert found.high == pytest.approx(2 * 4.9 * 0.5 / 1024**0.5, rel=0.1)
    assert agreement("", one, one, 0.5, 1e-6).value == 1
    assert agreement("", one, ~one, 0.5, 1e-6).value == -1


@pytest.mark.parametrize("distance", [17, 33, 100, 511, 512])
def test_a_repetition_is_found_at_its_distance(distance: int) -> None:
    """If 1024 draws repeat after some distance, the worst distance is that one or a multiple of it."""
    row = masks(0.3, 1024)[0][:distance].repeat(-(-1024 // distance))[:1024]
    found = repetition(row, 0.3, 1e-6)
    assert found.excess > 1
    assert int(found.where.split()[-1]) % distance == 0


def test_opposite_draws_are_found_too() -> None:
    """Neighbours that never agree are as dependent as those that always do."""
    row = torch.stack([(half := masks(0.5, 512)[0]), ~half], -1).flatten()
    found = worst_correlation(row[None], ["call", "position"], 0.5, 1e-6)
    assert found.excess > 1
    assert found.where == "along position"
    assert found.value == -1
