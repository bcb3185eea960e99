"""REG203 in runs: forwards that draw numbers from generators of Python and NumPy, and right twins of them."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.audit import audit

X = torch.randn(6, 8)
generator = np.random.default_rng(5)


class Tide(nn.Module):
    """Hands its hidden values to a function in both modes, or in train mode alone."""

    def __init__(self, disturb: Callable[[Any, torch.Tensor], torch.Tensor], gated: bool) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)
        self.disturb, self.gated = disturb, gated
        self.own, self.legacy, self.python = np.random.default_rng(2), np.random.RandomState(3), random.Random(4)

    def forward(self, x: torch.Tensor) -> Any:
        h = torch.relu(self.inner(x))
        if self.training or not self.gated:
            h = self.disturb(self, h)
        return self.outer(h)


def scaled(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * random.uniform(0.5, 1.5)


def shifted(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h + torch.from_numpy(np.random.randint(0, 9, size=tuple(h.shape))).float()


def shuffled(model: Any, h: torch.Tensor) -> torch.Tensor:
    order = [*range(16)]
    random.shuffle(order)
    return h[:, order]


def noisy_by_its_own(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h + float(model.own.normal())


def noisy_by_a_legacy_one(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * float(model.legacy.rand())


def noisy_by_a_python_one(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * model.python.gauss(1.0, 0.5)


def noisy_by_the_file(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h + float(generator.standard_normal())


def drawn_in_vain(model: Any, h: torch.Tensor) -> torch.Tensor:
    np.random.rand()
    return h


def seeded_each_time(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * float(np.random.default_rng(7).uniform(0.5, 1.5))


def by_a_new_generator(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * float(np.random.default_rng().uniform(0.5, 1.5))


def by_the_system(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * (os.urandom(4)[0] / 255)


def by_the_clock(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h * (time.perf_counter() % 1)


def sampled(model: Any, h: torch.Tensor) -> torch.Tensor:
    return h + torch.from_numpy(np.random.randn(16)).float()


def line_in(function: Callable[..., Any], offset: int = 1) -> int:
    return function.__code__.co_firstlineno + offset


DRAWS = [
    (scaled, 1),
    (shifted, 1),
    (shuffled, 2),
    (noisy_by_its_own, 1),
    (noisy_by_a_legacy_one, 1),
    (noisy_by_a_python_one, 1),
    (noisy_by_the_file, 1),
]


@pytest.mark.parametrize(("disturb", "offset"), DRAWS, ids=[each.__name__ for each, _ in DRAWS])
def test_a_draw_outside_of_torch_is_confirmed(disturb: Any, offset: int) -> None:
    """An audit confirms the line whose numbers change predictions, and nothing where only train mode draws."""
    states = repr(generator.bit_generator.state), random.getstate()
    (found,) = audit(Tide(disturb, gated=False), X).findings
    assert (found.code, found.line, found.severity) == ("REG203", line_in(disturb, offset), Severity.ERROR)
    assert found.evidence.verdict is Verdict.CONFIRMED
    right = audit(Tide(disturb, gated=True), X)
    assert (right.findings, right.not_checked) == ((), ())
    assert (repr(generator.bit_generator.state), random.getstate()) == states


@pytest.mark.parametrize("disturb", [drawn_in_vain, seeded_each_time])
def test_numbers_that_change_nothing_are_right(disturb: Any) -> None:
    """A draw that reaches no prediction, and one that is the same each time, are silent."""
    report = audit(Tide(disturb, gated=False), X)
    assert (report.findings, report.not_checked) == ((), ())


@pytest.mark.parametrize("disturb", [by_a_new_generator, by_the_system, by_the_clock])
def test_numbers_that_no_seed_determines_are_not_checked(disturb: Any) -> None:
    """Predictions that differ though all streams begin alike are not clean."""

    class Exposed(Tide):
        def forward(self, x: torch.Tensor) -> Any:
            return (by_a_new_generator, by_the_system, by_the_clock) and super().forward(x)

    report = audit(Exposed(disturb, gated=False), X)
    assert report.findings == ()
    assert "with the same seeds" in report.not_checked[0].reason
    assert not audit(Exposed(disturb, gated=True), X).not_checked


def test_each_line_is_measured_apart() -> None:
    """Of two lines that draw from one stream, the one without an effect is refuted."""

    def both(model: Any, h: torch.Tensor) -> torch.Tensor:
        np.random.rand()
        return h * np.random.rand()

    assert [each.line for each in audit(Tide(both, gated=False), X).findings] == [line_in(both, 2)]


def test_numbers_that_are_meant_are_advice() -> None:
    """Sampling by name, noise that a layer reads alone, and numbers within a loss are advice."""

    class Generates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(torch.cat([torch.from_numpy(np.random.randn(6, 4)).float(), x], 1))

    class Hidden(Tide):
        def forward(self, x: torch.Tensor) -> Any:
            return (super().forward(x) - 1).square().mean()

    for model in (Tide(sampled, gated=False), Generates(), Hidden(scaled, gated=False)):
        (found,) = audit(model, X, options={"extend_select": ["REG203"]}).findings
        assert found.severity is Severity.INFO
