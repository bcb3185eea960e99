"""Recorded graphs that run: to the bit what the model returns, or the part that cannot run."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, seed, settings
from torch import Tensor, nn

from regcheck import audit, graph_module
from regcheck.core.errors import CannotTrace
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

from .. import random_models
from ..test_random_models import STEADY

OUTSIDE = torch.ones(8)


class Calling(nn.Module):
    """Some layers, and the forward given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(8, 8), nn.Linear(8, 8), nn.Dropout(0.5)
        self.norm, self.recurrent = nn.BatchNorm1d(8), nn.LSTM(8, 8, 2, dropout=0.5)
        self.attention = nn.MultiheadAttention(8, 2, 0.5)
        self.scale = nn.Buffer(torch.full((8,), 2.0))
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def in_place(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    hidden[:, :4].mul_(2)
    hidden += x
    result: Tensor = hidden.relu_() + hidden
    return result


def view_of_a_write(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    part = hidden[:, :4]
    hidden.relu_()
    return part + 1  # type: ignore[no-any-return]


STRAIGHT: dict[str, Callable[[Any, Tensor], Any]] = {
    "layers": lambda self, x: self.second(self.drop(self.norm(self.first(x)))),
    "a functional dropout": lambda self, x: F.dropout(self.first(x), 0.3, self.training) * self.scale,
    "a recurrent layer": lambda self, x: self.recurrent(x)[0],
    "attention": lambda self, x: self.attention(x, x, x)[0],
    "noise": lambda self, x: x + torch.randn_like(x),
    "parts of a result": lambda self, x: torch.cat(x.split([3, 5], 1)[::-1], 1),
    "slices": lambda self, x: self.first(x)[..., 2:] + self.first.weight[0, :6],
    "sizes": lambda self, x: self.first(x).reshape(x.size(0), -1) / x.size(1) ** 0.5,
    "two outputs": lambda self, x: {"first": self.first(x), "second": (self.second(x),)},
    "writes in place": in_place,
    "a reused layer": lambda self, x: self.first(self.first(x)),
}


@pytest.mark.parametrize("forward", STRAIGHT.values(), ids=STRAIGHT)
def test_a_straight_line_runs_to_the_bit(forward: Callable[[Any, Tensor], Any]) -> None:
    """On other inputs of these shapes, from the same random stream, the graph returns what the model returns."""
    model, x, other = Calling(forward), torch.randn(4, 8), torch.randn(4, 8)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    graph = graph_module(audit(model, x, options={"devices": ["cpu"]}).fx_graph, model, x)
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    torch.manual_seed(1)
    results = graph(other.clone())
    model.load_state_dict(before)
    torch.manual_seed(1)
    expected = model.train()(other.clone())
    leaves = [expected["first"], *expected["second"]] if isinstance(expected, dict) else [expected]
    assert all(torch.equal(one, another) for one, another in zip(results, leaves, strict=True))


def test_it_shares_the_parameters_of_the_model() -> None:
    """So gradients of its results reach them, and it can be trained in the model's place."""
    model, x = Calling(STRAIGHT["layers"]), torch.randn(4, 8)
    graph = graph_module(audit(model, x, options={"devices": ["cpu"]}).fx_graph, model, x)
    (result,) = graph(x)
    result.sum().backward()
    assert model.first.weight.grad is not None


def test_a_script_is_called_whole() -> None:
    """A scripted module that runs as it is, as this one that forks, is one call of the graph."""

    class Forking(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.jit.wait(torch.jit.fork(torch.relu, x))

    model, x = nn.Sequential(nn.Linear(8, 8), torch.jit.script(Forking())), torch.randn(4, 8)
    graph = graph_module(trace_model(model, "model", Inputs((x,), {})).fx_graph, model, x)
    assert "call_module" in {each.op for each in graph.graph.nodes}
    assert torch.equal(graph(x)[0], model(x))


def in_a_thread(self: Any, x: Tensor) -> Tensor:
    results: list[Tensor] = []
    thread = threading.Thread(target=lambda: results.append(x * 2))
    thread.start()
    thread.join()
    return self.first(results[0])  # type: ignore[no-any-return]


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "a branch on values": (lambda self, x: x * 2 if self.first(x).sum() > 0 else x, r"`gt`.* is read as a number"),
    "a tensor outside": (lambda self, x: self.first(x) * OUTSIDE, "`constant` is a tensor that the model does not own"),
    "a view of what is written to": (view_of_a_write, "computes something else than the model"),
    "another thread": (in_a_thread, "`opaque`.* is work that no recorded call does"),
    "a copy": (lambda self, x: torch.empty(4, 8).copy_(x) + self.first(x), "`copy`.* writes to a tensor"),
    "autocast": (
        lambda self, x: in_autocast(self, x),
        "computes something else than the model",
    ),
}


def in_autocast(self: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        hidden: Tensor = self.first(x)
    return hidden


@pytest.mark.parametrize(("forward", "reason"), REFUSED.values(), ids=REFUSED)
def test_the_part_that_cannot_run_is_named(forward: Callable[[Any, Tensor], Any], reason: str) -> None:
    """Nothing is returned that might compute something else."""
    model, x = Calling(forward), torch.randn(4, 8)
    traced = trace_model(model, "model", Inputs((x,), {}))
    with pytest.raises(CannotTrace, match=reason):
        graph_module(traced.fx_graph, model, x)


def runs(model_spec: Any) -> bool:
    """Whether the graph of a random model runs; asserts that it returns what the model returns."""
    with warnings.catch_warnings(), suppress(CannotTrace):
        warnings.simplefilter("ignore")  # what layers say of their own arguments is not what is tested
        model, (args, kwargs) = model_spec.built(), model_spec.inputs()
        report = audit(model, *args, options={"devices": ["cpu"], "confirm": False}, **kwargs)
        if report.fx_graph is not None:
            graph_module(report.fx_graph, model, *args, **kwargs)
            return True
    return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_graphs_of_random_models_run_or_are_refused() -> None:
    """Of a hundred models most have no part that is refused."""
    ran: list[bool] = []

    @seed(3)
    @settings(STEADY, derandomize=False, max_examples=100)
    @given(random_models.models())
    def lot(model_spec: Any) -> None:
        ran.append(runs(model_spec))

    lot()
    assert sum(ran) > len(ran) / 2
