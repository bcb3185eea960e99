"""Ops of a model read from source say whether their parameters are trained, where the source tells."""

from __future__ import annotations

import pytest

from regcheck.core.graph import Graph, Kind
from regcheck.static.analyze import analyze
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.BatchNorm1d(4))
        self.scale = nn.Parameter(torch.ones(4))
        self.table = nn.Parameter(torch.ones(4), requires_grad=False)
        self.head = nn.Linear(4, 2)
        {here}

    def forward(self, x):
        return self.head(self.backbone(x) * self.scale + self.table)
"""


def read(source: str) -> Graph:
    graphs = analyze(Project([Source("net.py", source.encode())])).graphs
    return next(graph for graph in graphs if graph.subject == "Net")


def trained(graph: Graph) -> dict[str, bool | None]:
    """What each kind of op with parameters says, and the head apart from the backbone."""
    ops = {op.module or op.site.function: op for op in graph.train if op.kind is not Kind.INPUT}
    return {name: ops[name].requires_grad for name in ("head", "backbone.0", "backbone.1", "backbone.2", "mul", "add")}


FROZEN = {"backbone.0": False, "backbone.2": False}


@pytest.mark.parametrize(
    ("here", "says"),
    [
        ("pass", {}),
        ("self.backbone.requires_grad_(False)", FROZEN),
        ("self.backbone.requires_grad_(requires_grad=False)", FROZEN),
        ("for p in self.backbone.parameters():\n            p.requires_grad = False", FROZEN),
        ("for p in self.backbone.parameters(): p.requires_grad_(False)", FROZEN),
        ("self.requires_grad_(False)\n        self.head.requires_grad_(True)", {**FROZEN, "mul": False, "head": True}),
        ("self.backbone.requires_grad_(self.frozen)", {}),
        ("if self.freeze: self.backbone.requires_grad_(False)", {}),
        ("for name, p in self.named_parameters(): p.requires_grad = 'head' in name", {}),
    ],
)
def test_an_op_says_what_the_constructor_says(here: str, says: dict[str, bool]) -> None:
    """Frozen layers say False, layers set to train True, and all others, as layers without parameters, None."""
    nothing = dict.fromkeys(("head", "backbone.0", "backbone.1", "backbone.2", "mul"))
    assert trained(read(NET.format(here=here))) == {**nothing, "add": False, **says}


def test_a_program_may_freeze_a_part_of_its_model() -> None:
    """What a program freezes after it has built a model is frozen in that model's graph."""
    program = "net = Net()\nfor p in net.backbone.parameters():\n    p.requires_grad = False\nnet(torch.ones(2, 4))\n"
    graphs = analyze(Project([Source("net.py", (NET.format(here="pass") + program).encode())])).graphs
    assert [trained(graph)["backbone.0"] for graph in graphs if graph.subject == "Net"] == [False, None]
