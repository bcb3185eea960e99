"""The dropout references equal torch wherever torch's own mask can be replayed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from regcheck.reference.dropout import (
    alpha_dropout,
    attention_dropout,
    attention_weights,
    classic_dropout,
    classic_prediction,
    feature_alpha_dropout,
    gaussian_dropout,
    inverted_dropout,
    monte_carlo,
    spatial_dropout,
)

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
RATES = [0.0, 0.1, 0.5, 0.9, 1.0]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


def noise(*shape, device="cpu", dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype).to(device)


def replayed(function, *args, seed=3, **kwargs):
    """Calls `function` under a seed, so that a second call with the same seed draws the same mask."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return function(*args, **kwargs)


def same(left, right):
    """Compares to the last bits: products and quotients may be computed in another order."""
    return torch.testing.assert_close(left, right, rtol=1e-15 if left.dtype == torch.float64 else 2e-7, atol=0)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("shape", [(7,), (5, 11), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverted_dropout_is_torch_dropout(device, rate, shape, dtype):
    """Given torch's own mask, the reference computes what `F.dropout` computes."""
    x = noise(*shape, device=device, dtype=dtype)
    keep = replayed(F.dropout, torch.ones_like(x), rate) != 0
    same(inverted_dropout(x, keep, rate), replayed(F.dropout, x, rate))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("function", [F.dropout1d, F.dropout2d, F.dropout3d])
def test_spatial_dropout_is_torch_channel_dropout(device, rate, function):
    """Given torch's own channel mask, the reference computes what `F.dropout1d/2d/3d` compute."""
    extents = int(function.__name__[-2])
    x = noise(6, 8, *[3] * extents, device=device)
    keep = replayed(function, torch.ones_like(x), rate).flatten(2)[:, :, 0] != 0
    same(spatial_dropout(x, keep, rate), replayed(function, x, rate))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_alpha_dropout_is_torch_alpha_dropout(device, rate, dtype):
    """Given torch's own mask, the reference computes what `F.alpha_dropout` computes."""
    x = noise(5, 11, device=device, dtype=dtype)
    keep = replayed(F.alpha_dropout, torch.ones_like(x), rate, True) > 0
    expected = replayed(F.alpha_dropout, x, rate, True)
    bound = 1e-14 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(alpha_dropout(x, keep, rate), expected, rtol=bound, atol=bound)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_zero_and_variance_one(rate):
    """Alpha dropout preserves mean zero and variance one over all masks."""
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    kept, gone = (alpha_dropout(x, torch.tensor([each] * 2), rate) for each in (True, False))

    def mean(power):
        return float((1 - rate) * (kept**power).mean() + rate * (gone**power).mean())

    assert (mean(1), mean(2)) == pytest.approx((0, 1), abs=1e-14)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("extents", [1, 2, 3])
def test_feature_alpha_dropout_is_torchs(device, rate, extents):
    """Given torch's own channel mask, the reference computes what `F.feature_alpha_dropout` computes."""
    x = noise(6, 8, *[3] * extents, device=device)
    keep = replayed(F.feature_alpha_dropout, torch.ones_like(x), rate, True).flatten(2)[:, :, 0] > 0
    expected = replayed(F.feature_alpha_dropout, x, rate, True)
    torch.testing.assert_close(feature_alpha_dropout(x, keep, rate), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("function", [spatial_dropout, feature_alpha_dropout])
@pytest.mark.parametrize(("shape", "mask"), [((6, 8), (6, 8)), ((6, 8, 3), (6, 3)), ((6, 8, 2, 2, 2, 2), (6, 8))])
def test_dropout_of_channels_refuses_what_is_no_map(function, shape, mask):
    """A mask without one draw per sample and channel is refused."""
    with pytest.raises(ValueError, match="no channel mask"):
        function(torch.ones(shape), torch.ones(mask, dtype=torch.bool), 0.5)


def over_all_masks(function, rate):
    """Returns mean and variance of `function(keep)` over every mask of four units, weighted by probability."""
    mean = square = torch.zeros(4, dtype=torch.float64)
    for number in range(2**4):
        keep = torch.tensor([bool(number >> bit & 1) for bit in range(4)])
        probability = (1 - rate) ** int(keep.sum()) * rate ** int((~keep).sum())
        mean, square = mean + probability * function(keep), square + probability * function(keep) ** 2
    return mean, square - mean**2


def test_dropout_keeps_the_mean_over_all_masks():
    """Averaged over every mask with its probability, the result is the input."""
    x, rate = noise(4), 0.3
    mean, _ = over_all_masks(lambda keep: inverted_dropout(x, keep, rate), rate)
    torch.testing.assert_close(mean, x, rtol=1e-14, atol=0)


def test_classic_dropout_has_the_mean_that_it_predicts_with():
    """Averaged over every mask with its probability, the result is prediction's scaled input."""
    x, rate = noise(4), 0.3
    mean, _ = over_all_masks(lambda keep: classic_dropout(x, keep), rate)
    torch.testing.assert_close(mean, classic_prediction(x, rate), rtol=1e-14, atol=0)


@pytest.mark.parametrize("rate", RATES)
def test_classic_dropout_is_torchs_without_its_scaling(device, rate):
    """Given torch's own mask, surviving values are unchanged: torch's result on prediction's scaled input."""
    x = noise(5, 11, device=device)
    keep = replayed(F.dropout, torch.ones_like(x), rate) != 0
    ours, theirs = classic_dropout(x, keep), replayed(F.dropout, classic_prediction(x, rate), rate)
    same(ours, theirs if rate < 1 else torch.zeros_like(x))
    assert torch.equal(ours[keep], x[keep])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_gaussian_dropout_has_the_mean_and_variance_of_inverted_dropout(rate):
    """For noise of mean zero and variance one, both moments equal those of inverted dropout over all masks."""
    x = noise(4)
    low, high = (gaussian_dropout(x, torch.full_like(x, sign), rate) for sign in (-1.0, 1.0))
    mean, variance = over_all_masks(lambda keep: inverted_dropout(x, keep, rate), rate)
    torch.testing.assert_close((low + high) / 2, mean, rtol=1e-14, atol=0)
    # the variance is a difference of squares of up to x² / (1 - p), whose rounding stays
    torch.testing.assert_close(((high - low) / 2) ** 2, variance, rtol=1e-13, atol=1e-13 * float(x.square().max()))


def test_monte_carlo_gives_mean_and_spread_of_dropout():
    """Over all masks, equally likely at p = 0.5, the mean is the input and the spread is |x| √(p / (1 - p)) = |x|."""
    x = noise(4)
    keeps = [torch.tensor([bool(number >> bit & 1) for bit in range(4)]) for number in range(2**4)]
    prediction = monte_carlo(torch.stack([inverted_dropout(x, keep, 0.5) for keep in keeps]))
    torch.testing.assert_close(prediction.mean, x, rtol=1e-14, atol=0)
    torch.testing.assert_close(prediction.spread, x.abs(), rtol=1e-14, atol=0)


def masks(device):
    allowed = noise(5, 7, device=device) > -0.5
    allowed[2] = False
    return {
        "none": {},
        "bool": {"mask": allowed},
        "added": {"mask": noise(3, 1, 5, 7, device=device)},
        "causal": {"causal": True},
        "scaled": {"scale": 0.7},
    }


@pytest.mark.parametrize("how", list(masks("cpu")))
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.8])
def test_attention_dropout_is_torch_attention(device, how, rate):
    """Given the mask that torch draws on its explicit attention path, the reference computes the same."""
    query, key, value = (noise(3, 2, length, 8, device=device) for length in (5, 7, 7))
    options = masks(device)[how]
    renamed = {"mask": "attn_mask", "causal": "is_causal", "scale": "scale"}
    theirs = {renamed[name]: value for name, value in options.items()}
    with sdpa_kernel(SDPBackend.MATH):
        expected = replayed(F.scaled_dot_product_attention, query, key, value, dropout_p=rate, **theirs)
    keep = replayed(F.dropout, torch.ones(3, 2, 5, 7, device=device, dtype=torch.float64), rate) != 0
    torch.testing.assert_close(
        attention_dropout(query, key, value, keep, rate, **options), expected, rtol=1e-12, atol=1e-14
    )


def test_attention_weights_are_the_softmax_of_scaled_scores():
    """Written out number by number, the weights are exp(s q·k) over their sum."""
    query, key = noise(1, 2), noise(3, 2)
    scores = [float(query[0] @ each) / 2**0.5 for each in key]
    powers = torch.tensor(scores, dtype=torch.float64).exp()
    torch.testing.assert_close(attention_weights(query, key)[0], powers / powers.sum(), rtol=1e-14, atol=0)


def test_a_query_that_may_attend_to_nothing_gives_nothing():
    """A fully masked row is zero rather than not a number."""
    weights = attention_weights(noise(2, 4), noise(3, 4), mask=torch.tensor([[True, True, False], [False] * 3]))
    assert weights[1].eq(0).all()
    assert weights[0].sum() == pytest.approx(1)
