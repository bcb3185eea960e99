"""Running a model under control, and intervening in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.graph import Kind, Mode
from regcheck.probe.devices import chosen
from regcheck.probe.interventions import identity, nothing, regated
from regcheck.probe.runner import Runner
from regcheck.probe.statistics import deviation
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

DEVICES = chosen(("auto",))


class Two(nn.Module):
    """Two dropouts that ignore the mode, and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 64)
        self.norm = nn.BatchNorm1d(64)
        self.second = nn.Linear(64, 8)
        self.calls = 0
        self.history: list[int] = []

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        self.history.append(self.calls)
        hidden = F.dropout(self.norm(self.first(x)), 0.5)
        return hidden, F.dropout(self.second(x.repeat(1, 8)), 0.25)


X = torch.randn(16, 8)


def runner(device: str = "cpu") -> tuple[Runner, list[Any]]:
    model = Two()
    drops = list(trace_model(model, "two", Inputs((X,))).graph.dropouts(Mode.EVAL))
    return Runner(model, (X,), {}, device), drops


@pytest.mark.parametrize("device", DEVICES)
def test_one_seed_gives_one_result(device: str) -> None:
    """Runs with one seed are equal in both modes, also after batch norm moved its statistics; other seeds differ."""
    run, _ = runner(device)
    for mode in Mode:
        first = run.run(mode, 1)
        run.run(Mode.TRAIN, 2)
        assert deviation(run.run(mode, 1), first) == 0
        assert deviation(run.run(mode, 2), first) > 0


@pytest.mark.parametrize("device", DEVICES)
def test_streams_are_independent(device: str) -> None:
    """Changing or removing one dropout's draws leaves the other's exactly as they were."""
    run, (first, second) = runner(device)
    hidden, scores = run.run(Mode.EVAL, 1)
    varied = run.run(Mode.EVAL, 1, vary={first.site: 99})
    assert not torch.equal(varied[0], hidden) and torch.equal(varied[1], scores)
    removed = run.run(Mode.EVAL, 1, replace={second.site: identity})
    assert torch.equal(removed[0], hidden) and not torch.equal(removed[1], scores)
    zeroed = run.run(Mode.EVAL, 1, replace={first.site: nothing})
    assert not zeroed[0].any() and torch.equal(zeroed[1], scores)


def test_identity_takes_the_dropping_out_of_attention() -> None:
    """Attention made identity keeps every weight and still attends."""

    class Attend(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x, None, 0.5)

    model, x = Attend(), torch.randn(2, 4, 8)
    (drop,) = trace_model(model, "attend", Inputs((x,))).graph.dropouts(Mode.EVAL)
    (result,) = Runner(model, (x,), {}, "cpu").run(Mode.EVAL, 0, replace={drop.site: identity})
    assert torch.allclose(result, F.scaled_dot_product_attention(x, x, x))


@pytest.mark.parametrize("call", [
    lambda x: F.dropout(x, 0.5),
    lambda x: F.dropout(x, 0.5, True),
    lambda x: F.dropout(x, training=True, p=0.5),
    lambda x: torch.dropout(x, 0.5, True),
    lambda x: torch.dropout(x, p=0.5, train=True),
    lambda x: F.dropout1d(x, 0.5),
    lambda x: F.alpha_dropout(x, 0.5, True),
    lambda x: F.feature_alpha_dropout(x, 0.5, training=True),
    lambda x: torch.feature_dropout(x, 0.5, True),
    lambda x: F.scaled_dot_product_attention(x, x, x, None, 0.5),
    lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    lambda x: nn.GRU(8, 8, 2, dropout=0.5, batch_first=True)(x)[0],
    lambda x: nn.MultiheadAttention(8, 2, 0.5, batch_first=True)(x, x, x)[0],
])  # fmt: skip
def test_a_call_is_gated_as_in_eval_mode(call: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Every call that drops, however it is written, is made again as one that does not: no stream changes it."""

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                return call(x)

    model, x = Net(), torch.randn(2, 4, 8)
    run, graph = Runner(model, (x,), {}, "cpu"), trace_model(model, "net", Inputs((x,))).graph
    (drop,) = (op for op in graph.eval if op.active and (op.drops is not None or op.kind is Kind.RECURRENT))
    (one,), (other,) = (run.run(Mode.EVAL, 0, vary={drop.site: seed}) for seed in (1, 2))
    assert not torch.equal(one, other)
    (one,), (other,) = (run.run(Mode.EVAL, 0, vary={drop.site: seed}, replace={drop.site: regated}) for seed in (1, 2))
    assert torch.equal(one, other) and one.any()


def test_every_run_starts_from_the_same_state() -> None:
    """Counters, lists and buffers that a forward changes are put back before and after each run."""
    run, _ = runner()
    before, calls = run.model.norm.running_mean.clone(), run.model.calls
    for _ in range(3):
        run.run(Mode.TRAIN, 0)
        assert torch.equal(run.model.norm.running_mean, before)
        assert run.model.calls == len(run.model.history) == calls


def test_python_and_numpy_draws_are_held() -> None:
    """Random numbers drawn outside torch repeat with the seed."""
    numpy = pytest.importorskip("numpy")

    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * random.random() + float(numpy.random.rand())

    run = Runner(Noisy(), (X,), {}, "cpu")
    assert deviation(run.run(Mode.EVAL, 5), run.run(Mode.EVAL, 5)) == 0
    assert deviation(run.run(Mode.EVAL, 5), run.run(Mode.EVAL, 6)) > 0


def test_a_run_asks_for_convolutions_that_repeat() -> None:
    """A GPU's convolutions shall give the same bits in every run, and what the program asked for is put back."""

    class Asking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(torch.backends.cudnn.deterministic)

    before = torch.backends.cudnn.deterministic
    (asked,) = Runner(Asking(), (torch.ones(2),), {}, "cpu").run(Mode.EVAL, 0)
    assert bool(asked.all()) and torch.backends.cudnn.deterministic is before is False


def test_a_model_at_home_is_not_moved() -> None:
    """Where a model is already, on one device of a kind or spread over several, it is run as it is."""

    class Placed(nn.Linear):
        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            raise AssertionError("moved")

    (result,) = Runner(Placed(6, 3), (torch.ones(2, 6),), {}, "cpu").run(Mode.EVAL, 0)
    assert result.shape == (2, 3)
