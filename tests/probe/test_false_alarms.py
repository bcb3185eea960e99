"""Both errors, counted: alarms where there is nothing, and effects of the size claimed that are overlooked.

At α = 1e-6 there would be nothing to count, so the same tests are run at larger ones. Each check is an exact binomial
test itself, with a false-alarm probability of 1e-6. The slow ones count over a million trials.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from regcheck.core.measurements import is_undecided
from regcheck.core.measurements.mask_agreement import MaskAgreement
from regcheck.core.measurements.spread import EARLY_LOOK, FIRST_LOOK, SECOND_LOOK
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import UNITS
from regcheck.probe.measurements.unit_mask import unit_count
from regcheck.probe.measurements.variance_shift import channel_variance, variance_ratio
from regcheck.probe.reductions import constant_axes, tally
from regcheck.reference.dropout import inverted_dropout
from regcheck.rules.placement.dropout_before_batchnorm import MATERIAL

CHECK = 1e-6
CHUNK = 50_000

trials = pytest.mark.parametrize("trials", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
alphas = pytest.mark.parametrize("alpha", [1e-2, 1e-3])


def exceeds(happened: int, trials: int, rate: float) -> bool:
    """Whether something happened more often than at this rate."""
    return statistics.at_least(happened, trials, rate) <= CHECK


def falls_short(happened: int, trials: int, rate: float) -> bool:
    """Whether something happened less often than at this rate."""
    return 1 - statistics.at_least(happened + 1, trials, rate) <= CHECK


def chunks(trials: int, seed: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Generators of random numbers, each with the number of trials it is for."""
    for turn in range(trials // CHUNK):
        yield np.random.default_rng((seed, turn)), CHUNK


@trials
@alphas
@pytest.mark.parametrize(("draws", "rate"), [(12, 0.1), (384, 0.1), (UNITS, 0.02), (UNITS, 0.5)])
def test_the_binomial_interval_holds_its_rate(trials: int, alpha: float, draws: int, rate: float) -> None:
    """Counts at the rate fall outside its interval with a probability of α at most."""
    low, high = statistics.binomial_interval(draws, rate, alpha)
    counts = np.random.default_rng(1).binomial(draws, rate, trials) / draws
    assert not exceeds(int(((counts < low) | (counts > high)).sum()), trials, alpha)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5])
def test_two_dropouts_are_told_from_one(rate: float) -> None:
    """In the draws that are made, what two dropouts lose is found outside what one does, and none in what both do."""
    alone, together = (statistics.binomial_interval(UNITS, each, 1e-6) for each in (rate, 1 - (1 - rate) ** 2))
    assert alone[1] < together[0]


@trials
@alphas
@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_test_holds_its_rate(trials: int, alpha: float, ties: bool) -> None:
    """Deviations from a common reference that all are noise, ties or not, give a p-value up to α that often at most."""
    kept, changed = statistics.REPLAYS, statistics.REPLAYS
    needed = next(m for m in range(changed + 1) if statistics.rank_test(kept, changed, m) <= alpha)
    alarms = 0
    for generator, count in chunks(trials, 2):
        runs = generator.standard_cauchy((count, kept + changed + 1))
        deviations = np.abs(runs[:, 1:] - runs[:, :1])
        deviations = deviations.round() if ties else deviations
        above = deviations[:, kept:] > deviations[:, :kept].max(1, keepdims=True)
        alarms += int((above.sum(1) >= needed).sum())
    assert not exceeds(alarms, trials, alpha)
    assert ties or not falls_short(alarms, trials, statistics.rank_test(kept, changed, needed))


def test_the_looks_of_a_spread_share_alpha() -> None:
    """What each look raises by chance, in either of its two ways, is within its share, and no run could be spared."""

    def raised(replays: int, noisy: int, changed: int) -> float:
        return statistics.coincidence(replays, changed) + statistics.rank_test(noisy, changed)

    assert EARLY_LOOK + FIRST_LOOK + SECOND_LOOK <= 1e-6
    assert statistics.partition_chance(statistics.STREAMS) <= EARLY_LOOK
    assert all(statistics.partition_chance(each) > EARLY_LOOK for each in partitions(len(statistics.STREAMS) - 1))
    replays, noisy, changed = statistics.FIRST
    assert raised(*statistics.FIRST) <= FIRST_LOOK
    assert min(raised(replays - 1, noisy, changed), raised(replays, noisy - 1, changed)) > FIRST_LOOK
    assert raised(*statistics.ISOLATED) <= SECOND_LOOK
    assert changed == statistics.ISOLATED[-1] == statistics.REPLAYS


def partitions(runs: int, largest: int = 99, streams: int = 0) -> Iterator[list[int]]:
    """The streams of so many runs, for all sizes of the groups that share one."""
    if not runs:
        yield []
    for size in range(1, min(runs, largest) + 1):
        yield from ([streams] * size + rest for rest in partitions(runs - size, size, streams + 1))


@trials
@pytest.mark.parametrize("values", [2, 3, 5])
def test_runs_without_an_effect_are_seldom_equal_where_their_streams_are(trials: int, values: int) -> None:
    """Runs of a few values are parted as their streams with the stated chance, of all partitions of these sizes."""
    streams = np.array([0, 0, 1, 1, 2])
    alarms = parted = 0
    for generator, count in chunks(trials, 7):
        runs = generator.integers(values, size=(count, len(streams)))
        equal = runs[:, :, None] == runs[:, None, :]
        alarms += int((equal == (streams[:, None] == streams)).all((1, 2)).sum())
        parted += int((np.sort(equal.sum(2), 1) == [1, 2, 2, 2, 2]).all(1).sum())
    chance = statistics.partition_chance(streams.tolist())
    assert chance == 1 / 15
    assert not exceeds(alarms, trials, chance)
    assert not exceeds(alarms, parted, chance) and (values == 2 or not falls_short(alarms, parted, chance))


@trials
@pytest.mark.parametrize("equal", [0.0, 0.2, 0.4, 0.6])
def test_a_look_at_runs_that_may_agree_to_the_bit_holds_its_rate(trials: int, equal: float) -> None:
    """More replays where some differ, and fewer where none does, raise an alarm no oftener than both ways together."""
    few, more, changed = 2, 4, 3
    alarms = 0
    for generator, count in chunks(trials, 6):
        away = generator.random((count, more + changed)) * (generator.random((count, more + changed)) >= equal)
        kept, others = away[:, :more], away[:, more:]
        quiet = kept[:, :few].max(1) == 0
        floor = np.where(quiet, 0.0, kept.max(1))
        alarms += int((others.min(1) > floor).sum())
    assert not exceeds(alarms, trials, statistics.coincidence(few, changed) + statistics.rank_test(more, changed))


@trials
@alphas
def test_both_looks_of_a_spread_hold_their_rate_together(trials: int, alpha: float) -> None:
    """The first look and the second, taken in doubt only, raise an alarm with a probability of α at most together."""
    alarms = doubts = 0
    shares = (FIRST_LOOK, SECOND_LOOK)
    for generator, count in chunks(trials, 3):
        kept, changed = np.split(
            generator.random((count, sum(statistics.DOUBLED[1:]))), [statistics.DOUBLED[1]], axis=1
        )
        looks = []
        for share, (_, replays, draws) in zip(shares, (statistics.FIRST, statistics.DOUBLED), strict=True):
            above = (changed[:, :draws] > kept[:, :replays].max(1, keepdims=True)).sum(1)
            p_values = np.array([statistics.rank_test(replays, draws, m) for m in range(draws + 1)])[above]
            doubtful = np.array([is_undecided(m, draws, 1.0) for m in range(draws + 1)])[above]
            looks.append((p_values <= alpha * share / sum(shares), doubtful))
        (first, doubt), (second, _) = looks
        alarms += int((first | (doubt & second)).sum())
        doubts += int((doubt & ~first).sum())
    assert not exceeds(alarms, trials, alpha)
    _, replays, draws = statistics.FIRST
    assert not exceeds(doubts, trials, statistics.rank_test(replays, draws, draws // 2))  # noise is seldom in doubt


@pytest.mark.parametrize("runs", [statistics.FIRST[-1], statistics.DOUBLED[-1]])
def test_what_shows_in_nearly_all_runs_is_not_refuted(runs: int) -> None:
    """Where nineteen runs in twenty exceed the noise, so few do that they refute with a probability of α/2 at most."""
    needed = next(above for above in range(runs + 1) if is_undecided(above, runs, 1.0))
    assert 1 - statistics.at_least(needed, runs, 0.95) <= 1e-6 / 2


@trials
@pytest.mark.parametrize(("rate", "units"), [(0.1, 1), (0.05, 2), (0.01, 10)])
def test_a_dropout_is_overlooked_as_often_as_stated(trials: int, rate: float, units: int) -> None:
    """All runs draw the masks of the reference run with the probability by which a spread judges its own power."""
    idle = 0
    for generator, count in chunks(trials, 4):
        masks = generator.random((count, statistics.REPLAYS + 1, units)) < rate
        idle += int((masks == masks[:, :1]).all((1, 2)).sum())
    stated = statistics.idle_chance([(rate, units)], statistics.REPLAYS)
    assert not exceeds(idle, trials, stated) and not falls_short(idle, trials, stated)


@trials
@alphas
@pytest.mark.parametrize("noise", ["normal", "ranks"])
def test_the_fit_test_holds_its_rate(trials: int, alpha: float, noise: str) -> None:
    """Values that have nothing to do with their neighbours give a p-value up to α that often at most, as ranks do."""
    groups, size = 3, 20
    low, high = 0.0, 1.0
    for _ in range(60):  # the R² from which the p-value is α or less
        middle = (low + high) / 2
        low, high = (low, middle) if statistics.fit_test(middle, groups * size, groups) <= alpha else (middle, high)
    alarms = 0
    for generator, count in chunks(trials, 5):
        neighbours = generator.random((groups, size))
        neighbours -= neighbours.mean(1, keepdims=True)
        values = generator.standard_normal((count, groups, size))
        values = values.argsort(2).astype(float) if noise == "ranks" else values
        values -= values.mean(2, keepdims=True)
        explained = (values * neighbours).sum(2) ** 2 / (neighbours**2).sum(1)
        alarms += int((explained.sum(1) / (values**2).sum((1, 2)) >= high).sum())
    assert not exceeds(alarms, trials, alpha)
    assert noise != "normal" or not falls_short(alarms, trials, alpha)


@pytest.mark.parametrize("trials", [500, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (4, 3, 16)])
def test_the_fit_of_white_maps_holds_its_rate(trials: int, shape: tuple[int, ...]) -> None:
    """The fit of ranks, on heavy-tailed noise dropped at random, raises an alarm with a probability of α at most."""
    generator = torch.Generator().manual_seed(6)
    alarms = 0
    for _ in range(trials):
        values = torch.randn(shape, generator=generator, dtype=torch.float64).relu() ** 4
        keep = torch.rand(shape, generator=generator) >= 0.3
        r_squared, samples, groups = statistics.neighbour_fit(values, ~keep & (values != 0), keep, ranked=True)
        alarms += statistics.fit_test(r_squared, samples, groups) <= 1e-2
    assert not exceeds(alarms, trials, 1e-2)


@trials
@alphas
@pytest.mark.parametrize(("shape", "rate"), [((2, 7), 0.5), ((2, 3, 3), 0.4), ((3, 12), 0.1)])
def test_an_axis_seems_constant_no_more_often_than_stated(
    trials: int, alpha: float, shape: tuple[int, ...], rate: float
) -> None:
    """Masks of elements seem constant along an axis, where the draws suffice for a verdict, that often at most."""
    same = 1 - 2 * rate * (1 - rate)
    alarms = 0
    for generator, count in chunks(trials, 7):
        masks = generator.random((count, *shape)) < rate
        constant = [(masks == masks.take([0], axis + 1)).all(tuple(range(1, masks.ndim))) for axis in range(len(shape))]
        for mask in masks[np.logical_or.reduce(constant)]:
            found = torch.from_numpy(mask)
            axes = constant_axes([tally(found)])
            enough = 0 < mask.mean() < 1 and len(shape) * same ** unit_count(found.shape, axes) <= alpha
            alarms += bool(axes) and enough
    assert not exceeds(alarms, trials, alpha)


@trials
@alphas
@pytest.mark.parametrize(("units", "rate"), [(40, 0.3), (64, 0.1)])
def test_the_agreement_of_steps_holds_its_rate(trials: int, alpha: float, units: int, rate: float) -> None:
    """Masks of their own are neither found to agree in another share, nor taken for one mask, more often than α."""
    alone = rate**2 + (1 - rate) ** 2
    interval = statistics.binomial_interval(units, alone, alpha)
    mistaken = 0
    for generator, count in chunks(trials, 8):
        agreeing = np.zeros(count, dtype=int)
        for _ in range(units):
            one, other = generator.random((2, count)) < rate
            agreeing += one == other
        judged = np.array([MaskAgreement(k / units, units, 2, alone, interval).is_expected for k in range(units + 1)])
        mistaken += int((~judged[agreeing]).sum())
    assert not exceeds(mistaken, trials, alpha)
    assert not MaskAgreement(1.0, UNITS, 2, alone, statistics.binomial_interval(UNITS, alone, 1e-6)).is_expected


@trials
@pytest.mark.parametrize("signs", [7, 10])
def test_the_sign_test_holds_its_rate(trials: int, signs: int) -> None:
    """Ratios that lie on either side of what is material alike all lie above it as often as 2⁻ⁿ says."""
    above = 0
    for generator, count in chunks(trials, 9):
        above += int((np.exp(generator.standard_normal((count, signs))) > 1).all(1).sum())
    assert not exceeds(above, trials, 2.0**-signs) and not falls_short(above, trials, 2.0**-signs)


@pytest.mark.parametrize("masks", [400, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("rate", "above"), [(0.05, False), (0.1, False), (0.3, True), (0.5, True)])
def test_a_shift_is_on_the_side_that_its_rate_puts_it(masks: int, rate: float, above: bool) -> None:
    """Behind a linear layer 512 wide every set of masks of a rate gives a ratio on one side of what is material.

    A mask on the wrong side is so seldom that all of a verdict's masks are on the right one nine times in ten.
    """
    generator = torch.Generator().manual_seed(10)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((64, 512), (512, 64)))
    x = x.relu()
    calm = channel_variance(x @ weight)
    wrong = 0
    for _ in range(masks):
        noisy = inverted_dropout(x, torch.rand(x.shape, generator=generator) >= rate, rate) @ weight
        wrong += (variance_ratio(channel_variance(noisy), calm) > 1 + MATERIAL) is not above
    assert not exceeds(wrong, masks, 1 - 0.9 ** (1 / statistics.SIGNS))
