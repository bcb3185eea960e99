"""Take one real step of the user's optimizer at zero gradient, and measure the decay of biases and norm scales."""

from __future__ import annotations

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.shrinkage import Shrinkage
from regcheck.core.usage import BIAS, NORM_SCALE, Event, Stepped
from regcheck.probe.optimizer_steps import ROUNDING, Sample, stepping
from regcheck.probe.probes import OptimizerProbe, measures
from regcheck.torch_api.optimizers import decay_key


@measures(OptimizerProbe)
def measure(probe: OptimizerProbe, event: Event) -> Shrinkage:
    """Step a copy of the optimizer once, at zero gradient, on copies of its biases and norm scales in float64.

    Only groups that decay weights as well are measured; all, if there are none. A copy that is zero, which nothing can
    shrink, is set to one first. The optimizer, its parameters, gradients and state, and the global random streams stay
    unchanged.

    Raises:
        CannotMeasure: no parameter is known as a bias or norm scale, the step raises, or rounding hides the decay.
    """
    optimizer, device = probe.optimizer, probe.device
    groups = event.optimizer.groups if isinstance(event, Stepped) else ()
    with stepping(optimizer, probe.budget) as steps:
        pairs = list(enumerate(zip(optimizer.param_groups, groups, strict=False)))
        samples, kinds = [], []
        for turn, (group, contents) in [each for each in pairs if each[1][1].is_mixed] or pairs:
            chosen = [
                each
                for each in zip(group["params"], contents.parameter_kinds, strict=False)
                if each[1] in (BIAS, NORM_SCALE)
            ]
            if chosen and group.get(decay_key(group)) is not None:
                apart = {**group, "params": [parameter for parameter, _ in chosen]}
                samples.append(Sample.of(apart, turn, turn, device).at_rest())
                kinds += [kind for _, kind in chosen]
        if not samples:
            raise CannotMeasure("none of the optimizer's parameters is known as a bias or a norm scale")
        before, decayed = steps(samples)
        _, undecayed = steps(samples, without=1)
        lost = (undecayed - decayed) / before
        if not bool(lost.isfinite().all()):
            raise CannotMeasure("the step returns values that are not finite")
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
