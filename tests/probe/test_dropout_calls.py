"""Masks come from the captured call: its units, how many it drops, and whether it rescales the rest."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode
from regcheck.core.measurements.handmade_mask import HandmadeMask
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.probe import statistics
from regcheck.probe.devices import chosen
from regcheck.probe.measurements.handmade_mask import two_sided
from regcheck.probe.probes import ALPHA, ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

DEVICES = chosen(("auto",))


class Doing(nn.Module):
    """A linear layer and whatever else."""

    def __init__(self, does: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.does = does

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.does(self.linear(x), self.training)
        return result


def unit_mask(does: Any, x: torch.Tensor, device: str) -> UnitMask:
    model = Doing(does)
    graph = trace_model(model, "model", Inputs((x,))).graph
    (op,) = graph.dropouts(Mode.TRAIN)
    return ModelProbe(Runner(model, (x,), {}, device), graph, 0).measure(UnitMask, op)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("does", "shape", "axes"),
    [
        (lambda x, on: F.dropout(x, 0.3, on), (4, 5, 6), ()),
        (lambda x, on: F.dropout(x, 0.3, on, inplace=True), (4, 5, 6), ()),
        (lambda x, on: F.alpha_dropout(x, 0.3, on), (16, 6), ()),
        (lambda x, on: F.dropout1d(x, 0.3, on), (16, 6), (1,)),
        (lambda x, on: F.dropout1d(x, 0.3, on), (4, 5, 6), (2,)),
        (lambda x, on: F.dropout2d(x, 0.3, on), (16, 6), ()),
        (lambda x, on: F.dropout2d(x, 0.3, on), (4, 5, 3, 6), (2, 3)),
        (lambda x, on: F.dropout3d(x, 0.3, on), (8, 5, 3, 6), (1, 2, 3)),
        (lambda x, on: F.dropout3d(x, 0.3, on), (4, 5, 2, 3, 6), (2, 3, 4)),
    ],
)
@pytest.mark.filterwarnings("ignore:dropout2d")  # torch warns of a rank that it still takes
def test_a_unit_extends_as_torch_draws_it(
    device: str, does: Any, shape: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    """The axes of a unit are those torch shares a draw along, and the share dropped fits the rate (α = 1e-6)."""
    found = unit_mask(does, torch.randn(shape), device)
    assert (found.axes, found.shape, found.channel) == (axes, shape, len(shape) - 1)
    assert found.is_expected
    assert found.units >= 64


@pytest.mark.parametrize("device", DEVICES)
def test_attention_is_read_off_its_weights(device: str) -> None:
    """The share of attention weights dropped fits the rate whatever the attention (α = 1e-6)."""
    found = unit_mask(
        lambda x, on: F.scaled_dot_product_attention(x, x, x, dropout_p=0.4 * on), torch.randn(3, 7, 6), device
    )
    assert (found.shape, found.axes) == ((3, 7, 7), ())
    assert found.is_expected


def test_a_rectified_input_hides_no_drop() -> None:
    """What is dropped is counted also where the input is zero, and a rate of one drops everything."""
    found = unit_mask(lambda x, on: F.dropout(torch.relu(x) * 0, 0.25, on), torch.randn(64, 6), "cpu")
    assert found.is_expected
    assert unit_mask(lambda x, on: F.dropout(x, 1.0, on), torch.randn(8, 6), "cpu").share == 1


def handmade_mask(does: Any) -> HandmadeMask:
    model, x = Doing(lambda x, on: does(x, on) if on else x), torch.randn(256, 6)
    graph = trace_model(model, "model", Inputs((x,))).graph
    (op,) = (op for op in graph.train if op.kind is Kind.RANDOM)
    return ModelProbe(Runner(model, (x,), {}, "cpu"), graph, 0).measure(HandmadeMask, op)


@pytest.mark.parametrize(
    ("does", "scale"),
    [
        (lambda x, on: x * (torch.rand_like(x) < 0.8), 1.0),
        (lambda x, on: x * ((torch.rand_like(x) < 0.8) / 0.8), 1.25),
        (lambda x, on: x * (torch.rand_like(x) < 0.8) / 0.8, 1.25),
        (lambda x, on: x / 0.8 * (torch.rand_like(x) < 0.8), 1.25),
        (lambda x, on: x * torch.bernoulli(torch.full_like(x, 0.8)) * 0.8, 0.8),
        (lambda x, on: x * (torch.rand_like(x) + 0.8).floor().div(0.2), 5.0),
    ],
)
def test_a_mask_is_followed_to_the_product(does: Any, scale: float) -> None:
    """Its scale is found wherever it stands; only the one that makes up for dropping passes the test (α = 1e-6)."""
    found = handmade_mask(does)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert (found.p_value > ALPHA) is (scale == 1.25)
    assert found.mean == pytest.approx(0.8 * scale, rel=0.05)  # over ten standard deviations


def test_noise_is_no_mask() -> None:
    """A draw that does not become zeros and one other value is not measured."""
    with pytest.raises(CannotMeasure, match="mask of zeros"):
        handmade_mask(lambda x, on: x * (1 + torch.randn_like(x)))


@pytest.mark.parametrize(("successes", "draws", "rate"), [(3, 10, 0.5), (10, 10, 0.5), (0, 20, 0.2), (9, 30, 0.3)])
def test_the_two_sided_test_doubles_the_smaller_tail(successes: int, draws: int, rate: float) -> None:
    """Its p-value is twice the smaller of the two exact tails, and at most one."""
    terms = [math.comb(draws, k) * rate**k * (1 - rate) ** (draws - k) for k in range(draws + 1)]
    exact = min(1.0, 2 * min(sum(terms[: successes + 1]), sum(terms[successes:])))
    assert two_sided(successes, draws, rate) == pytest.approx(exact, rel=1e-9)


def test_the_sign_test_keeps_its_alpha() -> None:
    """Its two looks together have a false-alarm probability below 1e-6, and either with one run fewer would not."""
    first, second = 2.0**-statistics.SIGNS, statistics.at_least(statistics.MAJORITY, statistics.MORE_SIGNS, 0.5)
    assert first + second < ALPHA < 2.0 ** -(statistics.SIGNS - 1)
    assert first + statistics.at_least(statistics.MAJORITY - 1, statistics.MORE_SIGNS, 0.5) > ALPHA


@pytest.mark.parametrize(
    ("above", "runs", "decision"),
    [(20, 20, True), (19, 20, None), (1, 20, None), (0, 20, False), (37, 40, True), (36, 40, None), (3, 40, False)],
)
def test_the_sign_test_decides_what_most_runs_say(above: int, runs: int, decision: bool | None) -> None:
    """All runs of the first look, or 37 of 40, put the median on one side."""
    assert statistics.sign_test(above, runs) is decision
