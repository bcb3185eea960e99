"""TorchScript run op by op: it computes what the script computes, and its calls are seen."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.core.graph import Kind, Mode
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.script_interpreter import _programs, interpreting, is_interpretable, is_opaque_script
from regcheck.tracing.strategies import trace_model

X = torch.randn(4, 3, 8)


class Containers(nn.Module):
    """Collects results in lists, tuples and dicts, in loops with a condition."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(2)])
        self.steps = 3

    def forward(self, x: torch.Tensor, scale: float = 0.5) -> dict[str, torch.Tensor]:
        seen: list[torch.Tensor] = []
        for layer in self.layers:
            x = layer(x)
            seen.append(x)
        turn = 0
        while turn < self.steps and x.shape[0] > 1:
            x = x * scale
            turn += 1
        found = {"last": seen[-1], "sum": torch.stack(seen).sum(0)}
        low, high = x.min(), x.max()
        if float(high) > float(low):
            found["range"] = high - low
        return found


class Shapes(nn.Module):
    """Computes shapes from sizes, which a tracer writes as tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(3), nn.Linear(24, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        flat = x.reshape(x.size(0), x.size(1) * x.size(2))
        return F.log_softmax(self.head(flat) + torch.arange(2, dtype=x.dtype), dim=1)


class Calm(nn.Module):
    """Computes without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.layer(x)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(8, 4, num_layers=2, batch_first=True, dropout=0.3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (h, _) = self.cells(x)
        return y, h


def scripted(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it, and users still have scripted code
        made: nn.Module = torch.jit.script(model)
    return made


def traced(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        made: nn.Module = torch.jit.trace(model, (X,), check_trace=False)
    return made


@pytest.mark.parametrize(
    ("model", "make"),
    [
        (Containers, scripted),
        (Calm, scripted),
        (Shapes, scripted),
        (Shapes, traced),
        (Recurrent, scripted),
        (Recurrent, traced),
    ],
)
def test_an_interpreted_script_computes_what_the_script_does(
    model: Callable[[], nn.Module], make: Callable[[nn.Module], nn.Module]
) -> None:
    """Its results are equal to the bit, and afterwards it runs in C++ again."""
    script = make(model().eval()).eval()
    assert is_interpretable(script)
    with torch.no_grad():
        expected = script(X)
        with interpreting([script], lambda part: None):
            assert not is_opaque_script(script)
            found = script(X)
        assert is_opaque_script(script)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_copies_of_a_script_share_its_program() -> None:
    """An audit that copies a script many times compiles its graph for the interpreter once."""
    script, other = scripted(Containers()), scripted(Calm())
    program = _programs.of(script)
    assert program is not None
    assert _programs.of(copy.deepcopy(script)) is program
    assert _programs.of(other) is not program


class Switched(nn.Module):
    """Right as it stands: all that it drops and draws follows its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(8, 8), nn.BatchNorm1d(3), nn.Dropout(0.4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.norm(self.layer(x)))
        if self.training:
            x = x + torch.randn_like(x)
        return x


def test_a_script_follows_its_mode() -> None:
    """A scripted model keeps its mode: in train mode it drops, in eval mode it does not, and it is clean."""
    graph = trace_model(scripted(Switched().train()), "model", Inputs((X,))).graph
    assert [op.kind for op in graph.dropouts(Mode.TRAIN)] == [Kind.DROPOUT]
    assert [*graph.dropouts(Mode.EVAL), *graph.randoms(Mode.EVAL)] == []
    report = audit(scripted(Switched().train()), X)
    assert report.findings == () and report.not_checked == ()


class Ungated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(F.dropout(x, 0.4))


def test_parts_that_run_inside_a_script_are_covered() -> None:
    """A part whose own graph cannot be run, as that of an LSTM, runs inside of the model's."""
    (coverage,) = audit(scripted(Recurrent()), X).coverage
    assert (coverage.traced, coverage.opaque) == (2, ())


def test_a_dropout_in_a_script_that_ignores_the_mode_is_confirmed() -> None:
    """The finding is the same in a part of another model."""
    for model in (scripted(Ungated()), nn.Sequential(nn.Linear(8, 8), scripted(Ungated()))):
        (finding,) = audit(model, X).findings
        assert (finding.code, finding.evidence.verdict.value) == ("REG202", "confirmed")
