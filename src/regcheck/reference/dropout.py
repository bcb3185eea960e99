"""Dropout as its papers define it, with the mask as an argument.

A mask is boolean and True where a unit survives. All functions are differentiable in their floating-point arguments.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def classic_dropout(input: Tensor, keep: Tensor) -> Tensor:
    """Drop single activations and leave the surviving ones unchanged; prediction scales them down.

        y = m ⊙ x,  m ~ Bernoulli(1 - p) per element

    so that E[y] = (1 - p) x, which is what `classic_prediction` gives.

    Args:
        input: x, any shape.
        keep: m, bool, broadcastable to the shape of x.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    section 4.
    """
    return input * keep.to(input.dtype)


def classic_prediction(input: Tensor, rate: float) -> Tensor:
    """Scale activations down at prediction, as `classic_dropout` requires.

        y = (1 - p) x

    The paper scales the weights of the next layer, which is equivalent.

    Args:
        input: x, any shape.
        rate: p, the probability of dropping in training.

    Source: as for `classic_dropout`, figure 2.
    """
    return input * (1 - rate)


def inverted_dropout(input: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Drop single activations and scale up the surviving ones.

        y = m ⊙ x / (1 - p),  m ~ Bernoulli(1 - p) per element

    so that E[y] = x and prediction needs no scaling. At p = 1 everything is dropped and y = 0.

    Args:
        input: x, any shape.
        keep: m, bool, broadcastable to the shape of x.
        rate: p, the probability of dropping.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    section 4 (the mask) and section 10 (scaling by 1 / (1 - p) in training in place of 1 - p at prediction).
    """
    mask = keep.to(input.dtype)
    return input * (mask / (1 - rate) if rate < 1 else mask)


def spatial_dropout(input: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Drop whole channels: one draw per sample and channel, shared by all positions.

        y[n, c, …] = m[n, c] x[n, c, …] / (1 - p),  m ~ Bernoulli(1 - p) per sample and channel

    Args:
        input: x, shape (N, C, …) with one to three spatial axes.
        keep: m, bool, shape (N, C).
        rate: p, the probability of dropping.

    Raises:
        ValueError: the ranks do not fit.

    Source: Tompson et al., "Efficient object localization using convolutional networks", CVPR 2015, section 3.2.
    """
    return inverted_dropout(input, _over_maps(input, keep), rate)


def gaussian_dropout(input: Tensor, noise: Tensor, rate: float) -> Tensor:
    """Multiply activations by noise with mean one and the variance of inverted dropout's mask.

        y = x ⊙ (1 + √(p / (1 - p)) ε),  ε ~ N(0, 1) per element

    Args:
        input: x, any shape.
        noise: ε, broadcastable to the shape of x.
        rate: p, the rate of the inverted dropout that it replaces, below one.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014),
    section 10; Kingma et al., "Variational dropout and the local reparameterization trick", NIPS 2015, section 3,
    where the variance p / (1 - p) is called α.
    """
    spread: float = (rate / (1 - rate)) ** 0.5
    return input * (1 + spread * noise)


SATURATION = -1.0507009873554805 * 1.6732632423543772
"""α', the limit of SELU at minus infinity: -λα, with λ and α of Klambauer et al."""


def alpha_dropout(input: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Set dropped activations to SELU's negative saturation, then scale and shift all of them.

        y = a (m ⊙ x + (1 - m) α') + b,  m ~ Bernoulli(q) per element,  q = 1 - p
        a = (q + α'² q (1 - q))^(-1/2),  b = -a (1 - q) α'

    so that y has mean zero and variance one wherever x has.

    Args:
        input: x, any shape.
        keep: m, bool, broadcastable to the shape of x.
        rate: p, the probability of dropping, below one.

    Source: Klambauer et al., "Self-normalizing neural networks", NIPS 2017, section 3 ("new dropout technique").
    """
    q = 1 - rate
    a: float = (q + SATURATION**2 * q * (1 - q)) ** -0.5
    return a * torch.where(keep, input, SATURATION) - a * (1 - q) * SATURATION


def feature_alpha_dropout(input: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Alpha dropout of whole channels: one draw per sample and channel, shared by all positions.

        y[n, c, …] = a (m[n, c] x[n, c, …] + (1 - m[n, c]) α') + b,  m ~ Bernoulli(1 - p) per sample and channel

    with α', a and b as in `alpha_dropout`.

    Args:
        input: x, shape (N, C, …) with one to three spatial axes.
        keep: m, bool, shape (N, C).
        rate: p, the probability of dropping, below one.

    Raises:
        ValueError: the ranks do not fit.

    Source: Klambauer et al. (as for `alpha_dropout`) for the value of a dropped unit, Tompson et al. (as for
    `spatial_dropout`) for dropping whole channels.
    """
    return alpha_dropout(input, _over_maps(input, keep), rate)


def attention_weights(
    query: Tensor, key: Tensor, *, mask: Tensor | None = None, causal: bool = False, scale: float | None = None
) -> Tensor:
    """Returns the attention weight of each query for each key.

        A = softmax(s Q Kᵀ + B)

    A query that may attend to no key has a zero row in A.

    Args:
        query: Q, shape (…, L, E).
        key: K, shape (…, S, E).
        mask: B, broadcastable to (…, L, S): added to the scores, or, where bool, True for keys that may be attended to.
        causal: query i attends to the keys 0 … i only.
        scale: s; 1 / √E by default.

    Source: Vaswani et al., "Attention is all you need", NIPS 2017, equation 1 and section 3.2.3 (masks).
    """
    scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
    if causal:
        scores = scores.masked_fill(~torch.ones_like(scores, dtype=torch.bool).tril(), -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask
    nowhere = (scores == -torch.inf).all(-1, keepdim=True)
    return scores.masked_fill(nowhere, 0.0).softmax(-1).masked_fill(nowhere, 0.0)


def attention_dropout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    keep: Tensor,
    rate: float,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """Attend with some of the attention weights dropped.

        Y = (M ⊙ A / (1 - p)) V,  M ~ Bernoulli(1 - p) per attention weight

    The surviving weights are not normalized again, so a row of M ⊙ A / (1 - p) sums to one in expectation only.

    Args:
        query: Q, shape (…, L, E).
        key: K, shape (…, S, E).
        value: V, shape (…, S, D).
        keep: M, bool, shape (…, L, S).
        rate: p, the probability of dropping.
        mask: as in `attention_weights`.
        causal: as in `attention_weights`.
        scale: as in `attention_weights`.

    Returns:
        Y, shape (…, L, D).

    Source: the code published with Vaswani et al., "Attention is all you need", NIPS 2017 (the paper's own section 5.4
    names only residual dropout); variants that normalize again: Zehui et al., "DropAttention", 2019.
    """
    weights = attention_weights(query, key, mask=mask, causal=causal, scale=scale)
    return inverted_dropout(weights, keep, rate) @ value


class Prediction(NamedTuple):
    """Mean and standard deviation of several random forward passes."""

    mean: Tensor
    spread: Tensor


def monte_carlo(outputs: Tensor) -> Prediction:
    """Returns the mean and the standard deviation of T predictions with dropout active.

        E[y] ≈ ȳ = 1/T Σ_t y_t,  Var[y] ≈ 1/T Σ_t (y_t - ȳ)²

    This is the variance of the model alone: the paper adds τ⁻¹, the variance of the observation noise.

    Args:
        outputs: y_1 … y_T, shape (T, …), one forward pass after another.

    Returns:
        Mean and spread, both of shape (…).

    Source: Gal and Ghahramani, "Dropout as a Bayesian approximation: representing model uncertainty in deep learning",
    ICML 2016, section 4.
    """
    mean = outputs.mean(0)
    return Prediction(mean, (outputs - mean).square().mean(0).sqrt())


def _over_maps(input: Tensor, keep: Tensor) -> Tensor:
    """Reshapes a mask of samples and channels to broadcast over all positions of the maps."""
    extents = input.dim() - 2
    if not 1 <= extents <= 3 or keep.shape != input.shape[:2]:
        raise ValueError(f"a mask of shape {tuple(keep.shape)} is no channel mask of maps {tuple(input.shape)}")
    return keep.reshape(*keep.shape, *[1] * extents)
