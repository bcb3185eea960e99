"""What a scan and a run find in each fixture is exactly what its marks say; where they differ, the reason is written.

A mark ends a line: `# <- REG101 REG301 (run)` says that a scan and a run report REG101 there, and only a run reports
REG301. `# advice: REG302` is a mark of something that is reported as advice only, in a file that is right.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

from regcheck.core.finding import Severity, Verdict
from regcheck.core.report import Report
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
BOTH = [*PROGRAMS, *MODELS, *ADVISED, *OPTIMIZERS, *NEVER]
"""The fixtures that are scanned and run; those of ranks have tests of their own."""

DEVICES = ("cpu", *["cuda"] * torch.cuda.is_available())
ALL = {"extend_select": ["ALL"], "devices": DEVICES}
# Beside what it is there for, some of what is right stacks dropouts, leaves one inert or decays biases: advice is due.
ADVICE = sorted({rule.code for rule in load() if rule.severity is Severity.INFO} - {"REG106", "REG207", "REG302"})

SCAN, RUN = "scan", "run"
MARKS = re.compile(r"# (?:<-|advice:)((?: REG\d{3}(?: \((?:scan|run)\))?)+)$")
MARK = re.compile(r"(REG\d{3})(?: \((scan|run)\))?")

_BY_PROGRAM = "what an optimizer of the program's own does only a run can measure"
_NO_LOSS = "without a loss in the file, a scan does not know that the model is whole and its output a prediction"
_BY_BATCH = "that the first axis is the batch is known from shapes only"
_OPEN_LOOP = "a scan follows a loop without a known number of steps once, so nothing returns to the cell"
_DISTRIBUTION = "a scan does not follow torch.distributions to the draws inside"
_PENALTY = "a run records no terms of a loss: only source shows a penalty"
_L1 = "only the names in the source say that an L1 penalty was meant"
_MAY_FREEZE = "a scan makes no claim about parameters where the file mentions requires_grad"
_UNCALLED = "a method that is named but not called leaves nothing behind in a run"
_MATERIAL = "a run measures that too little changes, or nothing; a scan advises"

REASONS = {
    ("embeddings_exported_while_training", "REG303"): _PENALTY,
    ("price_regression_with_ridge_twice", "REG303"): _PENALTY,
    ("sentiment_with_two_penalties", "REG303"): _PENALTY,
    ("lasso_for_the_first_layer", "REG304"): _L1,
    ("ranking_with_sparsity_in_the_optimizer", "REG304"): _L1,
    ("sparse_features_by_decay", "REG304"): _L1,
    ("assertion_of_a_method", "REG210"): _UNCALLED,
    ("scores_with_eval_left_uncalled", "REG210"): _UNCALLED,
    ("trainer_with_uncalled_modes", "REG210"): _UNCALLED,
    ("validation_that_gives_up_early", "REG208"): "this run does not take the path that leaves without restoring",
    ("topics_of_as_many_words", "REG101"): _NO_LOSS,
    ("noise_from_distributions", "REG203"): _DISTRIBUTION,
    ("stochastic_policy", "REG203"): _DISTRIBUTION,
    ("standardized_by_the_batch", "REG205"): _BY_BATCH,
    ("value_network_scaled_by_its_batch", "REG205"): _BY_BATCH,
    ("unet_with_functional_dropout", "REG103"): _MATERIAL,
    ("captions_with_dropped_state", "REG404"): _OPEN_LOOP,
    ("control_policy", "REG404"): _OPEN_LOOP,
    ("pulse_decoder", "REG404"): _OPEN_LOOP,
    ("characters_with_lion_in_the_sign", "REG301"): _BY_PROGRAM,
    ("characters_with_lion_in_the_sign", "REG302"): _BY_PROGRAM,
    ("ratings_looked_ahead", "REG301"): _BY_PROGRAM,
    ("tagger_with_adam_from_a_course", "REG301"): _BY_PROGRAM,
    ("tagger_with_adam_from_a_course", "REG302"): _BY_PROGRAM,
    ("decay_beside_the_sign", "REG302"): _BY_PROGRAM,
    ("momentum_written_by_hand", "REG302"): _BY_PROGRAM,
    ("rates_by_layer", "REG302"): _BY_PROGRAM,
    ("dropout_normalized_before_batch_norm", "REG103"): _MATERIAL,
    ("frozen_batch_norm", "REG302"): _MAY_FREEZE,
    ("gradient_penalty", "REG302"): _MAY_FREEZE,
    ("pulled_to_the_start", "REG302"): _MAY_FREEZE,
    ("penalty_in_place_of_decay", "REG302"): "a run watches models, not layers that a program calls one by one",
    (
        "targets_from_the_loader",
        "REG201",
    ): "a scan does not interpret the `__iter__` that a loop runs over",
    ("zero_rate_dropout", "REG202"): "a scan warns of a rate that is zero only as long as nobody gives another",
}
"""Why a scan and a run differ about a fixture, by its name and the code."""

NOT_CHECKED = {
    # It keeps a list beside the state, with an entry for each parameter: a copy that holds only some cannot step.
    "ratings_looked_ahead": ["whether REG302 decay-on-norm-or-bias is the case: its step raised RuntimeError"],
}
"""What a run of a fixture does not check, as the beginnings of the reasons; a scan checks everything."""

WITHOUT_A_LINE = {"traced_for_prediction": {"REG207"}}
"""What a run reports about a module that torch.fx wrote, which stands on no line."""


def named(path: Path) -> str:
    return path.stem


@contextmanager
def imported(path: Path) -> Iterator[ModuleType]:
    """The fixture as a module, run under a seed of its own."""
    name = f"fixture_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
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


@cache
def scanned(path: Path) -> Report:
    return scan([path], options={"extend_select": ["ALL"]})


@cache
def ran(path: Path) -> tuple[Report, ...]:
    """The reports of a watched run, and of an audit of the model if the fixture has one."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        EventRecorder(root=str(FIXTURES)) as recorder,
        imported(path) as module,
    ):
        for name, function in list(vars(module).items()):
            if name.startswith("test_"):
                function()
        reports = [Session(ALL).examine(recorder.drain()).ledger.report()]
        if hasattr(module, "model") and hasattr(module, "inputs"):
            reports.append(audit(module.model, *module.inputs, options=ALL))
    return tuple(reports)


def serious(report: Report) -> list[str]:
    """What a report says at warning or above, in words that a failed assertion shows."""
    found = [each for each in report.findings if each.severity >= Severity.WARNING]
    return [f"{each.code} at {each.path}:{each.line}: {each.message}" for each in found]


def marks(path: Path) -> Iterator[tuple[str, int, str]]:
    """The marks of a fixture: a code, its line, and which of scan and run alone reports it, if only one does."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := MARKS.search(line):
            yield from ((code, number, side) for code, side in MARK.findall(found[1]))


def marked(path: Path, side: str) -> set[tuple[str, int]]:
    """The codes and lines that a scan, or a run, must report of a fixture."""
    return {(code, line) for code, line, only in marks(path) if only in ("", side)}


def test_the_fixtures_are_there() -> None:
    """Each fault has at least three fixtures, and each innocent says why it is one."""
    faulty = (*MODELS, *ADVISED, *PROGRAMS, *OPTIMIZERS, *RANKS)
    wanted = Counter(code for path in faulty for code in {code for code, *_ in marks(path)})
    rules = [rule for rule in load() if rule.about not in ("ignores", "proofs")]  # what these report is no program
    assert wanted.keys() == {rule.code for rule in rules}
    assert min(wanted.values()) >= 3
    assert [path.name for path in NEVER if not path.read_text().startswith('"""Silent because ')] == []
    assert len(NEVER) >= 25


def test_every_mark_is_well_formed() -> None:
    """No line of a fixture has something like a mark that is not read as one."""
    like = re.compile(r"# ?(?:<-|advice)|REG\d{3}")
    lines = [(path.name, line) for path in (*BOTH, *RANKS) for line in path.read_text().splitlines()]
    ignoring = "regcheck: ignore"
    assert [
        each for each in lines if like.search(each[1]) and not MARKS.search(each[1]) and ignoring not in each[1]
    ] == []
    assert not any("# <-" in path.read_text() for path in NEVER)


def test_each_difference_between_scan_and_run_has_a_reason() -> None:
    """Whatever only one of the two reports is explained, and no explanation is left over."""
    assert {(path.stem, code) for path in BOTH for code, _, only in marks(path) if only} == REASONS.keys()


@pytest.mark.parametrize("path", BOTH, ids=named)
def test_a_scan_reports_exactly_the_marked_lines(path: Path) -> None:
    """With all rules selected a scan reports each line that is marked for it and no other, and reads everything."""
    report = scanned(path)
    assert {(each.code, each.line) for each in report.findings} == marked(path, SCAN)
    assert [each.reason for each in report.not_checked] == []


@pytest.mark.parametrize("path", BOTH, ids=named)
def test_a_run_reports_exactly_the_marked_lines(path: Path) -> None:
    """With all rules selected a run and an audit report each line that is marked for them and no other."""
    findings = [each for report in ran(path) for each in report.findings]
    assert {(each.code, each.line) for each in findings if each.line is not None} == marked(path, RUN)
    assert {each.code for each in findings if each.line is None} == WITHOUT_A_LINE.get(path.stem, set())
    reasons = [each.reason for report in ran(path) for each in report.not_checked]
    expected = NOT_CHECKED.get(path.stem, [])
    assert [reason[: len(begins)] for reason, begins in zip(reasons, expected, strict=False)] == expected
    assert len(reasons) == len(expected), reasons


@pytest.mark.parametrize("path", [path for path in BOTH if path not in NEVER], ids=named)
def test_what_a_run_reports_of_a_fault_is_confirmed(path: Path) -> None:
    """Each finding of a run is confirmed by measurement, on every device present."""
    findings = [each for report in ran(path) for each in report.findings]
    assert [str(each.evidence) for each in findings if each.evidence.verdict is not Verdict.CONFIRMED] == []
    assert {each.evidence.device for each in findings} <= {", ".join(DEVICES)}


@pytest.mark.parametrize("path", NEVER, ids=named)
def test_what_is_right_is_no_finding_that_counts(path: Path) -> None:
    """Neither a scan nor a run reports more than advice about what is right."""
    assert [serious(report) for report in (scanned(path), *ran(path)) if serious(report)] == []


@pytest.mark.parametrize("path", MODELS, ids=named)
def test_faulty_models_fail_an_audit(path: Path) -> None:
    """Each finding of a run is grave enough to fail it."""
    assert all(len(serious(report)) == len(report.findings) for report in ran(path))


@pytest.mark.parametrize("path", ADVISED, ids=named)
def test_what_could_be_better_fails_no_scan(path: Path) -> None:
    """A scan reports it as advice."""
    assert serious(scanned(path)) == []


@pytest.mark.parametrize("path", NEVER, ids=named)
def test_what_is_right_is_given_no_advice(path: Path) -> None:
    """Neither its source nor its traced model raises so much as a suspicion of the rules that only advise."""
    reports = [scan([path], options={"select": ADVICE})]
    with contextlib.redirect_stdout(io.StringIO()), imported(path) as module:
        if hasattr(module, "model"):
            reports.append(audit(module.model, *module.inputs, options={"select": ADVICE, "confirm": False}))
    assert [f"{each.code} at line {each.line}" for report in reports for each in report.findings] == []
