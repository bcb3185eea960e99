"""Replays of a run: equal to whole runs to the bit, and refused where they would not be."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, seed, settings
from torch import Tensor, nn

from regcheck.core.errors import CannotMeasure, CannotTrace
from regcheck.core.graph import Kind, Mode, Op
from regcheck.probe.interventions import identity
from regcheck.probe.memoized_calls import Diverged
from regcheck.probe.process_state import world_untouched
from regcheck.probe.runner import Runner
from regcheck.probe.work_plan import Budget
from regcheck.tracing.cost import overhead_of
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

from .. import random_models
from ..test_random_models import STEADY

X = torch.randn(4, 8)


class Calling(nn.Module):
    """A few layers, and the forward given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.recurrent = nn.LSTM(8, 8)
        self.count = nn.Buffer(torch.zeros(8))
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def drop(x: Tensor) -> Tensor:
    return F.dropout(x, 0.5)


def runs(model: nn.Module, args: Any, kwargs: Any, op: Op, mode: Mode, replayed: bool) -> tuple[list[Any], list[int]]:
    """The outputs of four runs that differ in `op` only, and their operations; a first run precedes them."""
    runner = Runner(model, args, kwargs, "cpu")
    runner.expect([op.site])
    behind = [op.site] if replayed else []
    changes: list[dict[str, Any]] = [{"vary": {op.site: turn}} for turn in (1, 2, 1)]
    changes.append({"replace": {op.site: identity}} if op.kind is Kind.DROPOUT else {})
    for attempt in range(2):
        outputs, operations = [], []
        try:
            runner.run(mode, 0, behind=behind)
            for change in changes:
                outputs.append(runner.run(mode, 0, behind=behind, **change))
                operations.append(runner.operations)
            break
        except Diverged:
            assert attempt == 0, "the second attempt runs all calls"
    return outputs, operations


def equal(one: list[list[Tensor]], other: list[list[Tensor]]) -> bool:
    """Whether runs have the same outputs, to the bit."""
    pairs = [pair for runs in zip(one, other, strict=True) for pair in zip(*runs, strict=True)]
    return all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in pairs)


def suspects(model: nn.Module, inputs: Inputs) -> Iterator[tuple[Op, Mode]]:
    with torch.no_grad():
        graph = trace_model(model, "model", inputs).graph
    for mode in Mode:
        for op in graph.flow(mode):
            if op.site.place is not None and op.active and op.kind in (Kind.DROPOUT, Kind.RANDOM):
                yield op, mode


@world_untouched()
def shares(model: nn.Module, args: Any, kwargs: Any) -> list[float]:
    """The largest operations of a replay relative to a whole run, for each random op; asserts equal outputs."""
    found = []
    for op, mode in suspects(model, Inputs(args, kwargs)):
        replays, fewer = runs(model, args, kwargs, op, mode, replayed=True)
        whole, all_operations = runs(model, args, kwargs, op, mode, replayed=False)
        assert equal(replays, whole), op.site
        found.append(max(fewer) / max(all_operations))
    return found


def written_later(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    dropped = drop(hidden)
    hidden.mul_(2)
    return dropped + hidden


def written_behind(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    hidden += drop(x)
    read: Tensor = self.second(hidden)
    return read


def statistics_read(self: Any, x: Tensor) -> Tensor:
    hidden = self.norm(self.first(x))
    return drop(hidden) * self.norm.running_mean


def recurrent(self: Any, x: Tensor) -> Tensor:
    hidden, (state, _) = self.recurrent(self.first(x))
    return drop(hidden) + state[0]


def ranked(self: Any, x: Tensor) -> Tensor:
    largest = self.first(x).topk(3)
    return drop(largest.values) + largest.indices


REPLAYED: dict[str, Callable[[Any, Tensor], Any]] = {
    "a head": lambda self, x: self.second(drop(self.first(self.first(x)))),
    "a residual": lambda self, x: (h := self.first(x)) + drop(h),
    "a memoized call in place": lambda self, x: (h := self.first(x)).relu_() + self.second(drop(h)),
    "a memoized write after a read": written_later,
    "a write of what depends": written_behind,
    "parts of a result": lambda self, x: torch.mul(*self.first(x).chunk(2, -1)) + drop(x[:, :4]),
    "named results": ranked,
    "running statistics": statistics_read,
    "a recurrent layer": recurrent,
    "a buffer": lambda self, x: self.count.add_(self.first(x).mean(0)) + drop(x),
    "an expanded tensor": lambda self, x: self.first(x)[:1].expand(4, 8) * drop(x),
    "a weight's view": lambda self, x: F.linear(drop(self.first(x)), self.second.weight.t()),
    "a branch on a memoized value": lambda self, x: drop(h) if (h := self.first(x)).sum() > 0 else drop(-h),
    "an output that does not depend": lambda self, x: (self.first(x), drop(x)),
    "numbers of what depends": lambda self, x: self.first(x) * drop(x).sum().item(),
}


@pytest.mark.parametrize("forward", REPLAYED.values(), ids=REPLAYED)
def test_a_replay_runs_fewer_calls_and_returns_the_same(forward: Callable[[Any, Tensor], Any]) -> None:
    """Outputs equal those of whole runs to the bit, also where calls write in place."""
    found = shares(Calling(forward), (X,), {})
    assert found and max(found) < 1


def through_a_view(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    hidden[:, 0].zero_()
    return hidden + drop(x)


def through_data(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    hidden.data.mul_(2)
    return hidden + drop(x)


def through_numpy(self: Any, x: Tensor) -> Tensor:
    return torch.from_numpy(self.first(x).detach().numpy() * 2) + drop(x)


def in_a_thread(self: Any, x: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(self.first, x).result() + drop(x)


def with_gradients(self: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        y = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(self.first(y).sum(), y)
    return slope + drop(x)


def branching(self: Any, x: Tensor) -> Tensor:
    hidden, other = self.first(x), self.second(x)
    return hidden if drop(x).sum() > x.sum() else other.exp()


WHOLE: dict[str, Callable[[Any, Tensor], Any]] = {
    "a write through a view": through_a_view,
    "a write through `data`": through_data,
    "NumPy": through_numpy,
    "another thread": in_a_thread,
    "gradients": with_gradients,
    "a branch on what depends": branching,
    "unseeded draws": lambda self, x: torch.nn.init.normal_(torch.empty(4, 8)) + drop(self.first(x)),
}


@pytest.mark.parametrize("forward", WHOLE.values(), ids=WHOLE)
def test_what_cannot_be_replayed_runs_whole(forward: Callable[[Any, Tensor], Any]) -> None:
    """Values that code reads or writes out of sight are never memoized: outputs equal those of whole runs."""
    assert shares(Calling(forward), (X,), {})


def check(model_spec: Any) -> None:
    """Hold the replays of a random model against its whole runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what layers say of their own arguments is not what is tested
        model, (args, kwargs) = model_spec.built(), model_spec.inputs()
        with suppress(CannotMeasure, CannotTrace):
            shares(model, args, kwargs)


@settings(STEADY, max_examples=8)
@given(random_models.models())
def test_replays_of_random_models_equal_whole_runs(model_spec: Any) -> None:
    """Whatever the model, outputs equal those of whole runs to the bit."""
    check(model_spec)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_replays_of_five_hundred_random_models_equal_whole_runs() -> None:
    """The same for five hundred models."""

    @seed(1)
    @settings(STEADY, derandomize=False, max_examples=500)
    @given(random_models.models())
    def lot(model_spec: Any) -> None:
        check(model_spec)

    lot()


def test_a_budget_pays_for_the_calls_that_run() -> None:
    """After the first run, a plan takes the work of a replay."""
    model = Calling(REPLAYED["a head"])
    ((op, _),) = [pair for pair in suspects(model, Inputs((X,), {})) if pair[1] is Mode.EVAL]
    runner = Runner(model, (X,), {}, "cpu", budget=Budget(1.0))
    first = runner.try_out(Mode.EVAL, 0)
    whole, before = runner.operations, runner.budget.left
    assert torch.equal(runner.run(Mode.EVAL, 0, behind=[op.site])[0], first[0])
    runner.plan(1, mode=Mode.EVAL, behind=[op.site])
    assert 0 < before - runner.budget.left < whole + overhead_of(model)
