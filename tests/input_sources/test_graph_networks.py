"""Example inputs of graph networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regcheck.plugins import example_inputs

from ..accepted_inputs import first


class MessagePassing(nn.Module):
    """Sums the messages of a node's neighbours."""

    def __init__(self, in_channels: int, edge_dim: int) -> None:
        super().__init__()
        self.in_channels, self.edge_dim = in_channels, edge_dim
        self.node, self.edge = nn.Linear(in_channels, 4), nn.Linear(edge_dim, 4)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor) -> Tensor:
        source, target = edge_index
        messages = self.node(x)[source] + self.edge(edge_attr)
        nodes = torch.zeros(len(x), 4).index_add(0, target, messages)
        return torch.zeros(int(batch.max()) + 1, 4).index_add(0, batch, nodes)


def test_a_graph_network_gets_a_graph() -> None:
    """Nodes, edges in both directions, edge features and the batch fit one another."""
    model = MessagePassing(7, 3)
    x, edges, features, batch = first(model, example_inputs(model)).args
    assert x.shape == (16, 7) and features.shape == (edges.shape[1], 3) and batch.unique().tolist() == [0, 1, 2, 3]
    assert {*map(tuple, edges.T.tolist())} == {*map(tuple, edges.flip(0).T.tolist())}
    assert (batch[edges[0]] == batch[edges[1]]).all()
