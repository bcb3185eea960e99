"""What must never be reported stays silent in every way in, and faulty models are reported by line and confirmed."""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan
from regcheck.rules import load
from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

FIXTURES = Path(__file__).parents[1] / "fixtures"
NEVER = sorted((FIXTURES / "never").glob("*.py"))
MODELS = sorted((FIXTURES / "models").glob("*.py"))
ADVISED = sorted((FIXTURES / "advice").glob("*.py"))
PROGRAMS = sorted((FIXTURES / "programs").glob("*.py"))
OPTIMIZERS = sorted((FIXTURES / "optimizers").glob("*.py"))
RANKS = sorted((FIXTURES / "ranks").glob("*.py"))
DEVICES = ("cpu", *["cuda"] * torch.cuda.is_available())
# Beside what it is there for, some of what is right stacks dropouts, leaves one inert or decays biases: advice is due.
ADVICE = sorted({rule.code for rule in load() if rule.severity is Severity.INFO} - {"REG106", "REG207", "REG302"})


ALL = {"extend_select": ["ALL"], "devices": DEVICES}
WHENEVER_RUN = {"REG201", "REG206", "REG301", "REG302"}
"""What a run of a faulty program shows in any case; others are told from source only, or of the path it takes."""


def named(path):
    return path.stem


@contextmanager
def imported(path):
    """The fixture as a module, run under a seed of its own."""
    name = f"fixture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a fixture does wrong, torch may warn of
            torch.manual_seed(0)
            spec.loader.exec_module(module)
            yield module
    finally:
        del sys.modules[name]


def serious(report):
    """What a report says at warning or above, in words that a failed assertion shows."""
    found = [each for each in report.findings if each.severity >= Severity.WARNING]
    return [f"{each.code} at {each.path}:{each.line}: {each.message}" for each in found]


def marked(path):
    """The codes and lines that a fixture wants reported."""
    return {
        (code, number)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (marks := re.search(r"# <-((?: REG\d{3})+)$", line))
        for code in marks[1].split()
    }


def test_the_fixtures_are_there():
    """Each fault has at least three fixtures, and each innocent says why it is one."""
    wanted = Counter(
        code
        for path in (*MODELS, *ADVISED, *PROGRAMS, *OPTIMIZERS, *RANKS)
        for code in {code for code, _ in marked(path)}
    )
    rules = [rule for rule in load() if rule.about not in ("ignores", "proofs")]  # what these report is no program
    assert wanted.keys() == {rule.code for rule in rules}
    assert min(wanted.values()) >= 3
    assert [path.name for path in NEVER if not path.read_text().startswith('"""Silent because ')] == []
    assert len(NEVER) >= 25


@pytest.mark.parametrize("path", NEVER, ids=named)
def test_source_of_what_is_right_is_silent(path):
    """Reading the source reports nothing, and leaves nothing unread."""
    report = scan([path])
    assert serious(report) == []
    assert [each.reason for each in report.not_checked] == []


@pytest.mark.parametrize("path", NEVER, ids=named)
def test_running_what_is_right_is_silent(path, capsys):
    """Watching it run and auditing its model report nothing, on every device present."""
    options = {"devices": DEVICES}
    with EventRecorder(root=str(FIXTURES)) as watch, imported(path) as module:
        for name, function in list(vars(module).items()):
            if name.startswith("test_"):
                function()
        seen = watch.drain()
        reports = [Session(options).examine(seen).ledger.report()]
        if hasattr(module, "model"):
            reports.append(audit(module.model, *module.inputs, options=options))
    for report in reports:
        assert serious(report) == []
        assert [each.reason for each in report.not_checked] == []


@pytest.mark.parametrize("path", NEVER, ids=named)
def test_what_is_right_is_given_no_advice(path, capsys):
    """Neither its source nor its traced model raises so much as a suspicion of the rules that only advise."""
    reports = [scan([path], options={"select": ADVICE})]
    with imported(path) as module:
        if hasattr(module, "model"):
            reports.append(audit(module.model, *module.inputs, options={"select": ADVICE, "confirm": False}))
    assert [f"{each.code} at line {each.line}" for report in reports for each in report.findings] == []


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_source_of_what_is_faulty_tells_no_more_than_is_true(path):
    """Reading the source may miss a fault that only a run shows, and reports no other line but as advice."""
    found = [each for each in scan([path]).findings if each.severity >= Severity.WARNING]
    assert {(each.code, each.line) for each in found} <= marked(path)


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_faulty_models_are_reported_and_confirmed(path):
    """Exactly the marked lines are reported, each confirmed on every device present and grave enough to fail."""
    with imported(path) as module:
        report = audit(module.model, *module.inputs, options={"devices": DEVICES})
    assert {(each.code, each.line) for each in report.findings} == marked(path)
    assert [str(each.evidence) for each in report.findings if each.evidence.verdict is not Verdict.CONFIRMED] == []
    assert {each.evidence.device for each in report.findings} == {", ".join(DEVICES)}
    assert [each.reason for each in report.not_checked] == []
    assert len(serious(report)) == len(report.findings)


@pytest.mark.parametrize("path", ADVISED, ids=named)
def test_what_could_be_better_is_advised_and_confirmed(path):
    """With all rules selected exactly the marked lines are reported of the model, confirmed on every device present."""
    with imported(path) as module:
        report = audit(module.model, *module.inputs, options=ALL)
    assert {(each.code, each.line) for each in report.findings} == marked(path)
    assert [str(each.evidence) for each in report.findings if each.evidence.verdict is not Verdict.CONFIRMED] == []
    assert [each.reason for each in report.not_checked] == []


@pytest.mark.parametrize("path", ADVISED, ids=named)
def test_source_of_what_could_be_better_tells_no_more_than_is_true(path):
    """Reading the source reports marked lines only, and nothing grave."""
    found = scan([path], options={"extend_select": ["ALL"]}).findings
    assert {(each.code, each.line) for each in found} <= marked(path)
    assert {each.severity for each in found} <= {Severity.INFO}


@pytest.mark.parametrize("path", PROGRAMS, ids=named)
def test_faulty_programs_are_reported_from_source(path):
    """With all rules selected exactly the marked lines are reported, and nothing is left unread."""
    report = scan([path], options={"extend_select": ["ALL"]})
    assert {(each.code, each.line) for each in report.findings} == marked(path)
    assert [each.reason for each in report.not_checked] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=named)
def test_running_a_faulty_program_tells_no_more_than_is_true(path, capsys):
    """What a run reports is marked, and confirmed on every device; it may not take a path that is at fault."""
    with EventRecorder(root=str(FIXTURES)) as watch, imported(path):
        report = Session(ALL).examine(watch.drain()).ledger.report()
    found = {(each.code, each.line) for each in report.findings}
    assert found <= marked(path)
    assert {each for each in marked(path) if each[0] in WHENEVER_RUN} <= found
    assert [str(each.evidence) for each in report.findings if each.evidence.verdict is not Verdict.CONFIRMED] == []


@pytest.mark.parametrize("path", OPTIMIZERS, ids=named)
def test_optimizers_of_the_programs_own_are_reported_and_confirmed(path, capsys):
    """Exactly the marked lines are reported of a run, where the optimizer is built, and confirmed on every device."""
    with EventRecorder(root=str(FIXTURES)) as watch, imported(path):
        report = Session({"devices": DEVICES}).examine(watch.drain()).ledger.report()
    assert {(each.code, each.line) for each in report.findings} == marked(path)
    assert [str(each.evidence) for each in report.findings if each.evidence.verdict is not Verdict.CONFIRMED] == []
    assert [each.reason for each in report.not_checked] == []
    assert len(serious(report)) == len(report.findings)


@pytest.mark.parametrize("path", OPTIMIZERS, ids=named)
def test_source_does_not_guess_what_an_optimizer_does(path):
    """What an optimizer of the program's own does only a run tells, and its source is not accused of it."""
    report = scan([path])
    assert serious(report) == []
    assert [each.reason for each in report.not_checked] == []
