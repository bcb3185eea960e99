"""Ops say whether the parameters that they consume are trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regcheck.core.graph import Flow, Kind, Mode
from regcheck.tracing import symbolic
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.lower import lower_graph
from regcheck.tracing.strategies import trace_model


class Net(nn.Module):
    """A frozen backbone with a norm, and a head of which only the bias is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 2)
        self.head.weight.requires_grad = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.backbone(x) * self.scale))


def flows(how: str) -> list[Flow]:
    """The flows of the network: recorded, recorded on fake tensors, or traced symbolically."""
    if how == "symbolic":
        trace = symbolic.trace(Net()).recording
        return [lower_graph(trace.graph, trace.outputs, Mode.TRAIN)]
    given = None if how == "fake" else Inputs((torch.randn(3, 4),))
    graph = trace_model(Net().to("meta") if how == "fake" else Net(), "net", given).graph
    return [graph.train, graph.eval]


@pytest.mark.parametrize("how", ["recorded", "fake", "symbolic"])
def test_an_op_is_trained_if_any_of_its_parameters_is(how: str) -> None:
    """Frozen layers and parameters say False, partly trained ones True, and what has no parameters None."""
    for flow in flows(how):
        said = {op.kind: op.requires_grad for op in flow if op.kind is not Kind.PARAMETER}
        assert said[Kind.BATCH_NORM] is False
        assert said[Kind.COMBINE] is True
        assert said[Kind.ACTIVATION] is None
        linear = [op.requires_grad for op in flow if op.kind is Kind.LINEAR]
        assert linear == [False, True]
        parameters = {op.site.function: op.requires_grad for op in flow if op.kind is Kind.PARAMETER}
        assert parameters["scale"] is True
        assert (parameters.get("head.weight"), parameters.get("head.bias")) in ((False, True), (None, None))
