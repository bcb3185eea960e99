"""What the activation behind a dropout makes of the units that are dropped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Kind, Mode, Op, Site
from regcheck.core.measurements import ActivationOfZero
from regcheck.torch_api.functions import KINDS
from regcheck.tracing.nested_values import tensors_in

from . import statistics
from .dropout_masks import UNITS
from .interventions import Replacement, identity, nothing
from .reductions import moments
from .runner import Enough, Runner


def image_of(runner: Runner, op: Op, seed: int, alpha: float) -> ActivationOfZero:
    """Look behind the activation in a run where all is dropped, one where nothing is, and as many as the test needs.

    Where no activation follows at once, what the dropout itself gives is looked at.
    """
    if op.kind is not Kind.DROPOUT or op.rate is None or "alpha" in op.site.function:
        raise CannotMeasure("this is no dropout that sets units to zero at a rate that is a number")

    def behind(turn: int, how: Replacement | None = None) -> ActivationFollower:
        follower = ActivationFollower(op.site)
        replace = {op.site: how} if how is not None else None
        runner.run(Mode.TRAIN, seed, vary={op.site: seed + turn}, replace=replace, observe=follower)
        if follower.made is None:
            raise CannotMeasure("this call does not run in train mode")
        return follower

    def units(follower: ActivationFollower) -> Tensor:
        assert follower.made is not None
        return follower.made

    runner.plan(2)
    blank, clean = (behind(0, how) for how in (nothing, identity))
    image, whole = units(blank), units(clean)
    if image.shape != whole.shape or not bool((image != whole).any()):
        raise CannotMeasure("dropping all of it changes nothing behind this call that can be compared")
    counted = image != whole
    assert clean.dropped is not None
    shape = clean.dropped.shape
    draws = shape[:2].numel() if op.drops is Drops.CHANNELS and len(shape) > 2 else shape.numel()
    draws = max(1, min(draws, draws * image.numel() // shape.numel()))
    runner.plan(1, work=runner.operations)
    wanted = min(statistics.REPLAYS, -(-UNITS // draws))
    runs = runner.plan_share(draws, wanted, op.rate, alpha, work=runner.operations)
    lost = sum(int(((units(behind(1 + turn)) == image) & counted).sum()) for turn in range(runs))
    share = lost / (runs * int(counted.sum()))
    interval = statistics.binomial_interval(draws * runs, op.rate, alpha)
    silent, loud = bool((image == 0).all()), bool((image != 0).all())
    value = moments([image])[0] if silent or loud else None
    return ActivationOfZero(clean.activation, value, moments([whole.abs()])[0], share, draws * runs, interval)


class ActivationFollower:
    """An observer that follows what a dropout gives, through reshaping, to the first activation.

    `made` is what that activation gives, and `activation` its name; without one, they are the dropout's own result
    `dropped` and an empty string.
    """

    def __init__(self, site: Site) -> None:
        self.dropped: Tensor | None = None
        self.made: Tensor | None = None
        self.activation = ""
        self._site = site
        self._seen: list[Tensor] = []  # alive, so that no identity is given twice

    def __call__(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if site == self._site:
            self._seen.append(result)
            self.dropped = self.made = result.detach().clone()
        elif any(given is each for given in tensors_in((args, kwargs)) for each in self._seen):
            kind = KINDS.get(name)
            if kind in (Kind.IDENTITY, Kind.RESHAPE):
                self._seen += tensors_in(result)
            elif kind in (Kind.ACTIVATION, Kind.SIGMOID) and isinstance(result, torch.Tensor):
                self.made, self.activation = result.detach().clone(), name
                raise Enough
