"""What a dropout does to mean and variance, beside the other kind of dropout."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode
from regcheck.core.measurements.moments import Moments
from regcheck.probe.devices import chosen
from regcheck.probe.measurements.moments import divergence
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

X = torch.randn(64, 32, 5, generator=torch.Generator().manual_seed(0))
NORMAL = (X - X.mean()) / X.std(correction=0)


class Dropping(nn.Module):
    """An activation and a dropout behind it."""

    def __init__(self, act: Any, drop: Any) -> None:
        super().__init__()
        self.act, self.drop = act, drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.drop(self.act(x), self.training)
        return result


def moved(act: Any, drop: Any, x: torch.Tensor = NORMAL, device: str = "cpu") -> Moments:
    model = Dropping(act, drop)
    graph = trace_model(model, "model", Inputs((x,))).graph
    (op,) = graph.dropouts(Mode.TRAIN)
    return ModelProbe(Runner(model, (x,), {}, device), graph, 0).measure(Moments, op)


def plain(x: torch.Tensor, on: bool) -> torch.Tensor:
    return F.dropout(x, 0.2, on)


def alpha(x: torch.Tensor, on: bool) -> torch.Tensor:
    return F.alpha_dropout(x, 0.2, on)


def alpha_in_place(x: torch.Tensor, on: bool) -> torch.Tensor:
    return F.alpha_dropout(x, 0.2, on, inplace=True)


def maps(x: torch.Tensor, on: bool) -> torch.Tensor:
    return F.dropout1d(x, 0.2, on)


def alpha_maps(x: torch.Tensor, on: bool) -> torch.Tensor:
    return F.feature_alpha_dropout(x, 0.2, on)


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize(
    ("act", "drop", "worse"),
    [
        (F.selu, plain, True),
        (F.selu, alpha, False),
        (F.selu, alpha_in_place, False),
        (F.selu, maps, True),
        (F.selu, alpha_maps, False),
        (torch.relu, plain, False),
        (torch.relu, alpha, True),
        (torch.relu, maps, False),
        (torch.relu, alpha_maps, True),
    ],
)
def test_the_kind_that_fits_the_activation_moves_less(device: str, act: Any, drop: Any, worse: bool) -> None:
    """On normal values behind SELU alpha dropout moves less, behind ReLU the plain one, every time (2⁻²⁰ a side)."""
    found = moved(act, drop, device=device)
    assert (found.is_worse, found.is_better) == (worse, not worse)


def test_plain_dropout_moves_the_variance_as_predicted() -> None:
    """Given mean zero and variance one, it keeps the mean and makes the variance 1 / (1 - p) (five deviations)."""
    found = moved(lambda x: x, plain)
    assert found.before == pytest.approx((0, 1), abs=1e-5)
    assert found.after == pytest.approx((0, 1.25), abs=5 * math.sqrt(0.25 * 3 / 20_000))
    assert found.alternative == pytest.approx((0, 1), abs=5 * math.sqrt(3 / 20_000))


def test_small_activations_are_not_helped_by_alpha_dropout() -> None:
    """Behind a SELU far from variance one the plain dropout moves less, so that the suspicion is refuted."""
    assert moved(F.selu, plain, 0.1 * NORMAL).is_better


def test_the_divergence_is_that_of_normal_distributions() -> None:
    """It is torch's own, zero where nothing moves and infinite where all becomes one value."""
    before, after = ((0.3, 2.0), (-0.5, 0.7))
    first, second = (torch.distributions.Normal(mean, math.sqrt(variance)) for mean, variance in (after, before))
    assert divergence(before, after) == pytest.approx(float(torch.distributions.kl_divergence(first, second)), rel=1e-6)
    assert divergence(before, before) == 0
    assert divergence(before, (0.3, 0.0)) == math.inf


def test_what_has_no_moments_is_not_measured() -> None:
    """Values that do not vary, and a rate of one, allow for no comparison."""
    with pytest.raises(CannotMeasure, match="does not vary"):
        moved(torch.zeros_like, plain)
    with pytest.raises(CannotMeasure, match="below one"):
        moved(F.selu, lambda x, on: F.dropout(x, 1.0, on))
