"""PyG: graph networks, on one small graph."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry, Unbuildable

NODES, WIDTH = 8, 16
RING = torch.stack([torch.arange(NODES), (torch.arange(NODES) + 1) % NODES])
EDGES = torch.cat([RING, RING.flip(0)], 1)
PLAIN = {"in_channels": WIDTH, "hidden_channels": WIDTH, "num_layers": 2, "out_channels": 4, "dropout": 0.2}
FEATURES: dict[str, Any] = {"x": torch.randn(NODES, WIDTH), "edge_index": EDGES}
ONE_GRAPH = torch.zeros(NODES, dtype=torch.int64)
COUNTING = {"aggregators": ["mean", "max"], "scalers": ["identity"], "deg": torch.tensor([0, 0, NODES])}

MODELS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("GCN", PLAIN, FEATURES),
    ("GraphSAGE", PLAIN, FEATURES),
    ("GIN", PLAIN, FEATURES),
    ("GAT", PLAIN, FEATURES),
    ("EdgeCNN", PLAIN, FEATURES),
    ("PNA", {**PLAIN, **COUNTING}, FEATURES),
    ("MLP", PLAIN, {"x": FEATURES["x"]}),
    ("GraphUNet", {"in_channels": WIDTH, "hidden_channels": WIDTH, "out_channels": 4, "depth": 2}, FEATURES),
    ("LightGCN", {"num_nodes": NODES, "embedding_dim": WIDTH, "num_layers": 2}, {"edge_index": EDGES}),
    ("LINKX", {**PLAIN, "num_nodes": NODES}, FEATURES),
    ("RECT_L", {"in_channels": WIDTH, "hidden_channels": WIDTH}, FEATURES),
    (
        "AttentiveFP",
        {**PLAIN, "edge_dim": 5, "num_timesteps": 2},
        {**FEATURES, "edge_attr": torch.randn(EDGES.shape[1], 5), "batch": ONE_GRAPH},
    ),
)

LEFT_OUT = {"SchNet": "needs pyg-lib", "DimeNetPlusPlus": "needs pyg-lib", "ViSNet": "needs pyg-lib"}


def entries(library: str) -> Iterator[Entry]:
    """Models of the library, and two as its users write them."""
    import torch_geometric.nn as geometric
    from torch_geometric.data import Data

    for name, configuration, arguments in MODELS:
        if hasattr(geometric.models, name):
            build = partial(getattr(geometric.models, name), **configuration)
            yield Entry(library, name, build, partial(given, (), arguments))
    for name, reason in LEFT_OUT.items():
        yield Entry(library, name, partial(left_out, reason))
    data = Data(**FEATURES)
    yield Entry(library, "a network of a Data object", partial(OfData, geometric), partial(given, (data,), {}))
    pooled = {**FEATURES, "batch": ONE_GRAPH}
    yield Entry(library, "a network that pools", partial(Pooling, geometric), partial(given, (), pooled))


def left_out(reason: str) -> nn.Module:
    raise Unbuildable(reason)


def given(args: tuple[Any, ...], kwargs: dict[str, Any], model: nn.Module) -> Arguments:
    return args, kwargs


class OfData(nn.Module):
    """Classifies nodes; takes the whole data object."""

    def __init__(self, geometric: Any) -> None:
        super().__init__()
        self.first, self.second = geometric.GCNConv(WIDTH, WIDTH), geometric.GATConv(WIDTH, 4, dropout=0.2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, data: Any) -> torch.Tensor:
        states = self.dropout(self.first(data.x, data.edge_index).relu())
        classes: torch.Tensor = self.second(states, data.edge_index)
        return classes


class Pooling(nn.Module):
    """Classifies graphs."""

    def __init__(self, geometric: Any) -> None:
        super().__init__()
        self.convolution, self.pool = geometric.GCNConv(WIDTH, WIDTH), geometric.global_mean_pool
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(WIDTH, 4))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        classes: torch.Tensor = self.head(self.pool(self.convolution(x, edge_index).relu(), batch))
        return classes
