"""Follow a random draw to the activations that hand-written dropout drops with it."""

from __future__ import annotations

from collections import Counter
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
from regcheck.torch_api.drawn_masks import FILLS
from regcheck.torch_api.functions import FACTORIES, FORMING, KINDS
from regcheck.tracing.nested_values import tensors_in

Source = tuple[str, int]
"""Where activations come from: a function and the number of its call on activations, or "" and the number of an input.

Both modes count alike, as what a mode does to draws alone or with them is not counted.
"""

ROUNDING = 1e-3
"""Masks that are scaled by the share that they happen to keep have a mean of one up to rounding."""


@measures(ModelProbe, forwards=4)
def measure(probe: ModelProbe, op: Op) -> HandmadeMask:
    """Follow the draw of `op` to the activations that it drops, in at most `statistics.REPLAYS` train runs.

    One eval run shows by what number eval mode scales the same activations.
    """
    if op.kind not in (Kind.RANDOM, Kind.DROPOUT):
        raise CannotMeasure("this op is not a random draw")
    runner, seed = probe.runner, probe.seed
    masks: list[Tensor] = []
    wanted, units, in_eval = 1, 0, 1.0
    runner.plan(2)
    while len(masks) < wanted:
        follower, turn = MaskFollower(op.site), len(masks)
        runner.run(Mode.TRAIN, seed, vary={op.site: seed + turn}, observe=follower)
        if follower.mask is None and turn == 0:
            return skipped_branch(probe, op)
        if follower.mask is None:
            raise CannotMeasure("the draw drops no activations in train mode")
        masks.append(wide(follower.mask).flatten() * follower.factor)
        if turn == 0:
            in_eval = scale_in_eval(probe, follower.source)
            units, dropped = follower.units, float((follower.mask == 0).double().mean())
            wanted = min(statistics.REPLAYS, -(-UNITS // max(units, 1)))
            wanted = runner.plan_share(units, wanted, dropped, probe.alpha)
    ratios = [mask / in_eval for mask in masks]
    values = torch.cat(ratios)
    nonzero = values[values != 0]
    if nonzero.numel() == 0:
        raise CannotMeasure("the draw drops everything in all runs")
    total, scale = units * len(masks), float(nonzero.mean())
    survivors = round(total * nonzero.numel() / values.numel())
    if torch.allclose(nonzero, nonzero[0]):
        p_value = two_sided(survivors, total, 1 / scale if scale > 0 else 1.0)
    elif all(abs(float(ratio.mean()) - 1) < ROUNDING for ratio in ratios):
        p_value = 1.0
    else:
        raise CannotMeasure("the draw does not become a mask of zeros and one other value")
    rate, ones = 1 - survivors / total, torch.ones(total, dtype=torch.double, device="cpu")
    keep = torch.rand(total, generator=torch.Generator().manual_seed(seed), device="cpu") >= rate
    return HandmadeMask(survivors, total, scale, p_value, float(inverted_dropout(ones, keep, rate).mean()))


def skipped_branch(probe: ModelProbe, op: Op) -> HandmadeMask:
    """In how many train runs the one residual branch runs that the draw of `op` decides about.

    A draw that decides something else passes on everything: its p-value is one.
    """
    runner, runs = probe.runner, statistics.REPLAYS
    runner.plan(runs)
    calls: list[Counter[str]] = []
    for turn in range(runs):
        follower = MaskFollower(None)
        runner.run(Mode.TRAIN, probe.seed, vary={op.site: probe.seed + turn}, observe=follower)
        calls.append(follower.calls)
    longest, shortest = max(calls, key=Counter.total), min(calls, key=Counter.total)
    survivors = calls.count(longest)
    is_branch = (longest - shortest)["add"] == 1 and survivors + calls.count(shortest) == runs
    p_value = two_sided(survivors, runs, 1.0) if is_branch else 1.0
    return HandmadeMask(survivors, runs, 1.0, p_value, 1.0)


def scale_in_eval(probe: ModelProbe, source: Source) -> float:
    """The number that eval mode scales some activations by."""
    follower = MaskFollower(None)
    probe.runner.run(Mode.EVAL, probe.seed, observe=follower)
    if source not in follower.scales and source[0]:
        raise CannotMeasure("eval mode does not compute the activations that train mode drops")
    return follower.scales.get(source, 1.0)


def two_sided(successes: int, draws: int, rate: float) -> float:
    """P-value of the exact binomial test; a rate of one or more allows for no failure at all."""
    if rate >= 1:
        return 1.0 if successes == draws and rate == 1 else 0.0
    above = statistics.at_least(successes, draws, rate)
    below = 1 - statistics.at_least(successes + 1, draws, rate)
    return min(1.0, 2 * min(above, below))


class MaskFollower:
    """An observer that follows a draw by tensor identity: a tensor that depends on it alone is part of the mask.

    `mask` is what the first op that combines it with activations does to ones, `units` how many of its values are drawn
    independently, `source` where the activations come from, `factor` the product of the numbers that scale them before
    or afterwards. `scales` holds that product for all activations by their source, `calls` counts the calls on them.
    """

    def __init__(self, site: Site | None) -> None:
        self.mask: Tensor | None = None
        self.units = 0
        self.source: Source = ("", 0)
        self.factor = 1.0
        self.scales: dict[Source, float] = {}
        self._site = site
        self._seen: list[Any] = []  # keeps the tensors alive, so that no id is reused
        self._drawn = 0
        self._masks: set[int] = set()
        self._fixed: set[int] = set()
        """Constants, and what is computed from these and from other draws alone."""
        self._scaled: dict[int, tuple[Source, float]] = {}
        self._products: set[int] = set()
        self.calls: Counter[str] = Counter()

    def __call__(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        self._seen.append((args, kwargs, result))
        for each in tensors_in(args[0] if name == "setitem" else result):
            self._note(site, name, args, kwargs, each)

    def _note(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Tensor) -> None:
        inputs = [each for each in tensors_in((args[:1] if name in FORMING else args, kwargs)) if each.dim() > 0]
        masks = [each for each in inputs if id(each) in self._masks]
        values = [each for each in inputs if id(each) not in self._masks | self._fixed]
        if site is not None and site == self._site:
            self._masks.add(id(result))
            self._drawn = result.numel()
        elif name in FACTORIES or KINDS.get(name) is Kind.RANDOM or not (values or masks) or is_zeroed(name, args):
            self._fixed.add(id(result))
        elif not values:
            self._masks.add(id(result))
        elif masks and self.mask is None and (mask := dropped(name, args, kwargs, values)) is not None:
            self._drop(mask, values[0], result)
        elif len(values) < len(inputs) and not masks:  # another draw drops some of it
            self._scaled[id(result)] = self._source_of(values[0])
        else:
            self._compute(name, args, values[0], result)

    def _drop(self, mask: Tensor, values: Tensor, result: Tensor) -> None:
        self.mask, self.units = mask, min(mask.numel(), self._drawn)
        self.source, self.factor = self._scaled[id(result)] = self._source_of(values)
        self._products.add(id(result))

    def _compute(self, name: str, args: Any, values: Tensor, result: Tensor) -> None:
        number = 1.0 if KINDS.get(name) is Kind.IDENTITY else scaling(name, args)
        is_product = id(values) in self._products
        if number is not None:
            source, factor = self._source_of(values)
            factor *= number
            if is_product:
                self.factor = factor
                self._products.add(id(result))
        else:
            source, factor = (name, self.calls[name]), 1.0
            self.calls[name] += 1
        self._scaled[id(result)] = source, factor
        self.scales[source] = factor

    def _source_of(self, values: Tensor) -> tuple[Source, float]:
        """The source of some activations, and what scales them; what no call of this run returned is an input."""
        if id(values) not in self._scaled:
            self._scaled[id(values)] = ("", self.calls[""]), 1.0
            self.calls[""] += 1
        return self._scaled[id(values)]


def dropped(name: str, args: Any, kwargs: Any, values: list[Tensor]) -> Tensor | None:
    """What a call does to ones in place of its activations; None for a call that drops nothing."""
    if len(values) != 1 or name not in {"mul", "where", *FILLS}:
        return None
    ones = torch.ones_like(values[0])
    inputs = [ones if each is values[0] else each for each in args]
    if name == "setitem":
        ones[inputs[1]] = inputs[2]
        return ones
    named = {key: ones if each is values[0] else each for key, each in kwargs.items()}
    result: Tensor = getattr(torch, name)(*inputs, **named)
    return result


def scaling(name: str, args: Any) -> float | None:
    """The number that a call scales its one tensor by; None for any other call."""
    if name not in ("mul", "div", "truediv") or len(args) < 2:
        return None
    numbers = [float(each) for each in args[:2] if isinstance(each, (int, float)) or is_scalar(each)]
    if len(numbers) != 1 or numbers[0] == 0:
        return None
    return numbers[0] if name == "mul" else 1 / numbers[0]


def is_zeroed(name: str, args: Any) -> bool:
    """Whether a call multiplies by the number zero."""
    return name == "mul" and any(isinstance(each, (int, float)) and each == 0 for each in args)


def is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0
