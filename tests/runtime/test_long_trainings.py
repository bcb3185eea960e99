"""Memory of the recorder while a program trains for long."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from regcheck.runtime.recorder import EventRecorder

VALIDATION = 100
"""Training steps between two validations."""


def no_grad(model: nn.Module, rows: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        for row in rows:
            model(row).argmax(1)


def with_grad(model: nn.Module, rows: torch.Tensor) -> None:
    model.eval()
    for row in rows:
        model(row).sum().item()


def train(model: nn.Module, steps: int, validate: Callable[[nn.Module, torch.Tensor], None], switch_back: bool) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    rows, labels = torch.randn(3, 4, 4), torch.tensor([0, 1, 0, 1])
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(rows[step % 3]), labels).backward()
        optimizer.step()
        if step % VALIDATION == VALIDATION - 1:
            validate(model, rows)
            if switch_back:
                model.train()


@pytest.mark.slow
@pytest.mark.parametrize("validate", [no_grad, with_grad])
@pytest.mark.parametrize("switch_back", [True, False])
def test_ten_thousand_steps_take_no_more_memory_than_a_thousand(
    validate: Callable[[nn.Module, torch.Tensor], None], switch_back: bool
) -> None:
    """A training with a validation every 100 steps leaves as many events, and as much memory, however long it is."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 2))
    with EventRecorder() as recorder:
        tracemalloc.start()
        try:
            train(model, 1_000, validate, switch_back)
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            train(model, 9_000, validate, switch_back)
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        events = recorder.drain().usage.events
    assert grown < 100_000
    assert len(events) < 60
