"""Whether a sample's prediction depends on its batch mates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Op
from regcheck.core.measured import Mates
from regcheck.probe.batches import mates_matter
from regcheck.probe.devices import chosen
from regcheck.probe.run import Runner
from regcheck.trace.inputs import Inputs
from regcheck.trace.ladder import look


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


def measured(model: nn.Module, x: torch.Tensor, turn: int, device: str = "cpu") -> Mates:
    graph = look(model, "model", Inputs((x,))).graph
    norms: list[Op] = [op for op in graph.eval if op.kind is Kind.BATCH_NORM]
    return mates_matter(Runner(model, (x,), {}, device), graph, norms[turn], 0)


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize("tracks", [(True, False), (False, True), (False, False)])
def test_the_norm_at_fault_is_told_from_the_other(device: str, tracks: tuple[bool, bool]) -> None:
    """Only a norm without running statistics lets mates matter, whatever the other one does (rank test, α = 1e-6)."""
    for turn, keeps in enumerate(tracks):
        found = measured(Net(*tracks), torch.randn(8, 6), turn, device)
        assert found.matter is not keeps
        assert max(found.held) < 1e-4  # single precision's rounding of values around one
        assert found.p_value < 1e-6


def test_a_single_sample_has_no_mates() -> None:
    """With fewer than two samples nothing is measured."""
    with pytest.raises(CannotMeasure, match="fewer than two"):
        measured(Net(True, True).eval(), torch.randn(1, 6), 0)
