"""Take one real step of the user's optimizer, on copies, and compare its weight decay with the references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, optim

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.decay import BLURRED, Decay, Pairs
from regcheck.core.usage import Event, Stepped
from regcheck.probe.decay_folding import decay_pairs, decayed_parameters, step_with_folded_decay
from regcheck.probe.optimizer_steps import ROUNDING, Sample, row, stepping
from regcheck.probe.probes import OptimizerProbe, measures
from regcheck.probe.work_plan import Budget
from regcheck.reference import optimizers as reference
from regcheck.torch_api.optimizers import OPTIMIZERS, UNLISTED, decay_key

EXACT = 1e-9
"""The least tolerance: two kinds of decay differ by far more than this share of the decay's effect, and rounding alone,
at everyday learning rates and decays, by less."""


@measures(OptimizerProbe)
def measure(probe: OptimizerProbe, event: Event) -> Decay:
    """Step the optimizer that the event stepped, by the update that it is known to follow; see `measure_decay`."""
    rule = event.optimizer.update_rule if isinstance(event, Stepped) else None
    return measure_decay(probe.optimizer, rule, seed=probe.seed, device=probe.device, budget=probe.budget)


def measure_decay(
    optimizer: optim.Optimizer, rule: str | None, *, seed: int, device: str, budget: Budget | None = None
) -> Decay:
    """Step a copy of `optimizer` on copies of a sample of its decayed parameters, in float64 on `device`.

    The copy takes `WARM_UP` steps on synthetic gradients, as large as the real ones where those exist. Its next step is
    compared with the same step with the decay set to zero, and with two references: the method's own, driven through
    the same steps, or, without such a reference, the optimizer's own step on gradients plus decay, and on weights that
    decay beside it. The optimizer, its parameters, gradients and state, and the global random streams stay unchanged.

    Args:
        optimizer: the user's optimizer.
        rule: the torch.optim class whose update it follows; None for an update of its own.
        seed: seeds the synthetic gradients.
        device: where to take the steps.
        budget: the work that all its steps may take.

    Returns:
        Distances to the references, relative to the decay's effect in the step: with a reference for the method the
        larger of the references' difference and of lr × weight_decay × weights, else the largest change by the decay.
        `tolerance` is relative to that, too.

    Raises:
        CannotMeasure: no weight decays, the step is too expensive or raises, or the decay is lost in rounding.
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
        subtracted = torch.cat([torch.full_like(each.flat, each.lr * each.decay) for each in samples]) * before
        tolerance = _tolerance(before, float(subtracted.abs().max()))
        if not bool(decayed.isfinite().all() and undecayed.isfinite().all()):
            raise CannotMeasure("the step returns values that are not finite")
        references, counted = _references(rule, samples), before != 0
        coupled, decoupled = references or (undecayed, undecayed - subtracted)
        if references is not None:
            unit = max(float(subtracted.abs().max()), _gap(coupled, decoupled))
        elif unit := _gap(decayed, undecayed):
            tolerance, counted = _tolerance(before, unit), counted & decayed_parameters(samples, decayed != undecayed)
        else:
            unit = math.inf
        effective = ((undecayed - decayed) / subtracted)[counted]
        p5, p95 = torch.quantile(effective, torch.tensor([0.05, 0.95], dtype=effective.dtype, device=device)).tolist()
        decay = Decay(
            coupled=_gap(decayed, coupled) / unit,
            decoupled=_gap(decayed, decoupled) / unit,
            p5=p5,
            p95=p95,
            asked=max(sample.decay for sample in samples),
            parameters=effective.numel(),
            tolerance=tolerance,
            share=_share(decayed - undecayed, undecayed - before),
        )
        if references is None and not (decay.is_uniform or decay.is_nothing):
            decay = replace(decay, coupled=_gap(decayed, step_with_folded_decay(steps, samples, counted)) / unit)
            return replace(decay, pairs=decay_pairs(steps, samples, seed) if decay.is_coupled else Pairs(0, 0))
        return decay


def _suspects(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    """The groups with decay; those that declare it decoupled only where all do."""
    decayed = [group for group in optimizer.param_groups if float(group.get(decay_key(group)) or 0.0) > 0]
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


def _share(effect: Tensor, step: Tensor) -> float:
    """The size of an effect relative to that of a step; infinite for a step of zero."""
    size = float(step.norm())
    return float(effect.norm()) / size if size else math.inf


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _tolerance(weights: Tensor, unit: float) -> float:
    """The largest rounding error, relative to `unit`, the decay of some of these weights in a step.

    Raises:
        CannotMeasure: it is as large as the decay.
    """
    tolerance = max(EXACT, ROUNDING * float(weights.abs().max()) / unit)
    if tolerance > BLURRED:
        raise CannotMeasure(f"a decay of {unit:.2g} a step (lr × weight_decay × weights) is lost in rounding")
    return tolerance
