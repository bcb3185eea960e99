"""The statistics behind the verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from regcheck.probe import statistics


@pytest.mark.parametrize("a", [0.5, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("x", [0.01, 0.3, 0.5, 0.9])
def test_the_beta_function_of_whole_numbers_is_a_binomial_tail(a: float, x: float) -> None:
    """I_x(k, n - k + 1) equals the sum of binomial probabilities from k up."""
    k, n = math.ceil(a), 60
    exact = sum(math.comb(n, i) * x**i * (1 - x) ** (n - i) for i in range(k, n + 1))
    assert statistics.beta_tail(k, n - k + 1, x) == pytest.approx(exact, rel=1e-10)


def test_the_beta_function_of_halves() -> None:
    """I_x(1/2, 1/2) is 2/π·asin(√x), and I_x(a, b) + I_{1-x}(b, a) is one."""
    for x in (0.1, 0.5, 0.77):
        assert statistics.beta_tail(0.5, 0.5, x) == pytest.approx(2 / math.pi * math.asin(math.sqrt(x)), rel=1e-12)
        assert statistics.beta_tail(2.5, 7.0, x) + statistics.beta_tail(7.0, 2.5, 1 - x) == pytest.approx(
            1.0, rel=1e-12
        )


@pytest.mark.parametrize(("draws", "rate"), [(10, 0.5), (100, 0.1), (1000, 0.02), (100_000, 0.3)])
def test_a_binomial_interval_holds_what_it_promises(draws: int, rate: float) -> None:
    """The tails outside the interval sum to at most α, and a narrower interval would not do."""
    alpha = 1e-6
    low, high = (round(share * draws) for share in statistics.binomial_interval(draws, rate, alpha))
    assert (1 - statistics.at_least(low, draws, rate)) <= alpha / 2
    assert statistics.at_least(high + 1, draws, rate) <= alpha / 2
    assert high == draws or statistics.at_least(high, draws, rate) > alpha / 2


def test_the_number_of_replays_keeps_its_alpha() -> None:
    """The rank test's false-alarm probability is below 1e-6, and one replay fewer would not be."""
    assert statistics.rank_test(statistics.REPLAYS, statistics.REPLAYS) < 1e-6
    assert statistics.rank_test(statistics.REPLAYS - 1, statistics.REPLAYS - 1) > 1e-6


def test_the_rank_test_is_uniform_under_the_null() -> None:
    """In 20 000 shuffles of 3 + 3 deviations, complete separation happens as often as stated (α = 1e-6)."""
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(20_000, 6, generator=generator)
    separated = int((values[:, :3].min(1).values > values[:, 3:].max(1).values).sum())
    low, high = statistics.binomial_interval(20_000, statistics.rank_test(3, 3), 1e-6)
    assert low <= separated / 20_000 <= high


def test_the_rank_test_counts_what_lies_above() -> None:
    """Under the null at least two of three changed deviations lie above all kept ones as often as stated (α = 1e-6)."""
    generator = torch.Generator().manual_seed(3)
    kept, changed = torch.rand(20_000, 6, generator=generator).split(3, dim=1)
    two = int(((changed > kept.max(1, keepdim=True).values).sum(1) >= 2).sum())
    low, high = statistics.binomial_interval(20_000, statistics.rank_test(3, 3, above=2), 1e-6)
    assert low <= two / 20_000 <= high


def test_neighbours_tell_nothing_of_white_noise() -> None:
    """On independent values the fit's p-value is not small (α = 1e-6), and R² is what chance gives."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(4, 8, 16, 16, generator=generator, dtype=torch.float64)
    dropped = torch.rand(values.shape, generator=generator) < 0.3
    r_squared, samples, channels = statistics.neighbour_fit(values, dropped, ~dropped)
    assert channels == 8 and samples > 1000
    assert statistics.fit_test(r_squared, samples, channels) > 1e-6


def test_neighbours_tell_smooth_maps() -> None:
    """On smooth maps neighbours explain nearly everything; under spatial dropout there is nobody to ask."""
    grid = torch.linspace(0, 3, 16, dtype=torch.float64)
    values = torch.sin(grid[:, None] + grid[None, :] + torch.arange(8.0)[:, None, None]).expand(4, 8, 16, 16)
    generator = torch.Generator().manual_seed(3)
    dropped = torch.rand(values.shape, generator=generator) < 0.3
    r_squared, samples, channels = statistics.neighbour_fit(values, dropped, ~dropped)
    assert r_squared > 0.9 and statistics.fit_test(r_squared, samples, channels) < 1e-6
    whole = (torch.rand(4, 8, 1, 1, generator=generator) < 0.3).expand_as(values)
    assert statistics.neighbour_fit(values, whole, ~whole)[:2] == (0.0, 0)


def test_the_fit_test_is_uniform_under_the_null() -> None:
    """Over 2 000 white maps the p-value falls below 0.05 as often as stated (α = 1e-6)."""
    generator = torch.Generator().manual_seed(4)
    small = 0
    for _ in range(2000):
        values = torch.randn(1, 2, 8, 8, generator=generator, dtype=torch.float64)
        dropped = torch.zeros(8, 8, dtype=torch.bool)
        dropped[1::3, 1::3] = True
        dropped = dropped.expand_as(values)
        small += statistics.fit_test(*statistics.neighbour_fit(values, dropped, ~dropped)) < 0.05
    low, high = statistics.binomial_interval(2000, 0.05, 1e-6)
    assert low <= small / 2000 <= high


def test_deviation_sees_shapes_infinities_and_nans() -> None:
    """Equal non-finite values are no deviation; differing shapes or a lone NaN are infinitely far."""
    nan, inf = torch.tensor([math.nan, 1.0]), torch.tensor([math.inf, 1.0])
    assert statistics.deviation([nan], [nan.clone()]) == 0
    assert statistics.deviation([inf], [inf.clone()]) == 0
    assert statistics.deviation([nan], [torch.tensor([0.0, 1.0])]) == math.inf
    assert statistics.deviation([torch.ones(2)], [torch.ones(3)]) == math.inf
    assert statistics.deviation([torch.ones(2)], [torch.tensor([1.0, 1.5])]) == 0.5


@pytest.mark.parametrize(("share", "samples", "groups"), [(0.05, 2000, 16), (0.2, 300, 3)])
def test_the_material_fit_test_holds_its_rate(share: float, samples: int, groups: int) -> None:
    """Where neighbours explain that share, a p-value falls to 1 % about that often; where nothing, nearly always."""
    generator = np.random.default_rng(7)
    size, slope = samples // groups, (share / (1 - share)) ** 0.5

    def p_values(trials: int, slope: float) -> list[float]:
        found = []
        for _ in range(trials):
            one = generator.standard_normal((groups, size))
            other = slope * one + generator.standard_normal((groups, size))
            one, other = (each - each.mean(1, keepdims=True) for each in (one, other))
            explained = float((((one * other).sum(1) ** 2) / (one**2).sum(1)).sum() / (other**2).sum())
            found.append(statistics.material_fit_test(explained, groups * size, groups, share))
        return found

    assert 0.001 < np.mean(np.array(p_values(2000, slope)) <= 0.01) < 0.03
    assert np.mean(np.array(p_values(200, 0.0)) <= 0.01) > 0.95
    assert statistics.material_fit_test(0.0, 10, 6, share) == 1.0
