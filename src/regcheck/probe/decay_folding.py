"""Test whether a step without a reference folds its weight decay into the gradient, and scales it like the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regcheck.core.measurements.decay import Pairs

from . import statistics
from .optimizer_steps import ROUNDING, WARM_UP, Sample, Steps

LARGE, SMALL = 1e2, 1e-4
"""The sizes of the gradients in a pair of weights: far enough apart for methods with an initial scale of their own."""


def decayed_parameters(samples: Sequence[Sample], moved: Tensor) -> Tensor:
    """Which weights belong to a parameter that the decay moves at all: an optimizer may exempt vectors by itself."""
    return torch.cat([part.any().expand(part.shape) for part in _by_parameter(samples, moved)])


def step_with_folded_decay(steps: Steps, samples: Sequence[Sample], decayed: Tensor) -> Tensor:
    """The weights after a last step without decay, on gradients plus the decay of the `decayed` weights."""
    signed = (-each.decay if each.settings.get("maximize") else each.decay for each in samples for _ in each.weights)
    parts = _by_parameter(samples, decayed)
    shares = [decay if bool(part.any()) else 0.0 for decay, part in zip(signed, parts, strict=True)]
    return steps(samples, without=1, folded=shares)[1]


def decay_pairs(steps: Steps, samples: Sequence[Sample], seed: int) -> Pairs:
    """Give one random weight of each pair large gradients and the other small ones, and compare their decays.

    Under the null hypothesis the decay does not depend on the gradient's size, as with a method that scales all weights
    of a parameter together: which of the two decays less is then random. Pairs that the decay does not move do not
    count. All steps run with decay, or all without: one step alone does not change the sign that momentum has.
    """
    counted = lighter = 0
    for turn in range(statistics.SIGNS):
        generator = torch.Generator().manual_seed(seed + turn)
        tried, large, small = _paired(samples, generator)
        before = torch.cat([sample.flat for sample in tried])
        _, decayed = steps(tried)
        _, undecayed = steps(tried, without=WARM_UP + 1)
        moved, rounding = (undecayed - decayed).abs(), ROUNDING * float(before.abs().max())
        share = moved / before.abs()
        counts = (moved[large].maximum(moved[small]) > rounding) & (before[large] != 0) & (before[small] != 0)
        counted += int(counts.sum())
        lighter += int((counts & (2 * share[large] <= share[small])).sum())
        if counted >= 2 * statistics.SIGNS:
            break
    return Pairs(counted, lighter)


def _by_parameter(samples: Sequence[Sample], values: Tensor) -> Sequence[Tensor]:
    """Per-weight values, split by parameter."""
    return torch.split(values, [weight.numel() for sample in samples for weight in sample.weights])


def _paired(samples: Sequence[Sample], generator: torch.Generator) -> tuple[list[Sample], Tensor, Tensor]:
    """The samples with gradients of both sizes, and the indices of each pair's weights, large gradients first.

    Both weights of a pair belong to one parameter.
    """
    tried, large, small, at = [], [], [], 0
    for sample in samples:
        sizes = []
        for weight in sample.weights:
            order, half = torch.randperm(weight.numel(), generator=generator, device="cpu"), weight.numel() // 2
            size = torch.full(weight.shape, LARGE, dtype=torch.float64, device="cpu")
            size.view(-1)[order[half : 2 * half]] = SMALL
            sizes.append(size)
            large.append(at + order[:half])
            small.append(at + order[half : 2 * half])
            at += weight.numel()
        tried.append(sample.with_gradients(sizes, generator))
    return tried, torch.cat(large), torch.cat(small)
