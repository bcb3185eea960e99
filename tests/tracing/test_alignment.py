"""Calls met again in the other mode, also where the modes take different branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.graph import Gate, Graph
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model


class Layers(nn.Module):
    """Four layers run in a loop by the function given."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.drops = nn.ModuleList(nn.Dropout(0.1 * (index + 1)) for index in range(4))
        self.function = forward
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


def gates(forward: Callable[..., Any]) -> set[tuple[float | None, Gate]]:
    graph: Graph = trace_model(Layers(forward), "model", Inputs((torch.randn(4, 8),))).graph
    return {(op.rate, graph.gate(op)) for flow in (graph.train, graph.eval) for op in flow if op.drops or op.active}


def skipping(self: Any, x: torch.Tensor) -> Any:
    for index, layer in enumerate(self.layers):
        if not self.training or index > 1:
            x = F.dropout(layer(x), 0.1 * (index + 1), self.training)
    return x


def skipping_modules(self: Any, x: torch.Tensor) -> Any:
    for index, (layer, drop) in enumerate(zip(self.layers, self.drops, strict=True)):
        if not self.training or index > 1:
            x = drop(layer(x))
    return x


def skipping_mixed(self: Any, x: torch.Tensor) -> Any:
    for index, layer in enumerate(self.layers):
        if not self.training or index != 1:
            x = F.dropout(layer(x), 0.5, self.training or index == 3)
    return x


def always(self: Any, x: torch.Tensor) -> Any:
    for layer in self.layers[: 2 if self.training else 4]:
        x = F.dropout(layer(x), 0.5)
    return x


def auxiliary(self: Any, x: torch.Tensor) -> Any:
    if self.training:
        x = x * torch.bernoulli(torch.full_like(x, 0.5))
        return F.dropout(self.layers[0](x), 0.2), F.dropout(self.layers[1](x), 0.3)
    return F.dropout(self.layers[0](x), 0.4)


def cached(self: Any, x: torch.Tensor) -> Any:
    if "drawn" not in self.cache:
        self.cache["drawn"] = F.dropout(x, 0.5, self.training)
    return self.layers[0](self.cache["drawn"])


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (skipping, {(0.1, Gate.MODE), (0.2, Gate.MODE), (0.3, Gate.MODE), (0.4, Gate.MODE)}),
        (skipping_modules, {(0.1, Gate.NEVER), (0.2, Gate.NEVER), (0.3, Gate.MODE), (0.4, Gate.MODE)}),
        (skipping_mixed, {(0.5, Gate.UNKNOWN)}),
        (always, {(0.5, Gate.ALWAYS)}),
        (auxiliary, {(None, Gate.MODE), (0.2, Gate.MODE), (0.3, Gate.MODE), (0.4, Gate.ALWAYS)}),
        (cached, {(0.5, Gate.NEVER)}),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_gates_where_the_modes_differ(forward: Callable[..., Any], expected: set[tuple[float | None, Gate]]) -> None:
    """Turns that differ in number are not paired: the gate is what all agree on, or unknown."""
    found = {(None if rate is None else round(rate, 1), gate) for rate, gate in gates(forward)}
    assert found == expected
