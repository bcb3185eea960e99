"""Fixes of confirmed findings: what is applied, what the second measurement refuses, what is never written."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.finding import Effect, Evidence, NotChecked, Verdict
from regcheck.core.join import join
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.engine.audit import audit
from regcheck.engine.fix import CannotCompare, Examine, FixResult
from regcheck.engine.fixed_lines import FixedLine, measuring_again
from regcheck.engine.fresh_process import Died, call_afresh
from regcheck.engine.live_fix import LiveFixes, refuse_incomparable
from regcheck.engine.moved_lines import LineMap
from regcheck.engine.scan import scan
from regcheck.files.text import overlay
from regcheck.plugins import catalogue
from regcheck.report.view import fixed_line

NET = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = F.dropout(torch.relu(self.hidden(x)), 0.4)
        return self.head(x)
"""
FIXED = NET.replace("0.4)", "0.4, training=self.training)")
ON_PURPOSE = NET.replace("0.4)", "0.4, True)")
GATED = NET.replace("0.4)", "0.4, self.training)")


@dataclass
class Program:
    """A file, and reports on it as a run makes them: each finding that a scan reads is confirmed."""

    path: Path
    since: int
    unsafe: bool = False

    @property
    def fixes(self) -> LiveFixes:
        return LiveFixes(catalogue(), str(self.path.parent), self.since, self.unsafe)

    def measured(
        self, contents: Mapping[str, bytes], lines: Sequence[FixedLine] = (), verdict: Verdict = Verdict.CONFIRMED
    ) -> Report:
        with overlay(contents):
            report = scan([self.path], Options())
        found = (replace(each, patch=None, evidence=Evidence(verdict)) for each in report.findings)
        return replace(report, findings=tuple(found), live=True)

    def fix(self, examine: Examine | None = None) -> FixResult:
        return self.fixes.applied(self.fixes.offered(self.measured({})), examine or self.measured)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    path = tmp_path / "net.py"
    path.write_text(NET, encoding="utf-8")
    os.utime(path, ns=(0, 10**18))
    return Program(path, since=time.time_ns())


def test_a_fix_is_kept_that_the_second_measurement_confirms(program: Program) -> None:
    """The patch goes into the file once the finding is gone with it, and not before it is written."""
    result = program.fix()
    assert [each.code for each in result.removed] == ["REG202"]
    assert (result.report.findings, result.refused) == ((), {})
    assert program.path.read_text(encoding="utf-8") == NET
    result.write()
    assert program.path.read_text(encoding="utf-8") == FIXED


def test_what_a_fix_removes_is_measured_again(program: Program) -> None:
    """The line of the finding, where it stands with the fix, says how large the effect is then."""
    lines: list[FixedLine] = []

    def examine(contents: Mapping[str, bytes], fixed: Sequence[FixedLine]) -> Report:
        lines.extend(fixed)
        (before,) = program.measured({}).findings
        refuted = replace(before, evidence=Evidence(Verdict.REFUTED, effect=Effect("change", 0.0, "of it")))
        return replace(program.measured(contents), refuted=(refuted,))

    result = program.fix(examine)
    assert [(each.code, each.path, each.line) for each in lines] == [("REG202", str(program.path), 13)]
    (fixed,) = result.removed
    assert result.report.refuted == ()
    before = replace(fixed, evidence=Evidence(Verdict.CONFIRMED, effect=Effect("change", 0.5, "of it")))
    assert fixed_line(before, result.again[fixed.key]).endswith(" change: 50 % → 0 % of it")
    assert fixed_line(before).endswith(" change: 50 % of it → not found when measured again")


def test_an_audit_measures_in_lines_that_no_rule_suspects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line with a dropout is measured where it is named, and a line without one says nothing."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "net_with_a_gate.py"
    path.write_text(GATED, encoding="utf-8")
    model = importlib.import_module(path.stem).Net()
    here, elsewhere = (FixedLine("REG202", str(path), line, "it drops", "") for line in (13, 14))
    assert audit(model).refuted == ()
    with measuring_again([elsewhere]):
        assert audit(model).refuted == ()
    with measuring_again([here]):
        report = audit(model)
    (again,) = report.refuted
    assert here.is_of(again) and again.evidence.effect is not None and again.evidence.effect.value == 0
    assert report.findings == ()


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (Edit(3, 1, 3, 1, "one\ntwo\n"), 7),
        (Edit(5, 1, 5, 1, "one\n"), 6),
        (Edit(5, 9, 5, 12, "a,\n b"), 5),
        (Edit(2, 1, 4, 1, ""), 3),
        (Edit(6, 1, 6, 1, "one\n"), 5),
    ],
)
def test_a_finding_moves_with_the_lines_above(program: Program, edit: Edit, line: int) -> None:
    """Lines that a fix adds or removes above a finding move it, and those below do not."""
    (found,) = program.measured({}).findings
    moved = FixedLine.of(replace(found, line=5, column=9), [edit])
    assert moved is not None
    assert moved.line == line


def test_lines_of_a_report_move_with_the_file() -> None:
    """A line keeps its number above a change, moves below it, and stays within what replaces it."""
    lines = LineMap(b"a\nb\nc\nd\n", b"a\nnew\nb\nC\nC2\nd\n")
    assert [lines[number] for number in (1, 2, 3, 4)] == [1, 3, 4, 6]


@pytest.mark.parametrize(
    ("again", "why"),
    [
        (lambda report, before: before, "the finding remains"),
        (lambda report, before: replace(report, not_checked=(NotChecked("Net", "it raised"),)), "Net is not checked"),
        (lambda report, before: replace(report, coverage=()), "less of Net is checked"),
        (
            lambda report, before: replace(report, findings=(replace(before.findings[0], path="other.py"),)),
            "REG202 appears in other.py",
        ),
    ],
)
def test_a_fix_is_taken_back_that_the_second_measurement_refuses(
    program: Program, again: Callable[[Report, Report], Report], why: str
) -> None:
    """Where the finding remains, or less is examined than before, nothing changes and a note says why."""
    before = replace(program.measured({}), coverage=(Coverage("Net", "recorded", modules=3, traced=3),))

    def examine(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
        return again(replace(program.measured(contents), coverage=before.coverage), before)

    result = program.fixes.applied(program.fixes.offered(before), examine)
    assert (result.removed, result.after) == ([], {})
    assert why in result.refused[str(program.path)]


def test_a_fix_is_taken_back_where_the_second_process_dies(program: Program) -> None:
    """A model that no longer runs with the fix keeps its source."""

    def examine(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
        raise Died("SystemExit: 3")

    result = program.fix(examine)
    assert result.after == {}
    assert result.refused == {str(program.path): "REG202: with the fix it could not be run: SystemExit: 3"}


def test_a_file_with_which_the_program_fails_spares_the_others(program: Program) -> None:
    """Where the changes of two files allow no comparison, each is tried alone, and the good one stays."""
    other = program.path.with_name("other.py")
    other.write_text(NET, encoding="utf-8")
    os.utime(other, ns=(0, 10**18))

    def examine(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
        if str(other) in contents:
            raise Died("RuntimeError: shapes differ")
        return both(contents)

    def both(contents: Mapping[str, bytes]) -> Report:
        reports = [Program(path, program.since).measured(contents) for path in (program.path, other)]
        return replace(join(reports), live=True)

    result = program.fixes.applied(program.fixes.offered(both({})), examine)
    assert result.after == {str(program.path): FIXED.encode()}
    assert result.refused == {str(other): "REG202: with the fix it could not be run: RuntimeError: shapes differ"}


def test_only_confirmed_findings_are_fixed(program: Program) -> None:
    """What no measurement confirmed has no patch."""
    report = program.measured({}, verdict=Verdict.UNMEASURED)
    assert [each.patch for each in program.fixes.offered(report).findings] == [None]


def test_unsafe_fixes_are_asked_for(program: Program) -> None:
    """A fix that may undo what somebody meant is applied with `unsafe` only."""
    program.path.write_text(ON_PURPOSE, encoding="utf-8")
    os.utime(program.path, ns=(0, 10**18))
    assert program.fix().after == {}
    program.unsafe = True
    assert program.fix().after == {str(program.path): GATED.encode()}


def test_libraries_are_left_alone(program: Program) -> None:
    """No patch is offered for a file among the installed packages."""
    library = os.path.join(sysconfig.get_path("purelib"), "a_library", "net.py")
    report = program.measured({})
    report = replace(report, findings=tuple(each.at(library) for each in report.findings))
    with overlay({library: NET.encode()}):
        assert [each.patch for each in program.fixes.offered(report).findings] == [None]


def test_a_file_that_changed_since_the_import_is_left_alone(program: Program) -> None:
    """The measured program had another source: its lines may mean something else now."""
    os.utime(program.path, ns=(0, program.since + 1))
    result = program.fix()
    assert (result.after, result.refused) == ({}, {str(program.path): "it has changed since it was imported"})


def test_nothing_is_written_where_two_fixes_conflict(program: Program) -> None:
    """Two patches that change one place in two ways leave their file as it is; equal ones are one change."""
    offered = program.fixes.offered(program.measured({}))
    (one,) = offered.findings
    assert one.patch is not None
    edit = one.patch.edits[0]
    other = replace(one, code="REG999", line=14, patch=Patch("other", True, (replace(edit, text=", other=1"),)))
    result = program.fixes.applied(replace(offered, findings=(one, other)), program.measured)
    why = "the fixes of REG202 in line 13 and REG999 in line 14 conflict"
    assert (result.after, result.refused) == ({}, {str(program.path): why})
    twin = replace(one, code="REG999", line=14)
    result = program.fixes.applied(replace(offered, findings=(one, twin)), program.measured)
    assert result.after == {str(program.path): FIXED.encode()}
    assert [each.code for each in result.removed] == ["REG202", "REG999"]


def test_more_coverage_is_comparable() -> None:
    """A model of which more is followed after a fix is compared; one that is followed in another way is not."""
    before, more, other = (
        Report(coverage=(Coverage("Net", how, modules=3, traced=traced),))
        for how, traced in (("recorded", 2), ("recorded", 3), ("symbolic", 3))
    )
    refuse_incomparable(before, more, ())
    with pytest.raises(CannotCompare, match="less of Net is checked"):
        refuse_incomparable(before, other, ())


def test_a_fresh_process_imports_other_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports read the given contents, whatever the file and its bytecode hold, and both stay as they are."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = tmp_path / "sample_constants.py"
    path.write_text("def answer():\n    return 41\n", encoding="utf-8")
    assert call_afresh({}, pkgutil.resolve_name, "sample_constants:answer.__code__.co_consts")[-1] == 41
    files = {each: each.read_bytes() for each in tmp_path.rglob("*.py*") if each.is_file()}
    assert len(files) == 2
    contents = {str(path): b"def answer():\n    return 42\n"}
    assert call_afresh(contents, pkgutil.resolve_name, "sample_constants:answer.__code__.co_consts")[-1] == 42
    assert {each: each.read_bytes() for each in tmp_path.rglob("*.py*") if each.is_file()} == files


def test_a_fresh_process_that_fails_says_why() -> None:
    """The error has the last line of what the process wrote."""
    with pytest.raises(Died, match="ModuleNotFoundError: No module named 'there_is_none'"):
        call_afresh({}, pkgutil.resolve_name, "there_is_none:X")
