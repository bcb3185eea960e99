"""Capture a model's dropout call, and repeat it on ones to read its mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Drops, Op, Site
from regcheck.lazy_dataclass import dataclass
from regcheck.torch_api.functions import DROPPING

from .runner import Enough, Runner

UNITS = 20_000
"""A call is repeated until it has drawn this many units,"""

CALLS = 64
"""and at most this many times."""

_EACH_WEIGHT = {
    "need_weights": True,
    "average_attn_weights": False,
    "attn_mask": None,
    "key_padding_mask": None,
    "is_causal": False,
}
"""The arguments with which `F.multi_head_attention_forward` returns the dropped weights of each head, unmasked."""


@dataclass(frozen=True)
class Call:
    """A torch call as the model makes it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def capture(runner: Runner, op: Op, seed: int) -> Call:
    """Run the model in the op's mode up to the call that `op` stands for, and return that call.

    Raises:
        CannotMeasure: the call does not run.
    """
    calls: list[Call] = []

    def stop(function: Any, args: Any, kwargs: Any) -> Any:
        calls.append(Call(function, tuple(args), dict(kwargs)))
        raise Enough

    runner.plan(1, mode=op.mode)
    runner.run(op.mode, seed, replace={op.site: stop})
    if not calls:
        raise CannotMeasure(f"this call does not run in {op.mode.value} mode")
    return calls[0]


def dropped_by(site: Site, call: Call) -> Tensor:
    """Where one more call drops."""
    return on_ones(site, call) == 0


def on_ones(site: Site, call: Call) -> Tensor:
    """The result of one more call on ones, so that dropped units are zero also where the model's input is zero.

    Attention runs on equal queries and keys, and returns its own weights, or has an identity matrix of values.

    Raises:
        CannotMeasure: the call's result does not show its mask.
    """
    if site.function == "scaled_dot_product_attention":
        query, key = (torch.zeros_like(each) for each in call.args[:2])
        value = torch.eye(key.size(-2), dtype=key.dtype, device=key.device).expand(*key.shape[:-2], -1, -1)
        position, name, default = DROPPING[site.function].rate
        rate = call.kwargs.get(name, call.args[position] if len(call.args) > position else default)
        result: Tensor = call.function(query, key, value, dropout_p=rate)
        return result
    if site.function == "multi_head_attention_forward":
        inputs = (torch.zeros_like(each) for each in call.args[:3])
        weights: Tensor = call.function(*inputs, *call.args[3:], **{**call.kwargs, **_EACH_WEIGHT})[1]
        return weights
    if site.function not in DROPPING or DROPPING[site.function].drops is Drops.ATTENTION:
        raise CannotMeasure(f"`{site.function}` does not show its mask")
    dropped_input = call.args[0] if call.args else call.kwargs["input"]
    ones = torch.ones_like(dropped_input)
    result = call.function(ones, *call.args[1:], **{name: v for name, v in call.kwargs.items() if name != "input"})
    return result.relu_() if "alpha" in site.function else result  # alpha dropout sets dropped units below zero
