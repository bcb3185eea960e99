"""Inputs that are guessed, and what happens when none can be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotTrace
from regcheck.core.graph import Gate, Kind, Mode
from regcheck.trace.inputs import Inputs, candidates, smooth
from regcheck.trace.ladder import look
from regcheck.trace.unwrap import unwrapped


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8 * 26 * 26, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Linear(3, 1)),
        Image(),
        nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(128, 2)),
        nn.LSTM(6, 4, batch_first=True),
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.TransformerEncoderLayer(16, 2, batch_first=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_first_layers_tell_the_inputs(model: nn.Module) -> None:
    """A model without any hint is run on inputs that its first layer takes."""
    assert look(model, "model", None).inputs is not None


def test_what_the_model_declares_comes_first() -> None:
    """`example_input_array` and `dummy_inputs` are taken before anything is guessed."""
    model = nn.Linear(5, 3)
    model.example_input_array = torch.ones(2, 5)  # type: ignore[assignment]
    assert next(iter(candidates(model))).origin == "example_input_array"
    del model.example_input_array
    model.dummy_inputs = {"input": torch.ones(2, 5)}  # type: ignore[assignment]
    assert next(iter(candidates(model))).kwargs.keys() == {"input"}


def test_images_are_smooth() -> None:
    """Neighbouring pixels of a guessed image resemble each other, and samples differ."""
    image = smooth((4, 3, 64, 64))
    steps = (image[..., 1:] - image[..., :-1]).square().mean()
    assert steps < 0.2 * image.var()
    assert not torch.equal(image[0], image[1])


class NeedsObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, batch: Any) -> torch.Tensor:
        return F.dropout(self.drop(self.linear(batch.features)), 0.2)


def test_without_inputs_the_model_is_traced_symbolically() -> None:
    """When no guess runs, torch.fx still gives rates, gates and places."""
    traced = look(NeedsObject(), "model", None)
    assert traced.inputs is None
    gates = {op.rate: traced.graph.gate(op) for op in traced.graph.dropouts(Mode.TRAIN)}
    assert gates == {0.5: Gate.MODE, 0.2: Gate.ALWAYS}
    assert all(op.place and op.place.path == __file__ for op in traced.graph.dropouts(Mode.TRAIN))


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class WithBranches(NeedsObject):
    def __init__(self) -> None:
        super().__init__()
        self.branches = Branches()

    def forward(self, batch: Any) -> torch.Tensor:
        return F.dropout(self.branches(self.linear(batch.features)), 0.2)


def test_a_submodule_that_cannot_be_followed_is_opaque_and_named() -> None:
    """Symbolic tracing goes on around it, and the report says which one was left out."""
    traced = look(WithBranches(), "model", None)
    assert [each.subject for each in traced.not_checked] == ["model.branches"]
    assert any(op.kind is Kind.OPAQUE for op in traced.graph.train)
    assert [op.rate for op in traced.graph.dropouts(Mode.EVAL)] == [0.2]


class Hopeless(nn.Module):
    def forward(self, batch: Any) -> Any:
        for _ in batch["steps"]:
            batch = batch["next"]
        return batch


def test_a_model_that_nothing_can_trace_says_why() -> None:
    """The error tells why each way of tracing failed."""
    with pytest.raises(CannotTrace, match="no inputs could be guessed; without inputs"):
        look(Hopeless(), "model", None)


class EvalOnly(NeedsObject):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if self.training:
            raise ValueError("targets are needed in train mode")
        return F.dropout(self.linear(x), 0.2)


def test_one_mode_that_fails_does_not_lose_the_other() -> None:
    """What eval mode shows is kept when train mode raises, and the raise is reported with its line."""
    traced = look(EvalOnly(), "model", Inputs((torch.randn(2, 4),)))
    assert [op.rate for op in traced.graph.dropouts(Mode.EVAL)] == [0.2]
    (missed,) = traced.not_checked
    assert "targets are needed" in missed.reason and missed.path == __file__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DataParallel, and of what importing the compiler does
def test_wrappers_are_looked_through() -> None:
    """DataParallel, AveragedModel and compiled models are unwrapped to the user's model."""
    model = nn.Linear(2, 2)
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(torch.compile(model)) is model
    assert type(unwrapped(torch.optim.swa_utils.AveragedModel(model))) is nn.Linear


class Positions(nn.Module):
    """Takes token ids of exactly as many positions as it has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 8)
        self.positions = nn.Parameter(torch.zeros(1, 24, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(F.dropout(self.tokens(tokens) + self.positions, 0.2).mean(1))


def test_learned_positions_tell_the_length() -> None:
    """A table of positions beside the embedding says how long the sequence must be."""
    inputs = look(Positions(), "model", None).inputs
    assert inputs is not None and inputs.args[0].shape == (4, 24)


def test_parameters_are_followed_symbolically() -> None:
    """A parameter used in the root's own forward does not stop the symbolic trace."""

    class Wrapped(Positions):
        def forward(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
            return super().forward(batch.tokens)

    traced = look(Wrapped(), "model", None)
    assert traced.inputs is None and any(op.kind is Kind.PARAMETER for op in traced.graph.train)
