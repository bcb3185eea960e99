"""What a dropping call drops, read off the very call: its function and arguments, made again on ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Graph, Op, Site
from regcheck.core.measurements import Stacked, UnitMask
from regcheck.reference.dropout import inverted_dropout
from regcheck.torch_api.functions import DROPPING

from . import statistics
from .interventions import Replacement, identity
from .reductions import constant_axes, pieces, tally
from .runner import Enough, Runner
from .seeds import seed_streams

UNITS = 20_000
"""The call is made until this many units were drawn,"""

CALLS = 64
"""and no more often than this."""

EXTENTS = {"linear": 0, **{f"conv{kind}{n}d": n for kind in ("", "_transpose") for n in (1, 2, 3)}}
"""How many axes follow that of the features in what a layer makes."""


@dataclass(frozen=True)
class Call:
    """A torch call as the model made it; `channel` is the axis of features of what it was given."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    channel: int | None


def caught(runner: Runner, op: Op, seed: int) -> Call:
    """The call that `op` stands for, as the model makes it in the op's mode.

    Raises:
        CannotMeasure: it is not made.
    """
    met: list[Call] = []
    channels: dict[tuple[int, ...], int] = {}

    def catch(function: Any, args: Any, kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("input")
        met.append(Call(function, tuple(args), dict(kwargs), channels.get(tuple(given.shape))))
        raise Enough

    def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        extents = EXTENTS.get(name)
        if extents is not None and isinstance(result, Tensor):
            channels[tuple(result.shape)] = result.dim() - 1 - extents

    runner.plan(1, mode=op.mode)
    runner.run(op.mode, seed, replace={op.site: catch}, observe=look)
    if not met:
        raise CannotMeasure(f"this call does not run in {op.mode.value} mode")
    return met[0]


def drawn(runner: Runner, op: Op, seed: int, alpha: float) -> UnitMask:
    """Make the call of `op` again and again on ones, and count what is dropped."""
    if op.rate is None:
        raise CannotMeasure("the rate of this dropout is not a number")
    call = caught(runner, op, seed)
    seed_streams(seed)
    with torch.no_grad():
        first = made_on_ones(op.site, call)
        shape, device, tallies = first.shape, first.device, [tally(first)]
        del first
        wanted = min(CALLS, -(-UNITS // max(shape.numel(), 1)))
        while len(tallies) < wanted:
            tallies.append(tally(made_on_ones(op.site, call)))
        axes = constant_axes(tallies)
        while len(tallies) < CALLS and len(tallies) * unit_count(shape, axes) < UNITS:
            tallies.append(tally(made_on_ones(op.site, call)))
    units = unit_count(shape, axes) * len(tallies)
    share = sum(each.zeros for each in tallies) / sum(each.size for each in tallies)
    interval = statistics.binomial_interval(units, op.rate, alpha)
    otherwise = feature_axes(shape, device, call.channel, op.rate, len(tallies))
    return UnitMask(share, units, op.rate, interval, axes, tuple(shape), call.channel, otherwise)


def stacked(runner: Runner, graph: Graph, op: Op, seed: int, alpha: float) -> Stacked:
    """Count what is zero behind `op` and would not be without it and the dropouts right before it."""
    chain = [op, *graph.dropouts_right_before(op)]
    elementwise = all(each.drops is Drops.ELEMENTS and "alpha" not in each.site.function for each in chain)
    if not elementwise or any(each.rate is None for each in chain):
        raise CannotMeasure("these are no elementwise dropouts to zero with rates that are numbers")

    def behind(turn: int, replace: dict[Site, Replacement] | None = None) -> Tensor:
        met: list[Tensor] = []

        def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
            if site == op.site:
                met.append(result.detach().clone())

        runner.run(op.mode, seed, vary={each.site: seed + turn for each in chain}, replace=replace, observe=look)
        if not met:
            raise CannotMeasure(f"this call does not run in {op.mode.value} mode")
        return met[0]

    runner.plan(2, mode=op.mode)
    clean = behind(0, {each.site: identity for each in chain})
    units = clean.numel() - tally(clean).zeros
    if units == 0:
        raise CannotMeasure("all that it is given is zero")
    together = 1 - math.prod(1 - (each.rate or 0.0) for each in chain)
    wanted, work = min(statistics.REPLAYS, -(-UNITS // units)), runner.operations * len(chain[:2])
    runs = runner.plan_share(units, wanted, together, alpha, mode=op.mode, work=work)
    total = units * runs

    def lost(replace: dict[Site, Replacement] | None = None) -> float:
        parts = (pair for turn in range(runs) for pair in pieces(behind(turn, replace), clean))
        return sum(int(((part == 0) & (whole != 0)).sum()) for part, whole in parts) / total

    share = lost()
    without = lost({each.site: identity for each in chain[1:]}) if chain[1:] else share
    interval = statistics.binomial_interval(total, together, alpha)
    return Stacked(share, total, op.rate or 0.0, together, interval, without)


def dropped_by(site: Site, call: Call) -> Tensor:
    """Where one more call drops."""
    return made_on_ones(site, call) == 0


def made_on_ones(site: Site, call: Call) -> Tensor:
    """What one more call makes of ones, so that what is dropped shows also where the input was zero: as zero.

    Attention is made on equal queries and keys, and reads its own weights off an identity matrix of values.
    """
    if site.function == "scaled_dot_product_attention":
        query, key = (torch.zeros_like(each) for each in call.args[:2])
        value = torch.eye(key.size(-2), dtype=key.dtype, device=key.device).expand(*key.shape[:-2], -1, -1)
        position, name, default = DROPPING[site.function].rate
        rate = call.kwargs.get(name, call.args[position] if len(call.args) > position else default)
        result: Tensor = call.function(query, key, value, dropout_p=rate)
        return result
    if site.function not in DROPPING or DROPPING[site.function].drops is Drops.ATTENTION:
        raise CannotMeasure(f"the mask of `{site.function}` cannot be read off")
    given = call.args[0] if call.args else call.kwargs["input"]
    ones = torch.ones_like(given)
    result = call.function(ones, *call.args[1:], **{name: v for name, v in call.kwargs.items() if name != "input"})
    return result.relu_() if "alpha" in site.function else result  # which leaves them below zero


def feature_axes(
    shape: torch.Size, device: torch.device, channel: int | None, rate: float, draws: int
) -> tuple[int, ...]:
    """The axes that a unit extends along in as many masks of the reference that drops features, of the same shape."""
    if channel is None:
        return ()
    kept = torch.Size((*shape[: channel + 1], *(1 for _ in shape[channel + 1 :])))
    ones = torch.ones(kept, device=device)
    masks = (inverted_dropout(ones, torch.rand(kept, device=device) >= rate, rate) for _ in range(draws))
    features = constant_axes([tally(each) for each in masks])
    return tuple(axis for axis, size in enumerate(shape) if size > 1 and (axis > channel or axis in features))


def unit_count(shape: torch.Size, axes: tuple[int, ...]) -> int:
    """How many draws a mask of a shape is made of."""
    return math.prod(size for axis, size in enumerate(shape) if axis not in axes)
