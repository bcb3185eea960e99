"""Dropout with shared draws (time steps, residual branches, blocks of a map), and dropout of weights.

As in `dropout`, masks are arguments, boolean, and True where a unit survives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .dropout import inverted_dropout


def variational_dropout(input: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Drop the same units of a sequence at every time step.

        y_t = m ⊙ x_t / (1 - p),  m ~ Bernoulli(1 - p) once per sequence and unit

    Args:
        input: x, shape (T, N, F): time, sequences, units.
        keep: m, bool, shape (N, F).
        rate: p, the probability of dropping.

    Raises:
        ValueError: the shapes do not fit.

    Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", NIPS
    2016, section 4 (with the scaling by 1 / (1 - p) in training).
    """
    if input.dim() != 3 or keep.shape != input.shape[1:]:
        raise ValueError(f"a mask of shape {tuple(keep.shape)} is not shared by the steps of {tuple(input.shape)}")
    return inverted_dropout(input, keep, rate)


def variational_recurrence(
    cell: Callable[[Tensor, Tensor], Tensor],
    input: Tensor,
    state: Tensor,
    keep_input: Tensor,
    keep_state: Tensor,
    rate: float,
) -> Tensor:
    """Run a recurrent cell with one mask for its inputs and one for its states, both the same at every time step.

        h_t = cell(m_x ⊙ x_t / (1 - p), m_h ⊙ h_{t-1} / (1 - p))

    For a cell that is linear in its inputs, up to an activation, this drops the same columns of its weights at every
    step. A cell's memory beside its state (as in an LSTM) is not dropped.

    Args:
        cell: returns the state h_t, shape (N, H), for the input of a step, (N, F), and the previous state.
        input: x, shape (T, N, F).
        state: h_0, shape (N, H).
        keep_input: m_x, bool, shape (N, F).
        keep_state: m_h, bool, shape (N, H).
        rate: p, the probability of dropping.

    Returns:
        h_1 … h_T, shape (T, N, H).

    Source: Gal and Ghahramani (as for `variational_dropout`), section 4.1.
    """
    states = []
    for now in variational_dropout(input, keep_input, rate):
        state = cell(now, inverted_dropout(state, keep_state, rate))
        states.append(state)
    return torch.stack(states)


def stochastic_depth(branch: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Drop the residual branch of a block, for single samples ("row", "drop path") or for the whole batch.

        y = b f(x) / (1 - p),  b ~ Bernoulli(1 - p) per sample, or once for the batch

    The block then adds its shortcut.

    Args:
        branch: f(x), shape (N, …).
        keep: b, bool, shape (N,) for one draw per sample or () for one draw in all.
        rate: p, the probability of dropping.

    Raises:
        ValueError: the shapes do not fit.

    Source: Huang et al., "Deep networks with stochastic depth", ECCV 2016, equation 2. The paper draws once for a batch
    and scales by 1 - p at prediction (equation 5); drawing per sample and scaling in training is common practice since.
    """
    if keep.dim() and keep.shape != branch.shape[:1]:
        raise ValueError(f"a mask of shape {tuple(keep.shape)} is neither one draw nor one per sample of the branch")
    return inverted_dropout(branch, keep.reshape(*keep.shape, *[1] * (branch.dim() - keep.dim())), rate)


def drop_connect(input: Tensor, weight: Tensor, keep: Tensor, rate: float, bias: Tensor | None = None) -> Tensor:
    """Apply a linear layer with some of its weights dropped.

        y = (M ⊙ W / (1 - p)) x + b,  M ~ Bernoulli(1 - p) per weight

    Args:
        input: x, shape (N, I).
        weight: W, shape (O, I).
        keep: M, bool, shape (O, I) for one mask in all or (N, O, I) for one per sample, as in the paper.
        rate: p, the probability of dropping.
        bias: b, shape (O,).

    Returns:
        y, shape (N, O).

    Source: Wan et al., "Regularization of neural networks using DropConnect", ICML 2013 (with the scaling by
    1 / (1 - p) in training; the paper draws from matched normal distributions at prediction).
    """
    dropped = inverted_dropout(weight, keep, rate)
    result = (dropped @ input.unsqueeze(-1)).squeeze(-1)
    return result if bias is None else result + bias


def drop_block_rate(rate: float, block: int, extents: Sequence[int]) -> float:
    """Returns the seed probability for which blocks of that size drop about a share `rate` of a map.

        γ = p / bᵈ ∏ h / (h - b + 1)

    over the d extents h of a map: each seed drops a block of bᵈ, and seeds lie only where their block fits in.

    Args:
        rate: p, the share to drop; blocks that overlap drop less.
        block: b, the extent of a block.
        extents: h, the spatial extents of a map.

    Source: Ghiasi et al., "DropBlock: a regularization method for convolutional networks", NeurIPS 2018, equation 1.
    """
    return rate * math.prod(extent / (extent - block + 1) / block for extent in extents)


def drop_block(input: Tensor, seeds: Tensor, block: int) -> Tensor:
    """Drop contiguous blocks of each map, and scale up the rest by the inverse of the surviving share.

        M = 0 in the block that begins at a seed, 1 elsewhere
        y = x ⊙ M count(M) / count_ones(M)

    Args:
        input: x, shape (N, C, …) with one to three spatial axes.
        seeds: where a block begins, bool, shape (N, C, …) with h - b + 1 in place of each extent h; drawn with the
            probability γ of `drop_block_rate`.
        block: b, the extent of a block.

    Raises:
        ValueError: the shapes do not fit.

    Source: Ghiasi et al. (as for `drop_block_rate`), algorithm 1. The mask is normalized over the whole tensor.
    """
    extents = input.shape[2:]
    if not 1 <= len(extents) <= 3 or seeds.shape != (*input.shape[:2], *[extent - block + 1 for extent in extents]):
        raise ValueError(f"{tuple(seeds.shape)} are no seeds of blocks of {block} in maps {tuple(input.shape)}")
    dropped = F.pad(seeds, [block - 1] * 2 * len(extents))
    for axis in range(2, input.dim()):
        dropped = dropped.unfold(axis, block, 1).any(-1)
    keep = (~dropped).to(input.dtype)
    return input * keep * (keep.numel() / keep.sum().clamp(min=1))
