"""The masks that a loop draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode
from regcheck.core.measurements.mask_agreement import MaskAgreement
from regcheck.probe.devices import chosen
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

X = torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(0))


class Loop(nn.Module):
    """A GRU cell in a loop, and whatever is done with its state."""

    def __init__(self, does: Any, steps: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(8, 32)
        self.does, self.steps = does, steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(x.size(0), 32)
        for step in range(self.steps):
            state = self.does(self.cell(x[:, step], state), self.training)
        return state


def agreement(does: Any, steps: int = 5, device: str = "cpu") -> MaskAgreement:
    model = Loop(does, steps)
    graph = trace_model(model, "model", Inputs((X,))).graph
    op = next(iter(graph.dropouts(Mode.TRAIN)))
    return ModelProbe(Runner(model, (X,), {}, device), graph, 0).measure(MaskAgreement, op)


@pytest.mark.parametrize("device", chosen(("auto",)))
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_new_masks_agree_by_chance_only(device: str, rate: float) -> None:
    """Each step's own mask agrees with the next in p² + (1 - p)² of the units (α = 1e-6), never in all."""
    found = agreement(lambda h, on: F.dropout(h, rate, on), device=device)
    assert found.independent == pytest.approx(rate**2 + (1 - rate) ** 2)
    assert found.is_expected
    assert found.steps == 5
    assert found.units >= 10_000
    assert found.share < 1


def test_one_step_has_one_mask() -> None:
    """A call that runs once agrees with itself."""
    assert agreement(lambda h, on: F.dropout(h, 0.3, on), steps=1).share == 1


def test_masks_of_whole_channels_are_not_compared() -> None:
    """A dropout that is not elementwise is not measured."""
    with pytest.raises(CannotMeasure, match="not an elementwise dropout"):
        agreement(lambda h, on: F.dropout1d(h, 0.3, on))
