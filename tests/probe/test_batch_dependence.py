"""Whether a sample's prediction depends on the other samples of its batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Verdict
from regcheck.core.graph import Kind, Op
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.engine.audit import audit
from regcheck.probe.devices import chosen
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model


class Net(nn.Module):
    """Two norms, of which each may keep running statistics or not."""

    def __init__(self, first: bool, second: bool) -> None:
        super().__init__()
        self.first = nn.BatchNorm1d(6, track_running_stats=first)
        self.linear = nn.Linear(6, 8)
        self.second = nn.BatchNorm1d(8, track_running_stats=second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(torch.relu(self.linear(self.first(x))))
        return result


def measured(model: nn.Module, x: torch.Tensor, turn: int, device: str = "cpu") -> BatchDependence:
    graph = trace_model(model, "model", Inputs((x,))).graph
    norms: list[Op] = [op for op in graph.eval if op.kind is Kind.BATCH_NORM]
    return ModelProbe(Runner(model, (x,), {}, device), graph, 0).measure(BatchDependence, norms[turn])


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize("tracks", [(True, False), (False, True), (False, False)])
def test_the_norm_at_fault_is_told_from_the_other(device: str, tracks: tuple[bool, bool]) -> None:
    """Samples depend on others by a norm without running statistics only, whatever the other norm does (α = 1e-6)."""
    for turn, keeps in enumerate(tracks):
        found = measured(Net(*tracks), torch.randn(8, 6), turn, device)
        assert found.is_dependent is not keeps
        assert max(found.fixed_statistics) < 1e-4  # single precision's rounding of values around one
        assert found.p_value < 1e-6


ORDERS: dict[str, Callable[[Trainable, torch.Tensor], Any]] = {
    "F": lambda net, x: F.batch_norm(x, net.mean, net.variance, net.scale, net.shift, training=True),
    "torch": lambda net, x: torch.batch_norm(x, net.scale, net.shift, net.mean, net.variance, True, 0.1, 1e-5, False),
    "native": lambda net, x: torch.native_batch_norm(x, net.scale, net.shift, net.mean, net.variance, True, 0.1, 1e-5)[
        0
    ],
    "aten": lambda net, x: torch.ops.aten.batch_norm(
        x, net.scale, net.shift, net.mean, net.variance, True, 0.1, 1e-5, False
    ),
}


class Trainable(nn.Module):
    """A batch norm by hand whose scales and shifts are far from its running statistics."""

    def __init__(self, norm: Callable[[Trainable, torch.Tensor], Any]) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.full((6,), 3.0)), nn.Parameter(torch.full((6,), -2.0))
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("variance", torch.ones(6))
        self.norm, self.head = norm, nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.norm(self, x))
        return result


@pytest.mark.parametrize("order", ORDERS)
def test_statistics_are_fixed_in_every_spelling_of_a_batch_norm(order: str) -> None:
    """`F.batch_norm`, `torch.batch_norm` and aten order their arguments differently; each depends on its batch."""
    assert measured(Trainable(ORDERS[order]), torch.randn(8, 6), 0).is_dependent


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch, of what it does itself when decomposing
@pytest.mark.parametrize("decomposed", [False, True])
def test_an_exported_batch_norm_in_train_mode_is_confirmed(decomposed: bool) -> None:
    """A model exported in train mode normalizes by the batch in eval mode, and that is measured."""
    net, x = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(8, 6)
    program = torch.export.export(net.train(), (x,))
    model = (program.run_decompositions() if decomposed else program).module()
    (finding,) = audit(model, x).findings
    assert (finding.code, finding.evidence.verdict) == ("REG205", Verdict.CONFIRMED)


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch, of what it does itself when decomposing
@pytest.mark.parametrize("decomposed", [False, True])
def test_an_exported_batch_norm_in_eval_mode_is_sound(decomposed: bool) -> None:
    """Exported in eval mode the same model uses its running statistics."""
    net, x = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(8, 6)
    program = torch.export.export(net.eval(), (x,))
    report = audit((program.run_decompositions() if decomposed else program).module(), x)
    assert not report.findings
    assert not report.not_checked


def test_a_single_sample_has_no_batch() -> None:
    """With fewer than two samples nothing is measured."""
    with pytest.raises(CannotMeasure, match="fewer than two"):
        measured(Net(True, True).eval(), torch.randn(1, 6), 0)


def test_the_change_is_relative_to_the_spread_over_the_batch() -> None:
    """A constant added to all predictions changes no effect size, also where each prediction is one number."""

    class Score(nn.Module):
        def __init__(self, offset: float) -> None:
            super().__init__()
            self.norm, self.head, self.offset = nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 1), offset

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.head(self.norm(x)) + self.offset
            return result

    plain, x = Score(0.0), torch.randn(8, 6)
    shifted = Score(100.0)
    shifted.load_state_dict(plain.state_dict())
    effects = [measured(each, x, 0).effect for each in (plain, shifted)]
    assert effects[0].value is not None and effects[0].value > 0.05
    assert effects[1].value == pytest.approx(effects[0].value, rel=1e-3)
