"""Models that a tracer wrote down in train mode: their dropouts are found, and told apart from what they look like."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit, watch
from regcheck.core.finding import Finding, Verdict
from regcheck.core.report import Report

X = torch.randn(8, 16)


class Gated(nn.Module):
    """Right as it stands: its dropout follows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.hidden(x).relu(), 0.5, training=self.training)  # the traced line
        return self.head(x)


class Layered(Gated):
    """The same with a layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.hidden(x).relu()))


class Noisy(Gated):
    """One that draws in eval mode on its own account as well."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(4)


def by_jit(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates it, and models traced with it are around
        traced: nn.Module = torch.jit.trace(model, (X,), check_trace=False)
    return traced


def by_script(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        scripted: nn.Module = torch.jit.script(model)
    return scripted


def by_export(model: nn.Module) -> nn.Module:
    return torch.export.export(model, (X,)).module()


def by_decomposing(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch uses what it deprecates
        return torch.export.export(model, (X,)).run_decompositions().module()


Tracer = Callable[[nn.Module], nn.Module]
TRACERS: dict[str, Tracer] = {
    "torch.fx": torch.fx.symbolic_trace,
    "torch.jit": by_jit,
    "torch.export": by_export,
    "torch.export, decomposed": by_decomposing,
}
LINES = Path(__file__).read_text().splitlines()
LINE = next(number for number, line in enumerate(LINES, 1) if line.endswith("# the traced line"))


def only(report: Report) -> Finding:
    (finding,) = report.findings
    return finding


@pytest.mark.parametrize("tool", TRACERS)
def test_a_mode_that_was_traced_is_confirmed(tool: str) -> None:
    """Code that is right, traced in train mode, drops for good; the report says what froze it, and where it stands."""
    finding = only(audit(TRACERS[tool](Gated().train()), X))
    assert finding.code == "REG202"
    assert finding.evidence.verdict is Verdict.CONFIRMED
    name = tool.split(",")[0]
    assert f"`F.dropout(p=0.5)` still drops activations after `eval()`: the code that {name} wrote" in finding.message
    assert "call `eval()` before it is traced" in finding.fix
    where = (finding.path and Path(finding.path).name, finding.line)
    assert where == ((None, None) if tool == "torch.fx" else (Path(__file__).name, LINE))  # torch.fx keeps no lines


@pytest.mark.parametrize("tool", TRACERS)
def test_what_was_traced_in_eval_mode_is_clean(tool: str) -> None:
    """The same model, traced for prediction, is as it should be."""
    assert audit(TRACERS[tool](Gated().eval()), X).findings == ()


@pytest.mark.parametrize("trace", [torch.fx.symbolic_trace, by_script], ids=["torch.fx", "torch.jit.script"])
def test_a_layer_keeps_its_mode(trace: Tracer) -> None:
    """A dropout layer that torch.fx traced, or one that was scripted, follows the mode as before."""
    assert audit(trace(Layered().train()), X).findings == ()


@pytest.mark.parametrize("tool", ["torch.jit", "torch.export"])
def test_a_layer_that_is_written_out_is_frozen(tool: str) -> None:
    """The tracers that write out what a layer does freeze it, too."""
    finding = only(audit(TRACERS[tool](Layered().train()), X))
    assert finding.code == "REG202"
    assert "`F.dropout(p=0.3)`" in finding.message


class Stacked(nn.Module):
    """Right as it stands: dropout between its recurrent layers follows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(4, 8, num_layers=2, dropout=0.5), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(x.view(-1, 4, 4))[0])


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")  # of torch's own recurrent layers
@pytest.mark.parametrize("tool", ["torch.jit", "torch.export"])
def test_dropout_between_recurrent_layers_is_frozen(tool: str) -> None:
    """A traced recurrent layer drops between its layers for ever; traced in eval mode it does not."""
    finding = only(audit(TRACERS[tool](Stacked().train()), X))
    assert (finding.code, finding.evidence.verdict) == ("REG202", Verdict.CONFIRMED)
    assert "drops activations between its layers" in finding.message
    assert audit(TRACERS[tool](Stacked().eval()), X).findings == ()


def test_other_draws_of_a_traced_module_are_not_called_dropout() -> None:
    """A traced module that draws otherwise as well has a finding for each."""
    assert only(audit(by_jit(Noisy().eval()), X)).code == "REG203"
    assert sorted(each.code for each in audit(by_jit(Noisy().train()), X).findings) == ["REG202", "REG203"]


def test_a_traced_model_brings_the_shapes_of_its_inputs() -> None:
    """Without inputs it runs on tensors of the shapes that it was traced with."""
    report = audit(by_jit(Layered().train()))
    assert only(report).code == "REG202"
    (coverage,) = report.coverage
    assert coverage.line == "Layered: 4 of 4 modules traced on inputs inferred from its traced shapes"


def test_a_script_without_inputs_is_not_checked() -> None:
    """Of a scripted model without inputs nothing is seen, which is no clean result."""
    report = audit(by_script(Gated().train()))
    assert report.findings == ()
    (missed,) = report.not_checked
    assert "the calls of a scripted module cannot be traced" in missed.reason


def test_a_traced_model_is_found_where_it_is_watched() -> None:
    """A program that predicts with a converted model is told so, with the input that it used."""
    model = torch.fx.symbolic_trace(Gated().train())
    with watch() as seen:
        model.eval()
        with torch.no_grad():
            assert model(X).argmax(1).shape == (8,)
    codes = {(each.code, each.evidence.verdict) for each in seen.report.findings}
    assert codes == {("REG202", Verdict.CONFIRMED)}
