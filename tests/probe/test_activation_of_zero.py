"""What an activation returns for dropped units."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode
from regcheck.core.measurements.activation_of_zero import ActivationOfZero
from regcheck.probe.devices import chosen
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

X = torch.randn(64, 32, 5, generator=torch.Generator().manual_seed(0))


class Doing(nn.Module):
    """A dropout and whatever else."""

    def __init__(self, does: Any) -> None:
        super().__init__()
        self.does = does

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.does(x, self.training)
        return result


def measured(does: Any, x: torch.Tensor = X, device: str = "cpu") -> ActivationOfZero:
    model = Doing(does)
    graph = trace_model(model, "model", Inputs((x,))).graph
    (op,) = graph.dropouts(Mode.TRAIN)
    return ModelProbe(Runner(model, (x,), {}, device), graph, 0).measure(ActivationOfZero, op)


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize(
    ("does", "activation", "value"),
    [
        (lambda x, on: torch.sigmoid(F.dropout(x, 0.3, on)), "sigmoid", 0.5),
        (lambda x, on: F.dropout(x, 0.3, on).sigmoid_(), "sigmoid", 0.5),
        (lambda x, on: F.softplus(F.dropout1d(x, 0.3, on).transpose(1, 2)), "softplus", math.log(2)),
        (lambda x, on: F.dropout(x, 0.3, on)[:, :7].flatten(1).exp(), "exp", 1.0),
        (lambda x, on: torch.tanh(F.dropout(x, 0.3, on)), "tanh", 0.0),
        (lambda x, on: F.dropout(torch.sigmoid(x), 0.3, on), "", 0.0),
        (lambda x, on: torch.sigmoid(F.dropout(x, 0.3, on) @ torch.ones(5, 5)), "", 0.0),
    ],
)
def test_a_dropped_unit_is_followed_to_the_next_activation(
    device: str, does: Any, activation: str, value: float
) -> None:
    """It becomes f(0) in the activation right behind, or zero where there is none, for a share of p (α = 1e-6)."""
    found = measured(does, device=device)
    assert (found.activation, found.value) == (activation, pytest.approx(value, abs=1e-6))
    assert found.is_expected
    assert found.units >= 2_000


def test_the_level_is_that_of_units_not_dropped() -> None:
    """It is the average size of what the activation makes without the dropout."""
    found = measured(lambda x, on: F.softplus(F.dropout(x, 0.3, on)))
    assert found.level == pytest.approx(float(F.softplus(X).mean()), rel=1e-6)


def test_a_mask_of_another_share_is_told() -> None:
    """A dropout of what was rectified before counts only what it drops; one of repeated values is not as expected."""
    assert measured(lambda x, on: torch.sigmoid(F.dropout(x.relu(), 0.3, on))).is_expected
    uneven = measured(lambda x, on: torch.sigmoid(F.dropout(x, 0.3, on)[:, [0] * 5000]), torch.ones(4, 5000))
    assert not uneven.is_expected  # one of four samples at a time is far from 0.3


def test_what_dropping_does_not_change_is_not_measured() -> None:
    """Zeros stay zeros, and alpha dropout sets nothing to zero."""
    with pytest.raises(CannotMeasure, match="is the same when all units are dropped"):
        measured(lambda x, on: torch.sigmoid(F.dropout(x * 0, 0.3, on)))
    with pytest.raises(CannotMeasure, match="zeroes units"):
        measured(lambda x, on: torch.sigmoid(F.alpha_dropout(x, 0.3, on)))
