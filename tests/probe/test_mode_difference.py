"""Predictions in two modes, run against run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.finding import Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.probe.devices import chosen
from regcheck.probe.measurements.mode_difference import change, difference_between
from regcheck.probe.runner import Runner

X = torch.randn(16, 8)


class Net(nn.Module):
    """A gated dropout of the rate given, beside whatever else is done."""

    def __init__(self, also: Callable[[torch.Tensor], torch.Tensor], rate: float, used: bool) -> None:
        super().__init__()
        self.first, self.drop, self.head = nn.Linear(8, 32), nn.Dropout(rate), nn.Linear(32, 3)
        self.also, self.used = also, used

    def forward(self, x: torch.Tensor) -> Any:
        x = self.also(torch.relu(self.first(x)))
        dropped = self.drop(x)
        return self.head(dropped if self.used else x)


def difference(model: nn.Module, device: str = "cpu") -> ModeDifference:
    modes = {path: True for path, _ in model.named_modules()}
    return difference_between(Runner(model, (X,), {}, device), Mode.EVAL, modes, 0)


ALSO: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nothing": lambda x: x,
    "an ungated dropout": lambda x: F.dropout(x, 0.5),
    "noise": lambda x: x + torch.randn_like(x),
}


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize("also", ALSO)
@pytest.mark.parametrize(("rate", "used"), [(0.3, True), (0.3, False), (0.0, True)])
def test_a_mode_matters_whatever_draws_in_both(also: str, rate: float, used: bool, device: str) -> None:
    """Beside what draws in eval mode, too, a gated dropout is confirmed exactly where it changes the prediction."""
    found = difference(Net(ALSO[also], rate, used), device)
    assert found.verdict is (Verdict.CONFIRMED if rate and used else Verdict.REFUTED)
    assert (found.relative > 0) is bool(rate and used)
    assert found.p_value < 1e-6


def test_an_input_passed_through_is_not_the_prediction() -> None:
    """The figures are those of the output that changes most, not of the first one."""

    class Passes(Net):
        def forward(self, x: torch.Tensor) -> Any:
            return {"observed": x, "count": torch.tensor(len(x)), "scores": super().forward(x)}

    found = difference(Passes(ALSO["nothing"], 0.5, True))
    assert found.verdict is Verdict.CONFIRMED
    assert found.relative > 0.01
    assert found.flips is not None


def test_predicted_classes_are_compared_one_by_one() -> None:
    """Of a model that returns nothing but classes, the share that changes is told."""

    class Labels(Net):
        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x).argmax(-1)

    torch.manual_seed(0)
    found = difference(Labels(ALSO["nothing"], 0.8, True))
    assert found.verdict is not Verdict.REFUTED
    assert 0 < found.relative <= 1


ONES = torch.ones(2, 4)


@pytest.mark.parametrize(("made", "reference", "relative", "flips"), [
    ([ONES], [ONES], 0.0, 0.0),
    ([ONES, 3 * ONES], [ONES, ONES], 2.0, 0.0),
    ([torch.eye(4)], [torch.eye(4).roll(1, 0)], math.sqrt(8 / 3), 1.0),
    ([torch.eye(4) + 9], [torch.eye(4).roll(1, 0) + 9], math.sqrt(8 / 3), 1.0),
    ([ONES], [0 * ONES], 1.0, 0.0),
    ([torch.tensor([1, 2, 3, 4])], [torch.tensor([1, 2, 3, 0])], 0.25, None),
    ([ONES, ONES], [ONES], math.inf, None),
    ([ONES[:1]], [ONES], math.inf, None),
    ([ONES, 2 * ONES, ONES], [ONES, ONES], 1.0, 0.0),
    ([ONES / 0], [ONES / 0], 0.0, 0.0),
    ([ONES / 0], [ONES], math.inf, None),
    ([2j * ONES], [1j * ONES], math.sqrt(2), 0.0),
])  # fmt: skip
def test_a_change_is_that_of_the_output_that_changes_most(
    made: list[torch.Tensor], reference: list[torch.Tensor], relative: float, flips: float | None
) -> None:
    """It is the root mean square change over the spread of the output's values, and infinite where shapes differ."""
    assert change(made, reference) == (pytest.approx(relative), flips)


def test_nothing_is_confirmed_without_an_effect() -> None:
    """An effect of zero is no proof, and an infinite one has no figure but a description."""
    assert ModeDifference(0.0, None, 12, 12, 0.0, 1e-7, 24).verdict is not Verdict.CONFIRMED
    infinite = ModeDifference(math.inf, None, 12, 12, 0.0, 1e-7, 24)
    assert infinite.effect.value is None
    assert "another shape" in infinite.describe("prediction", "in eval mode")
