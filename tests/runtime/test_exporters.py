"""Exports of a watched program: a model that is exported in train mode, and what only looks like it."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from regcheck.core.finding import Severity, Verdict
from regcheck.core.report import Report
from regcheck.runtime.recorder import Observation
from regcheck.session.session import Session

MODEL = """
import functools, io, warnings
warnings.simplefilter("ignore")
class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)
        self.drop = nn.Dropout(0.5)
    def forward(self, x, scale: torch.Tensor | None = None):
        x = self.head(self.drop(self.norm(self.body(x)).relu()))
        return x if scale is None else x * scale
x = torch.randn(16, 8)
def trained(steps=2):
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return model
class Deployment:
    def __init__(self, model):
        self.model = model
    def write(self):
        return torch.jit.trace(self.model, x, check_trace=False)
    def script(self):
        return torch.jit.script(self.model)
"""

FAULTY = {
    "top level": "model = trained()\nprogram = torch.export.export(model, (x,))",
    "keywords": "model = trained()\nprogram = torch.export.export(mod=model, args=(x,), kwargs={'scale': x[:, :1]})",
    "class": "deployed = Deployment(trained()).write()",
    "closure": """
        def exporter(model):
            return lambda: torch.export.export(model, (x,), strict=False)
        programs = [exporter(trained())()]
        """,
    "main": """
        def main(argv=()):
            model = trained()
            program = torch.jit.trace(model, example_kwarg_inputs={"x": x}, check_trace=False)
            torch.jit.save(program, io.BytesIO())
        main()
        """,
    "back in train mode": """
        model = trained().eval()
        with torch.no_grad():
            model(x).argmax(1)
        model.train()
        model(x).mean().backward()
        program = torch.export.export(model, (x,))
        """,
}
SOUND = {
    "after eval": "model = trained().eval()\nprogram = torch.export.export(model, (x,))",
    "keywords after eval": "model = trained()\nmodel.eval()\nprogram = torch.export.export(mod=model, args=(x,))",
    "script": "deployed = Deployment(trained()).script()",
    "closure after eval": """
        def exporter(model):
            return lambda: torch.export.export(model.eval(), (x,), strict=False)
        programs = [exporter(trained())()]
        """,
    "asked for": "model = trained()\nmodel.train()\nprogram = torch.export.export(model, (x,))",
    "dropped": "model = trained()\ntorch.export.export(model, (x,))",
    "without modes": "model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))\np = torch.export.export(model, (x,))",
}


def report_on(see: Callable[..., Observation], program: str) -> Report:
    with ThreadPoolExecutor(1) as thread:  # where no test is on the stack
        seen = thread.submit(see, MODEL + textwrap.dedent(program)).result()
    return Session({"select": ["REG201"], "devices": ["cpu"]}).examine(seen).ledger.report()


@pytest.mark.parametrize("name", FAULTY)
def test_an_export_in_train_mode_is_confirmed(see: Callable[..., Observation], name: str) -> None:
    """The line that exports a model with its dropout and batch norm in train mode is an error, proven on its input."""
    (finding,) = report_on(see, FAULTY[name]).findings
    assert (finding.code, finding.severity, finding.evidence.verdict) == ("REG201", Severity.ERROR, Verdict.CONFIRMED)
    assert "`Small` is exported by `torch." in finding.message and finding.line is not None
    line = Path(finding.path or "").read_text(encoding="utf-8").splitlines()[finding.line - 1]
    assert "torch.export.export(" in line or "torch.jit.trace(" in line


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_export_is_silent(see: Callable[..., Observation], name: str) -> None:
    """After `eval()`, on request, as a script that keeps its mode, or without a use, an export is right."""
    report = report_on(see, SOUND[name])
    assert report.findings == () and report.advice == ()


EXPORTS_AS_IT_IS = inspect.signature(torch.onnx.export).parameters["dynamo"].default
"""Whether an export to ONNX leaves the mode alone where no exporter is chosen."""
ONNX_MODELS = """
class Dropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 2)
    def forward(self, x):
        return self.head(self.drop(self.body(x)))
class Normalizing(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)
    def forward(self, x):
        return self.head(self.norm(self.body(x)))
mode = torch.onnx.TrainingMode
def export(model, **how):
    torch.onnx.export(model, (x,), io.BytesIO(), **how)
"""


@pytest.mark.filterwarnings("ignore")  # torch deprecates its older exporter
@pytest.mark.parametrize(
    ("program", "severities"),
    [
        ("export(Normalizing(), dynamo=False, training=mode.PRESERVE)", [Severity.ERROR]),
        ("export(Small(), dynamo=False, training=mode.PRESERVE)", [Severity.ERROR]),
        ("export(Dropping(), dynamo=False, training=mode.PRESERVE)", [Severity.INFO]),
        ("export(Normalizing().eval(), dynamo=False, training=mode.PRESERVE)", []),
        ("export(Normalizing(), dynamo=False)", []),
        ("export(Dropping(), dynamo=False, training=mode.EVAL)", []),
        ("export(Normalizing().eval(), dynamo=False, training=mode.TRAINING)", []),
        ("export(Dropping(), verbose=False)", [Severity.INFO] if EXPORTS_AS_IT_IS else []),
        ("export(Normalizing(), verbose=False)", []),
    ],
)
def test_an_export_to_onnx(see: Callable[..., Observation], program: str, severities: list[Severity]) -> None:
    """An export to ONNX is reported, though its result is a file, where the file is in train mode.

    torch's exporter writes batch norms in eval mode, and the older one puts the model into eval mode if not told else.
    """
    pytest.importorskip("onnx", reason="needs the extra `onnx`")
    pytest.importorskip("onnxscript", reason="torch exports to ONNX by it")
    report = report_on(see, ONNX_MODELS + program)
    assert [each.severity for each in (*report.findings, *report.advice)] == severities
    assert all("is exported by `torch.onnx.export" in each.message for each in (*report.findings, *report.advice))


def test_an_export_for_further_training_is_advice(see: Callable[..., Observation]) -> None:
    """Where something is trained after the export, it may be meant for training."""
    program = """
        model = trained()
        program = torch.export.export(model, (x,))
        program.module()(x).mean().backward()
        """
    report = report_on(see, program)
    assert [each.severity for each in (*report.findings, *report.advice)] == [Severity.INFO]
    assert report.exit_code == 0


def test_an_export_below_a_test_is_advice(see: Callable[..., Observation]) -> None:
    """A test of a helper that exports need not care about the mode of its model."""
    program = """
        def test_round_trip():
            assert Deployment(trained()).write() is not None
        test_round_trip()
        """
    report = report_on(see, program)
    assert [each.severity for each in (*report.findings, *report.advice)] == [Severity.INFO]


def test_a_trace_by_torch_itself_is_no_export(see: Callable[..., Observation]) -> None:
    """Tensorboard traces a model to draw its graph."""
    program = """
        code = compile("def add_graph(model): return torch.jit.trace(model, x, check_trace=False)",
                       torch.__file__.replace("__init__", "utils/tensorboard/writer"), "exec")
        exec(code)
        graph = add_graph(trained())
        """
    report = report_on(see, program)
    assert report.findings == () and report.advice == ()
