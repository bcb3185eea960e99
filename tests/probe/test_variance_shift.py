"""The shift of variance at a batch norm's input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import regcheck
from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements.variance_shift import VarianceShift
from regcheck.probe.devices import chosen
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

X = torch.randn(512, 16, generator=torch.Generator().manual_seed(0))


def shift(model: nn.Module, device: str, rows: int = len(X), threshold: float = 1.25) -> VarianceShift:
    """Of the only dropout of a model, on the first rows."""
    graph = trace_model(model, "model", Inputs((X[:rows],))).graph
    (op,) = graph.dropouts(Mode.TRAIN)
    return ModelProbe(Runner(model, (X[:rows],), {}, device), graph, 0).measure(VarianceShift, op, threshold)


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


class Joined(nn.Module):
    """A batch norm of its input beside a dropped layer of it, as in a dense block."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.drop, self.norm = nn.Linear(16, 8), nn.Dropout(0.5), nn.BatchNorm1d(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.norm(torch.cat([x, self.drop(self.layer(x))], 1)))


def test_channels_that_the_noise_does_not_reach_are_left_out() -> None:
    """Where a third of a norm's channels is dropped, the shift is that of these: 1 + p/(1-p) E[x²]/Var, about 2."""
    assert 1.9 < shift(Joined(), "cpu").expected < 2.3


@pytest.mark.parametrize("weights", range(8))
def test_few_samples_decide_as_many_do(weights: int) -> None:
    """With four samples some masks fall short of a large effect; whatever the weights are, their means show it."""
    torch.manual_seed(weights)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64))
    (finding,) = regcheck.audit(model, X[:4]).findings
    assert (finding.code, finding.evidence.verdict) == ("REG103", Verdict.CONFIRMED)


def test_an_effect_near_the_threshold_stays_undecided() -> None:
    """Masks on both sides of a threshold near their median decide nothing, and no further one is drawn."""
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm1d(64))
    ratios = shift(model, "cpu", rows=32).ratios
    found = shift(model, "cpu", rows=32, threshold=sorted(ratios)[len(ratios) // 2])
    assert found.is_above is None and found.ratios == ratios
