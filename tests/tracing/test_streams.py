"""Random numbers that no torch call shows: that they were drawn, by what, and on which line."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.core.finding import Verdict
from regcheck.core.graph import Gate, Kind, Mode
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.record import record
from regcheck.tracing.strategies import trace_model
from regcheck.tracing.streams import hidden_draws

X = torch.randn(4, 8)


class Model(nn.Module):
    def __init__(self, forward: Callable[..., Any], noise: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.noise = noise
        self.function = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, self.linear(x))


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class Box:
    """An object of TorchScript's own, which no other interpreter can make."""

    def __init__(self, by: float) -> None:
        self.by = by


class Boxed(nn.Module):
    """A script that cannot be run op by op."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.part(x)
        return y * Box(2.0).by


@pytest.fixture
def scripted() -> nn.Module:
    return torch.jit.script(Boxed(Noise()))  # type: ignore[no-any-return]


@torch.library.custom_op("regcheck_tests::noise", mutates_args=())
def noise(x: torch.Tensor) -> torch.Tensor:
    """A custom operator that draws and does not say so."""
    return x + torch.rand_like(x)


@torch.library.custom_op("regcheck_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    """A custom operator that draws nothing."""
    return x * 2


def test_an_opaque_script_that_draws_is_proven_by_its_line(scripted: nn.Module) -> None:
    """It is one random op at the line that calls it; varying what it draws changes the predictions."""

    def forward(self: Any, h: torch.Tensor) -> Any:
        return self.linear(self.noise(h))

    (finding,) = audit(Model(forward, scripted), X).findings
    assert (finding.code, finding.line) == ("REG203", forward.__code__.co_firstlineno + 1)
    assert finding.evidence.verdict is Verdict.CONFIRMED


def test_a_custom_operator_that_draws_is_proven_and_one_that_does_not_is_silent() -> None:
    """What an operator draws is told by the generator, not by what the operator says of itself."""
    (finding,) = audit(Model(lambda self, h: noise(h)), X).findings
    assert finding.code == "REG203" and finding.evidence.verdict is Verdict.CONFIRMED
    assert "regcheck_tests::noise" in finding.message
    silent = audit(Model(lambda self, h: twice(h)), X)
    assert not silent.findings and not silent.not_checked


def test_a_draw_of_an_operator_that_follows_the_mode_has_that_gate() -> None:
    """A custom operator called in train mode only is gated by the mode."""
    graph = trace_model(Model(lambda self, h: noise(h) if self.training else h), "model", Inputs((X,))).graph
    assert [graph.gate(op) for op in graph.randoms(Mode.TRAIN)] == [Gate.MODE]
    assert not [*graph.randoms(Mode.EVAL)]


def test_an_opaque_script_that_draws_nothing_is_not_random() -> None:
    """It is not called random."""
    graph = trace_model(
        Model(lambda self, h: self.noise(h), torch.jit.script(Boxed(nn.ReLU()))), "model", Inputs((X,))
    ).graph
    assert Kind.OPAQUE in {op.kind for op in graph.eval}
    assert not [*graph.randoms(Mode.EVAL)]


def python(self: Any, h: torch.Tensor) -> Any:
    return h * random.uniform(0.5, 1.5)


def with_numpy(self: Any, h: torch.Tensor) -> Any:
    scale = helped()
    return h * scale


def helped() -> float:
    unused = 1.0
    return unused + float(numpy.random.rand())


def rattled(x: torch.Tensor) -> torch.Tensor:
    return x + torch.rand_like(x)


def with_script(self: Any, h: torch.Tensor) -> Any:
    h = F.dropout(h, 0.1, training=False)
    return self.scripted(h)


@pytest.mark.parametrize(
    ("forward", "source", "line"),
    [
        (python, "random", python.__code__.co_firstlineno + 1),
        (with_numpy, "numpy.random", helped.__code__.co_firstlineno + 2),
        (with_script, "torch", with_script.__code__.co_firstlineno + 2),
    ],
)
def test_a_hidden_draw_is_named_by_its_line(forward: Callable[..., Any], source: str, line: int) -> None:
    """The report says whose random numbers the predictions depend on, and where they are drawn."""
    model = Model(forward)
    model.scripted = torch.jit.script(rattled)
    report = audit(model, X)
    entries = [*report.findings, *report.not_checked]
    assert [(Path(each.path or "").resolve(), each.line) for each in entries] == [(Path(__file__), line)]
    assert f"`{source}`" in (report.findings[0].message if report.findings else report.not_checked[0].reason)
    assert bool(report.findings) == (source != "torch")


def test_known_draws_are_not_hidden() -> None:
    """What torch's own calls draw, an op tells: it is not named a second time."""

    def forward(self: Any, h: torch.Tensor) -> Any:
        return F.dropout(h, 0.5) + torch.randn_like(h) + torch.distributions.Gamma(1.0, 1.0).sample()

    assert not record(Model(forward), (X,), {}).drew_elsewhere
    assert not hidden_draws(Model(forward), (X,), {})


def test_looking_for_draws_leaves_the_tracer_of_a_debugger_alone() -> None:
    """A trace function that was set stays set, also when forward raises."""

    def tracer(frame: Any, event: str, arg: Any) -> None:
        return None

    def forward(self: Any, h: torch.Tensor) -> Any:
        raise ValueError(str(random.random()))

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        found = hidden_draws(Model(forward), (X,), {})
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert [draw.source for draw in found] == ["random"]
