"""The references with shared draws equal torch, torchvision and timm on the same masks."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from regcheck.reference import (
    drop_block,
    drop_block_rate,
    drop_connect,
    inverted_dropout,
    stochastic_depth,
    variational_dropout,
    variational_recurrence,
)

RATES = [0.0, 0.1, 0.5, 0.9]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float64)


def drawn(*shape, rate, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) >= rate


def replayed(function, *args, **kwargs):
    """Calls `function` under a seed, so that a second call draws the same mask."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return function(*args, **kwargs)


@pytest.mark.parametrize("rate", RATES)
def test_variational_dropout_is_one_torch_mask_for_all_steps(rate):
    """Every time step equals torch's dropout under one and the same draw."""
    x = noise(5, 3, 7)
    keep = replayed(F.dropout, torch.ones_like(x[0]), rate) != 0
    for step, out in zip(x, variational_dropout(x, keep, rate), strict=True):
        torch.testing.assert_close(out, replayed(F.dropout, step, rate), rtol=1e-15, atol=0)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("rate", RATES)
def test_a_variational_recurrence_drops_columns_of_the_weights(rate, activation):
    """For one sequence, it equals torch's RNN with the masks' columns of its weights dropped before the first step."""
    x, state = noise(6, 1, 4), noise(1, 5)
    cell = nn.RNNCell(4, 5, nonlinearity=activation, dtype=torch.float64)
    keep_input, keep_state = drawn(1, 4, rate=rate), drawn(1, 5, rate=rate, seed=1)
    dropped = nn.RNN(4, 5, nonlinearity=activation, dtype=torch.float64)
    with torch.no_grad():
        dropped.weight_ih_l0.copy_(inverted_dropout(cell.weight_ih, keep_input, rate))
        dropped.weight_hh_l0.copy_(inverted_dropout(cell.weight_hh, keep_state, rate))
        dropped.bias_ih_l0.copy_(cell.bias_ih)
        dropped.bias_hh_l0.copy_(cell.bias_hh)
        ours = variational_recurrence(cell, x, state, keep_input, keep_state, rate)
        # a state is a sum of ten products, bounded by what it is summed from: 6 steps × 20 roundings of 1e-16
        torch.testing.assert_close(ours, dropped(x, state[None])[0], rtol=1e-13, atol=1e-14)


def test_a_variational_recurrence_has_one_mask_per_sequence():
    """Several sequences at once equal each by itself."""
    x, state, cell = noise(4, 3, 2), noise(3, 2), nn.GRUCell(2, 2, dtype=torch.float64)
    masks = drawn(3, 2, rate=0.5), drawn(3, 2, rate=0.5, seed=1)
    with torch.no_grad():
        whole = variational_recurrence(cell, x, state, *masks, 0.5)
        for turn in range(3):
            at = slice(turn, turn + 1)
            single = variational_recurrence(cell, x[:, at], state[at], *[mask[at] for mask in masks], 0.5)
            torch.testing.assert_close(whole[:, at], single, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 4, 3, 3)])
@pytest.mark.parametrize("rate", RATES)
def test_stochastic_depth_by_rows_drops_whole_samples(rate, shape):
    """A sample is either zero or the scaled branch, by its draw; the batch mode draws once."""
    branch, keep = noise(*shape), drawn(6, rate=rate)
    out = stochastic_depth(branch, keep, rate)
    for sample, kept, result in zip(branch, keep, out, strict=True):
        torch.testing.assert_close(
            result, sample / (1 - rate) if kept else torch.zeros_like(sample), rtol=1e-15, atol=0
        )
    assert torch.equal(
        stochastic_depth(branch, torch.tensor(True), rate), inverted_dropout(branch, branch == branch, rate)
    )
    assert stochastic_depth(branch, torch.tensor(False), rate).eq(0).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["row", "batch"])
def test_stochastic_depth_is_torchvisions(mode, rate):
    """Given torchvision's mask, both modes equal torchvision's."""
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed", exc_type=ImportError)
    x = noise(16, 3, 4, 4)
    keep = replayed(ops.stochastic_depth, torch.ones_like(x), rate, mode)[:, 0, 0, 0] != 0
    keep = keep if mode == "row" else keep[0]
    theirs = replayed(ops.stochastic_depth, x, rate, mode)
    torch.testing.assert_close(stochastic_depth(x, keep, rate), theirs, rtol=1e-15, atol=0)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_stochastic_depth_is_timms_drop_path(rate):
    """Given the mask of timm's `DropPath`, the reference equals it."""
    layers = pytest.importorskip("timm.layers", reason="timm is not installed", exc_type=ImportError)
    x, path = noise(16, 3, 4, 4), layers.DropPath(rate)
    keep = replayed(path, torch.ones_like(x))[:, 0, 0, 0] != 0
    torch.testing.assert_close(stochastic_depth(x, keep, rate), replayed(path, x), rtol=1e-15, atol=0)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("bias", [None, noise(5)])
def test_drop_connect_is_a_linear_layer_of_dropped_weights(rate, bias):
    """With one mask it equals torch's linear layer on dropped weights; with several, sample by sample."""
    x, weight = noise(3, 7), noise(5, 7)
    keep = replayed(F.dropout, torch.ones_like(weight), rate) != 0
    expected = F.linear(x, replayed(F.dropout, weight, rate), bias)
    # seven products of numbers below ten, summed in another order: far below 1e-13
    torch.testing.assert_close(drop_connect(x, weight, keep, rate, bias), expected, rtol=1e-13, atol=1e-13)
    masks = drawn(3, 5, 7, rate=rate)
    for sample, mask, out in zip(x, masks, drop_connect(x, weight, masks, rate, bias), strict=True):
        single = drop_connect(sample[None], weight, mask, rate, bias)[0]
        torch.testing.assert_close(out, single, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("extents", [(9,), (6, 8), (4, 5, 6)])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_drop_block_drops_a_block_for_each_seed(extents, block):
    """A position is dropped exactly where a block covers it; the rest is scaled by total over surviving count."""
    x = noise(2, 3, *extents)
    seeds = drawn(2, 3, *[extent - block + 1 for extent in extents], rate=0.9)
    kept = torch.ones_like(x)
    for sample, channel, *corner in seeds.nonzero().tolist():
        kept[(sample, channel, *[slice(at, at + block) for at in corner])] = 0
    expected = x * kept * x.numel() / kept.sum()
    assert 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(drop_block(x, seeds, block), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("block", [1, 3, 5])
@pytest.mark.parametrize(("name", "extents"), [("drop_block2d", (12, 16)), ("drop_block3d", (6, 7, 8))])
def test_drop_block_is_torchvisions(name, extents, block):
    """Given the seeds that torchvision draws with this γ, the reference gives what it gives.

    Its normalization adds 1e-6 to the count of what is kept, which is at least 1e3 here: a relative 1e-9.
    """
    ops = pytest.importorskip("torchvision.ops", reason="torchvision is not installed", exc_type=ImportError)
    x, rate = noise(4, 3, *extents), 0.2
    gamma = drop_block_rate(rate, block, extents)
    shape = (4, 3, *[extent - block + 1 for extent in extents])
    seeds = replayed(lambda: torch.empty(shape, dtype=x.dtype).bernoulli_(gamma)) != 0
    theirs = replayed(getattr(ops, name), x, rate, block)
    assert seeds.any()
    torch.testing.assert_close(drop_block(x, seeds, block), theirs, rtol=1e-9, atol=0)


def test_drop_block_of_one_is_dropout_of_single_positions():
    """A block of one position has γ = p, and its seeds are the mask's complement."""
    assert drop_block_rate(0.3, 1, (7, 5)) == 0.3
    x, seeds = noise(2, 3, 4, 5), ~drawn(2, 3, 4, 5, rate=0.3)
    rate = float(seeds.double().mean())
    torch.testing.assert_close(drop_block(x, seeds, 1), inverted_dropout(x, ~seeds, rate), rtol=1e-14, atol=0)


def test_single_blocks_cover_the_share_that_was_asked_for():
    """Summed over all positions of a seed, the mean number of positions that one block covers is p of the map."""
    extents, block, rate = (7, 5), 3, 0.1
    places = list(itertools.product(*[range(extent - block + 1) for extent in extents]))
    covered = 0
    for place in places:
        seeds = torch.zeros(1, 1, 5, 3, dtype=torch.bool)
        seeds[(0, 0, *place)] = True
        covered += int((drop_block(torch.ones(1, 1, *extents), seeds, block) == 0).sum())
    assert drop_block_rate(rate, block, extents) * covered == pytest.approx(rate * 35)


def test_a_map_that_is_dropped_whole_is_zero():
    """A completely dropped map is zero, not a division by zero."""
    assert drop_block(torch.ones(1, 1, 3), torch.ones(1, 1, 2, dtype=torch.bool), 2).eq(0).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda keep: variational_dropout(torch.ones(4, 2, 3), keep(4, 3), 0.5), "not shared by the steps"),
        (lambda keep: variational_dropout(torch.ones(2, 3), keep(3), 0.5), "not shared by the steps"),
        (lambda keep: stochastic_depth(torch.ones(4, 2), keep(2), 0.5), "neither one draw nor one per sample"),
        (lambda keep: drop_block(torch.ones(1, 1, 4, 4), keep(1, 1, 4, 4), 2), "no seeds of blocks"),
        (lambda keep: drop_block(torch.ones(1, 4), keep(1, 3), 2), "no seeds of blocks"),
    ],
)
def test_masks_that_do_not_fit_are_refused(call, says):
    """A mask that would be broadcast along the wrong axis is an error that names the shapes."""
    with pytest.raises(ValueError, match=says):
        call(lambda *shape: torch.ones(shape, dtype=torch.bool))
