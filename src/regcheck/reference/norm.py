"""Batch norm's train and eval mode, from sums over a batch."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Statistics(NamedTuple):
    """Mean and variance of each channel; `number` counts values (for running statistics: batches)."""

    mean: Tensor
    variance: Tensor
    number: int


def batch_statistics(input: Tensor) -> Statistics:
    """Returns mean and biased variance of each channel, over samples and positions.

        μ_c = 1/n Σ x[:, c, …],  σ²_c = 1/n Σ (x[:, c, …] - μ_c)²

    Args:
        input: x, shape (N, C, …).

    Returns:
        μ and σ², shape (C,), and n, the number of values of x per channel.

    Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015, algorithm 1.
    """
    channels = input.transpose(0, 1).flatten(1)
    count = channels.size(1)
    mean = channels.sum(1) / count
    return Statistics(mean, (channels - mean[:, None]).square().sum(1) / count, count)


def running_statistics(running: Statistics, batch: Statistics, momentum: float | None = 0.1) -> Statistics:
    """Returns the running statistics after one more training batch.

        r ← (1 - m) r + m s,  s = μ for the mean and n / (n - 1) σ² (unbiased) for the variance

    Args:
        running: r so far, with the number of batches; torch begins with mean 0, variance 1, number 0.
        batch: the result of `batch_statistics` for the batch.
        momentum: m; None for the mean over all batches so far, m = 1 / (number of batches).

    Source: Ioffe and Szegedy (as for `batch_statistics`), algorithm 2, line 10 (the unbiased variance), with the
    exponential mean that section 3.1 names.
    """
    seen = running.number + 1
    share = 1 / seen if momentum is None else momentum
    unbiased = batch.variance * batch.number / (batch.number - 1)
    mean, variance = (
        (1 - share) * old + share * new for old, new in ((running.mean, batch.mean), (running.variance, unbiased))
    )
    return Statistics(mean, variance, seen)


def batch_norm(
    input: Tensor,
    statistics: Statistics,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel: by the batch's statistics in training, by the running ones at prediction.

        y = γ (x - μ) / √(σ² + ε) + β

    Args:
        input: x, shape (N, C, …).
        statistics: μ and σ², shape (C,): those of `batch_statistics` (whose variance is biased) in training, those of
            `running_statistics` (whose variance is unbiased) at prediction.
        weight: γ, shape (C,); 1 by default.
        bias: β, shape (C,); 0 by default.
        eps: ε.

    Source: Ioffe and Szegedy (as for `batch_statistics`), algorithm 1 (training) and algorithm 2, line 11 (prediction).
    """
    shape = (-1, *[1] * (input.dim() - 2))
    result = (input - statistics.mean.reshape(shape)) / (statistics.variance.reshape(shape) + eps).sqrt()
    if weight is not None:
        result = result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)
