"""The shift of variance at a batch norm's input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode
from regcheck.core.measurements.variance_shift import VarianceShift
from regcheck.probe.devices import chosen
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

X = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))


def shift(model: nn.Module, device: str) -> VarianceShift:
    """Of the only dropout of a model."""
    graph = trace_model(model, "model", Inputs((X,))).graph
    (op,) = graph.dropouts(Mode.TRAIN)
    return ModelProbe(Runner(model, (X,), {}, device), graph, 0).measure(VarianceShift, op)


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_shift_behind_a_linear_layer_is_the_papers(device: str, rate: float) -> None:
    """The median channel's Var + p/(1-p) Σ w² E[x²] over Var lies among 20 masks' figures (each side: 2⁻²⁰)."""
    model = nn.Sequential(nn.Dropout(rate), nn.Linear(16, 33), nn.BatchNorm1d(33))
    with torch.no_grad():
        calm = model[1](X).double().var(0, correction=0)
        noise = rate / (1 - rate) * X.double().square().mean(0) @ model[1].weight.double().square().t()
    predicted = float(((calm + noise) / calm).median())
    found = shift(model, device)
    assert min(found.ratios) <= predicted <= max(found.ratios)
    assert min(found.ratios) <= found.expected <= max(found.ratios)


def test_noise_that_no_batch_norm_sees_shifts_nothing() -> None:
    """Behind the last batch norm all ratios are one; without any batch norm nothing is measured."""
    model = nn.Sequential(nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Linear(16, 4))
    found = shift(model, "cpu")
    assert {*found.ratios, found.expected} == {1.0}
    bare = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, 4))
    with pytest.raises(CannotMeasure, match="no batch norm"):
        shift(bare, "cpu")
