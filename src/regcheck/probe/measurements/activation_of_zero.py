"""Measure what the activation behind a dropout returns for dropped units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.core.measurements.activation_of_zero import ActivationOfZero
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import UNITS
from regcheck.probe.interventions import Replacement, identity, nothing
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import moments
from regcheck.probe.runner import Enough
from regcheck.torch_api.functions import KINDS
from regcheck.tracing.nested_values import tensors_in


@measures(ModelProbe, forwards=3)
def measure(probe: ModelProbe, op: Op) -> ActivationOfZero:
    """Observe the activation in a run that drops all units, one that drops none, and as many as the test needs.

    Where no activation follows at once, the dropout's own result is observed.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None or "alpha" in op.site.function:
        raise CannotMeasure("this op is not a dropout that zeroes units at a rate that is a number")
    runner, seed = probe.runner, probe.seed

    def behind(turn: int, how: Replacement | None = None) -> ActivationFollower:
        follower = ActivationFollower(op.site)
        replace = {op.site: how} if how is not None else None
        vary = {op.site: seed + turn}
        runner.run(Mode.TRAIN, seed, vary=vary, replace=replace, observe=follower, behind=[op.site])
        if follower.output is None:
            raise CannotMeasure("this call does not run in train mode")
        return follower

    def units(follower: ActivationFollower) -> Tensor:
        assert follower.output is not None
        return follower.output

    runner.plan(2)
    blank, clean = (behind(0, how) for how in (nothing, identity))
    of_zeros, whole = units(blank), units(clean)
    if of_zeros.shape != whole.shape or not bool((of_zeros != whole).any()):
        raise CannotMeasure("the result behind this call is the same when all units are dropped")
    counted = of_zeros != whole
    assert clean.dropped is not None
    shape = clean.dropped.shape
    draws = shape[:2].numel() if op.drops is Drops.CHANNELS and len(shape) > 2 else shape.numel()
    draws = max(1, min(draws, draws * of_zeros.numel() // shape.numel()))
    runner.plan(1, work=runner.operations)
    wanted = min(statistics.REPLAYS, -(-UNITS // draws))
    runs = runner.plan_share(draws, wanted, op.rate, probe.alpha, work=runner.operations)
    lost = sum(int(((units(behind(1 + turn)) == of_zeros) & counted).sum()) for turn in range(runs))
    share = lost / (runs * int(counted.sum()))
    interval = statistics.binomial_interval(draws * runs, op.rate, probe.alpha)
    silent, loud = bool((of_zeros == 0).all()), bool((of_zeros != 0).all())
    value = moments([of_zeros])[0] if silent or loud else None
    return ActivationOfZero(clean.activation, value, moments([whole.abs()])[0], share, draws * runs, interval)


class ActivationFollower:
    """An observer that follows a dropout's result, through reshaping, to the first activation.

    `output` is that activation's result, and `activation` its name; without one, they are the dropout's own result,
    `dropped`, and an empty string.
    """

    def __init__(self, site: Site) -> None:
        self.dropped: Tensor | None = None
        self.output: Tensor | None = None
        self.activation = ""
        self._site = site
        self._seen: list[Tensor] = []  # keeps the tensors alive, so that no id is reused

    def __call__(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if site == self._site:
            self._seen.append(result)
            self.dropped = self.output = result.detach().clone()
        elif any(tensor is each for tensor in tensors_in((args, kwargs)) for each in self._seen):
            kind = KINDS.get(name)
            if kind in (Kind.IDENTITY, Kind.RESHAPE):
                self._seen += tensors_in(result)
            elif kind in (Kind.ACTIVATION, Kind.SIGMOID) and isinstance(result, torch.Tensor):
                self.output, self.activation = result.detach().clone(), name
                raise Enough
