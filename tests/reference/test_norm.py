"""The batch norm references equal torch in both modes, in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from regcheck.reference import Statistics, batch_norm, batch_statistics, running_statistics

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
LAYERS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


TERMS = 2**10 * torch.finfo(torch.float64).eps
"""At most 2¹⁰ terms are summed, each within half an eps, and all else is a few operations."""


def close(ours, theirs):
    """Compares to rounding relative to the largest value: subtracting the mean adds its error to small values."""
    torch.testing.assert_close(ours, theirs, rtol=TERMS, atol=TERMS * float(theirs.detach().abs().max()))


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    samples=st.integers(2, 9),
    channels=st.integers(1, 5),
    extents=st.lists(st.integers(1, 4), max_size=3),
    momentum=st.one_of(st.none(), st.floats(0, 1)),
    eps=st.floats(1e-8, 1e-1),
    affine=st.booleans(),
    mean=st.floats(-1, 1),
    seed=st.integers(0, 2**32),
)
def test_batch_norm_is_torchs_in_both_modes(device, samples, channels, extents, momentum, eps, affine, mean, seed):
    """Output, gradient and running statistics equal torch's over three batches, and so does the prediction."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device)

    options = {"eps": eps, "momentum": momentum, "affine": affine, "device": device, "dtype": torch.float64}
    theirs = LAYERS[len(extents)](channels, **options)
    weight = bias = None
    if affine:
        weight, bias = noise(channels), noise(channels)
        theirs.load_state_dict({**theirs.state_dict(), "weight": weight, "bias": bias})
    running = Statistics(torch.zeros_like(theirs.running_mean), torch.ones_like(theirs.running_var), 0)
    for _ in range(3):
        x = (noise(samples, channels, *extents) + mean).requires_grad_()
        batch, expected, asked = batch_statistics(x), theirs(x), noise(samples, channels, *extents)
        ours = batch_norm(x, batch, weight, bias, eps)
        close(ours, expected)
        one, other = (torch.autograd.grad((out * asked).sum(), x)[0] for out in (ours, expected))
        # where a batch hardly varies, terms of this size cancel in the gradient
        size = asked.abs().sum() * (batch.variance + eps).rsqrt().max() * (1 if weight is None else weight.abs().max())
        torch.testing.assert_close(one, other, rtol=0, atol=TERMS * float(size.detach()))
        running = running_statistics(
            running, Statistics(batch.mean.detach(), batch.variance.detach(), batch.number), momentum
        )
        close(running.mean, theirs.running_mean)
        close(running.variance, theirs.running_var)
        assert running.number == int(theirs.num_batches_tracked)
    close(batch_norm(x, running, weight, bias, eps), theirs.eval()(x))


def test_the_batch_is_normalized_by_the_biased_variance():
    """In training the result of a batch has mean zero and mean square one: Σ over n, not over n - 1."""
    x = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)
    out = batch_norm(x, batch_statistics(x), eps=0.0)
    assert float(out.mean()) == pytest.approx(0, abs=1e-15)
    assert float(out.square().mean()) == pytest.approx(1)


def test_without_momentum_running_statistics_are_the_mean_over_all_batches():
    """The cumulative average of three batches is their plain mean, with the unbiased variance."""
    batches = [
        torch.randn(4, 2, generator=torch.Generator().manual_seed(turn), dtype=torch.float64) for turn in range(3)
    ]
    running = Statistics(torch.zeros(2), torch.ones(2), 0)
    for batch in batches:
        running = running_statistics(running, batch_statistics(batch), None)
    torch.testing.assert_close(running.mean, torch.stack([each.mean(0) for each in batches]).mean(0))
    torch.testing.assert_close(running.variance, torch.stack([each.var(0) for each in batches]).mean(0))
    assert running.number == 3
