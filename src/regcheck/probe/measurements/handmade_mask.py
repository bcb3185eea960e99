"""Follow a random draw to the mask that hand-written dropout multiplies activations with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode, Op, Site
from regcheck.core.measurements.handmade_mask import HandmadeMask
from regcheck.probe import statistics
from regcheck.probe.dropout_calls import UNITS
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import wide
from regcheck.reference.dropout import inverted_dropout
from regcheck.tracing.nested_values import tensors_in


@measures(ModelProbe, forwards=3)
def measure(probe: ModelProbe, op: Op) -> HandmadeMask:
    """Follow the draw of `op` to its product with activations, in at most `statistics.REPLAYS` train runs."""
    if op.kind is not Kind.RANDOM:
        raise CannotMeasure("this op is not a random draw")
    runner, seed = probe.runner, probe.seed
    masks: list[tuple[Tensor, float]] = []
    wanted = 1
    runner.plan(1)
    while len(masks) < wanted:
        follower, turn = MaskFollower(op.site), len(masks)
        runner.run(Mode.TRAIN, seed, vary={op.site: seed + turn}, observe=follower)
        if follower.mask is None:
            raise CannotMeasure("the draw is not multiplied with activations in train mode")
        masks.append((follower.mask, follower.factor))
        if turn == 0:
            units, dropped = follower.mask.numel(), float((follower.mask == 0).double().mean())
            wanted = min(statistics.REPLAYS, -(-UNITS // max(units, 1)))
            wanted = runner.plan_share(units, wanted, dropped, probe.alpha)
    values = torch.cat([wide(mask).flatten() for mask, _ in masks])
    nonzero = values[values != 0]
    if nonzero.numel() == 0 or bool((nonzero != nonzero[0]).any()):
        raise CannotMeasure("the draw does not become a mask of zeros and one other value")
    scale = float(nonzero[0]) * masks[0][1]
    units, survivors = values.numel(), nonzero.numel()
    p_value = two_sided(survivors, units, 1 / scale if scale > 0 else 1.0)
    rate, ones = 1 - survivors / units, torch.ones(units, dtype=torch.double, device="cpu")
    keep = torch.rand(units, generator=torch.Generator().manual_seed(seed), device="cpu") >= rate
    return HandmadeMask(survivors, units, scale, p_value, float(inverted_dropout(ones, keep, rate).mean()))


def two_sided(successes: int, draws: int, rate: float) -> float:
    """P-value of the exact binomial test; a rate of one or more allows for no failure at all."""
    if rate >= 1:
        return 1.0 if successes == draws and rate == 1 else 0.0
    above = statistics.at_least(successes, draws, rate)
    below = 1 - statistics.at_least(successes + 1, draws, rate)
    return min(1.0, 2 * min(above, below))


class MaskFollower:
    """An observer that follows a draw by tensor identity: a tensor that depends on it alone is part of the mask.

    `mask` is the first that activations are multiplied with, `factor` the product of the numbers that scale the
    activations before or afterwards.
    """

    def __init__(self, site: Site) -> None:
        self.mask: Tensor | None = None
        self.factor = 1.0
        self._site = site
        self._seen: list[Any] = []  # keeps the tensors alive, so that no id is reused
        self._masks: set[int] = set()
        self._scaled: dict[int, float] = {}
        self._product: int | None = None

    def __call__(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        self._seen.append((args, kwargs, result))
        if not isinstance(result, Tensor):
            return
        given = [each for each in tensors_in((args, kwargs)) if each.dim() > 0]
        number = scaling(name, args)
        if site == self._site or (given and all(id(each) in self._masks for each in given)):
            self._masks.add(id(result))
        elif name == "mul" and self.mask is None and any(id(each) in self._masks for each in given):
            self.mask = next(each for each in given if id(each) in self._masks).detach().clone()
            self.factor *= next((self._scaled.get(id(each), 1.0) for each in given if id(each) not in self._masks), 1.0)
            self._product = id(result)
        elif number is not None and self._product is not None and id(given[0]) == self._product:
            self.factor *= number
            self._product = id(result)
        elif number is not None:
            self._scaled[id(result)] = number


def scaling(name: str, args: Any) -> float | None:
    """The number that a call scales its one tensor by; None for any other call."""
    if name not in ("mul", "div", "truediv") or len(args) < 2:
        return None
    numbers = [float(each) for each in args[:2] if isinstance(each, (int, float)) or is_scalar(each)]
    if len(numbers) != 1 or numbers[0] == 0:
        return None
    return numbers[0] if name == "mul" else 1 / numbers[0]


def is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0
