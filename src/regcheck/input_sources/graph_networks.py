"""Inputs of graph networks: nodes, edges, and the batch that they make up."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from regcheck.hookspecs import hookimpl
from regcheck.tracing.example_inputs.argument_flow import ForwardReading
from regcheck.tracing.example_inputs.arguments import ForwardArgument, arguments_of, as_call, draws
from regcheck.tracing.example_inputs.call_inputs import Inputs
from regcheck.tracing.example_inputs.drawing import ids, smooth
from regcheck.tracing.example_inputs.following import follow
from regcheck.tracing.example_inputs.sizes import attribute

NODES, GRAPHS = 16, 4
ORIGIN = "a small graph"


@hookimpl
def regcheck_inputs(model: nn.Module) -> Iterator[Inputs]:
    """A small graph of four rings, for models whose forward asks for edges or that pass messages."""
    arguments = arguments_of(model) or []
    reading = follow(model)
    names = {each.name for each in arguments}
    asked = {root[1] for root in reading.attributes}
    if not ("edge_index" in names | asked or "adj_t" in names or _passes_messages(model)):
        return
    parts = Parts(model)
    required = [each for each in arguments if each.required]
    if "edge_index" not in names and len(required) == 1 and "torch_geometric.data" in sys.modules:
        yield Inputs((_data(parts, asked),), {}, ORIGIN)
        return
    for extra in ((), ("edge_attr", "edge_weight", "edge_type")):
        chosen = [each for each in arguments if each.required or each.name in extra]
        values = {each.name: _value_of(model, each, parts, reading) for each in chosen}
        yield as_call(chosen, values, ORIGIN)


def _passes_messages(model: nn.Module) -> bool:
    return any(base.__name__ == "MessagePassing" for each in model.modules() for base in type(each).__mro__)


def _value_of(model: nn.Module, argument: ForwardArgument, parts: Parts, reading: ForwardReading) -> Any:
    make: Callable[[], Any] | None = getattr(parts, argument.name, None)
    if make is not None:
        return make()
    options = draws(model, argument, reading)
    return options[0].make(parts.nodes) if options else None


def _data(parts: Parts, asked: set[str]) -> Any:
    names = {"x", "edge_index", "batch", *(name for name in asked if hasattr(Parts, name))}
    return sys.modules["torch_geometric.data"].Data(**{name: getattr(parts, name)() for name in sorted(names)})


class Parts:
    """The parts of a graph by their conventional names."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        count = self._size("num_nodes")
        self.nodes = count if isinstance(count, int) and 1 < count <= 4096 else NODES

    def _size(self, *names: str) -> Any:
        for module in self._model.modules():
            for name in names:
                value = attribute(module, name)
                if isinstance(value, (tuple, list)) and value:
                    value = value[0]
                if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                    return value
        return None

    def x(self) -> torch.Tensor:
        return smooth((self.nodes, self._size("in_channels", "in_features") or 16))

    def edge_index(self) -> torch.Tensor:
        """Both directions of each edge of the rings."""
        ring = max(self.nodes // GRAPHS, 1)
        one = torch.arange(self.nodes)
        other = one // ring * ring + (one + 1) % ring
        return torch.stack([torch.cat([one, other]), torch.cat([other, one])])

    pos_edge_index = neg_edge_index = edge_index

    def batch(self) -> torch.Tensor:
        return torch.arange(self.nodes) // max(self.nodes // GRAPHS, 1)

    def edge_attr(self) -> torch.Tensor:
        return smooth((2 * self.nodes, self._size("edge_dim") or 1))

    def edge_weight(self) -> torch.Tensor:
        return torch.ones(2 * self.nodes)

    def edge_type(self) -> torch.Tensor:
        return ids((2 * self.nodes,), self._size("num_relations") or 2)

    def z(self) -> torch.Tensor:
        return ids((self.nodes,), 9, {0})

    def pos(self) -> torch.Tensor:
        """Places in space: each ring on a circle of its own."""
        angle = torch.arange(self.nodes) * 1.3
        return torch.stack([angle.cos(), angle.sin(), torch.arange(self.nodes) * 0.3], -1)
