"""How an optimizer decays weights: one real step of the user's own optimizer, on copies, against the references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, optim

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements import BLURRED, Decay, Pairs, Shrinkage
from regcheck.core.usage import BIAS, NORM_SCALE, Group
from regcheck.reference import optimizers as reference
from regcheck.torch_api.optimizers import OPTIMIZERS, UNLISTED

from .decay_folding import decayed_parameters, folded, heeded
from .optimizer_steps import ROUNDING, Sample, row, stepping
from .work_plan import Budget

EXACT = 1e-9
"""The least tolerance: two ways of decaying that differ at all differ by far more than this share of what the decay
does, and rounding alone, at everyday learning rates and decays, by less."""


def measure_decay(
    optimizer: optim.Optimizer, rule: str | None, *, seed: int, device: str, budget: Budget | None = None
) -> Decay:
    """Step a copy of `optimizer` on copies of a sample of its decayed parameters, in float64 on `device`.

    The copy takes `WARM_UP` steps on synthetic gradients, as large as the real ones where those are known. Its next
    step is compared to the same step with the decay set to zero, and to two references: the method's own, driven
    through the same steps, or, where none is known, what the step itself makes of gradients to which the decay was
    added, and of weights that are decayed beside it. The optimizer, its parameters, gradients and state, and the global
    random streams are left as they are.

    Args:
        optimizer: the user's optimizer.
        rule: the torch.optim class whose update it follows; None if it has one of its own.
        seed: seeds the synthetic gradients.
        device: where to take the steps.
        budget: the work that all its steps may take.

    Returns:
        Distances to the references, relative to what the decay does in the step: without a known method the most that
        it changes, else the larger of the references' difference and of what the decay asked for takes off.
        `tolerance` is relative to that, too.

    Raises:
        CannotMeasure: nothing is decayed, the step may not be taken or raises, or the decay is lost in rounding.
    """
    with stepping(optimizer, budget) as steps:
        samples = [Sample.of(group, turn, seed + turn, device) for turn, group in enumerate(_suspects(optimizer))]
        samples = [sample for sample in samples if sample.weights]
        if not samples:
            raise CannotMeasure("the optimizer has no floating-point parameters to decay")
        before, decayed = steps(samples)
        _, undecayed = steps(samples, without=1)
        if not bool(before.any()):
            raise CannotMeasure("all decayed parameters are zero")
        taken = torch.cat([torch.full_like(each.flat, each.lr * each.decay) for each in samples]) * before
        tolerance = _tolerance(before, float(taken.abs().max()))
        if not bool(decayed.isfinite().all() and undecayed.isfinite().all()):
            raise CannotMeasure("the step gives values that are not finite")
        known, held = _references(rule, samples), before != 0
        coupled, decoupled = known or (undecayed, undecayed - taken)
        if known is not None:
            unit = max(float(taken.abs().max()), _gap(coupled, decoupled))
        elif unit := _gap(decayed, undecayed):
            tolerance, held = _tolerance(before, unit), held & decayed_parameters(samples, decayed != undecayed)
        else:
            unit = math.inf
        effective = ((undecayed - decayed) / taken)[held]
        p5, p95 = torch.quantile(effective, torch.tensor([0.05, 0.95], dtype=effective.dtype, device=device)).tolist()
        decay = Decay(
            coupled=_gap(decayed, coupled) / unit,
            decoupled=_gap(decayed, decoupled) / unit,
            p5=p5,
            p95=p95,
            asked=max(sample.decay for sample in samples),
            parameters=effective.numel(),
            tolerance=tolerance,
        )
        if known is None and not (decay.is_uniform or decay.is_nothing):
            decay = replace(decay, coupled=_gap(decayed, folded(steps, samples, held)) / unit)
            return replace(decay, pairs=heeded(steps, samples, seed) if decay.is_coupled else Pairs(0, 0))
        return decay


def measure_shrinkage(
    optimizer: optim.Optimizer, groups: Sequence[Group], *, device: str, budget: Budget | None = None
) -> Shrinkage:
    """Step a copy of `optimizer` once, at zero gradient, on copies of its biases and norm scales in float64.

    Of a copy that is zero, which nothing can shrink, the step is taken from one. The optimizer, its parameters,
    gradients and state, and the global random streams are left as they are.

    Args:
        optimizer: the user's optimizer.
        groups: what its groups hold. Those that decay weights too are measured; all, if there are none.
        device: where to take the step.
        budget: the work that its steps may take.

    Raises:
        CannotMeasure: no bias and no norm scale is known, the step raises, or the decay is lost in rounding.
    """
    with stepping(optimizer, budget) as steps:
        pairs = list(enumerate(zip(optimizer.param_groups, groups, strict=False)))
        samples, kinds = [], []
        for turn, (group, known) in [each for each in pairs if each[1][1].is_mixed] or pairs:
            held = [
                each
                for each in zip(group["params"], known.parameter_kinds, strict=False)
                if each[1] in (BIAS, NORM_SCALE)
            ]
            if held and group.get("weight_decay") is not None:
                apart = {**group, "params": [parameter for parameter, _ in held]}
                samples.append(Sample.of(apart, turn, turn, device).at_rest())
                kinds += [kind for _, kind in held]
        if not samples:
            raise CannotMeasure("none of the optimizer's parameters is known to be a bias or a norm scale")
        before, decayed = steps(samples)
        _, undecayed = steps(samples, without=1)
        lost = (undecayed - decayed) / before
        if not bool(lost.isfinite().all()):
            raise CannotMeasure("the step gives values that are not finite")
        asked = max(sample.lr * sample.decay for sample in samples)
        if 0 < asked <= ROUNDING:
            raise CannotMeasure(f"a decay of {asked:.2g} a step (lr × weight_decay) is lost in rounding")
    return Shrinkage(
        smallest=float(lost.min()),
        largest=float(lost.max()),
        norm_scales=kinds.count(NORM_SCALE),
        biases=kinds.count(BIAS),
        values=lost.numel(),
        tolerance=ROUNDING,
    )


def _suspects(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    """The groups with decay, without those whose decay is said to be decoupled unless all are."""
    decayed = [group for group in optimizer.param_groups if float(group.get("weight_decay") or 0.0) > 0]
    if not decayed:
        raise CannotMeasure("no parameter group has a weight decay")
    return [group for group in decayed if not group.get("decoupled_weight_decay", False)] or decayed


def _references(rule: str | None, samples: Sequence[Sample]) -> tuple[Tensor, Tensor] | None:
    """The weights after the same steps with coupled and with decoupled decay; None without a reference."""
    name = OPTIMIZERS.get(rule or "", UNLISTED).update or rule or ""
    if name not in reference.RULES:
        return None

    def after(sample: Sample, decoupled: bool) -> Tensor:
        weights, state = sample.flat, reference.State()
        for gradients in sample.gradients:
            weights = reference.step(name, weights, row(gradients), state, sample.settings, decoupled=decoupled)
        return weights

    coupled, decoupled = (torch.cat([after(sample, how) for sample in samples]) for how in (False, True))
    return coupled, decoupled


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _tolerance(weights: Tensor, unit: float) -> float:
    """What rounding may come to, relative to `unit`, which the decay takes off some of these weights in a step.

    Raises:
        CannotMeasure: as much as the decay.
    """
    tolerance = max(EXACT, ROUNDING * float(weights.abs().max()) / unit)
    if tolerance > BLURRED:
        raise CannotMeasure(f"a decay of {unit:.2g} a step (lr × weight_decay × weights) is lost in rounding")
    return tolerance
