"""Reports of shards joined into one: the same in any order and grouping, and nothing lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcheck.cli.main import main
from regcheck.core.coverage import Coverage
from regcheck.core.finding import Effect, Evidence, Finding, NotChecked, Severity, Verdict
from regcheck.core.inspections import Inspection, Progress
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.core.version import __version__
from regcheck.files.place import Place
from regcheck.report import FORMATS, rendered
from regcheck.report.parse import read_report

CONFIRMED = Finding(
    code="REG202",
    name="dropout-ignores-mode",
    severity=Severity.ERROR,
    message="it drops",
    module="drop",
    path="net.py",
    line=2,
    column=1,
    fix="",
    evidence=Evidence(Verdict.CONFIRMED, measured=0.5, effect=Effect("spread", 0.5, "of it")),
    docs="https://example.org",
)
UNPROVEN = replace(CONFIRMED, evidence=Evidence(Verdict.UNMEASURED, because="too large"))
REFUTED = replace(CONFIRMED, evidence=Evidence(Verdict.REFUTED, measured=0.0))
RUN = Report(version=__version__, live=True)
DECLARED = CodeSuppression("REG203", "why", Place("net.py", 9), "ignore(…)")
UNUSED = replace(CONFIRMED, code="REG900", name="unused-ignore", line=9, message="`ignore(REG203)` silences nothing")
OPEN = NotChecked("Net", "it raised", path="net.py", line=3)


def variants(finding: Finding) -> st.SearchStrategy[Finding]:
    """Reports of a few findings, which differ by what can differ from shard to shard."""
    return st.builds(
        lambda line, module, severity, samples: replace(
            finding,
            line=line,
            module=module,
            severity=severity,
            evidence=replace(finding.evidence, samples=samples),
        ),
        st.integers(1, 3),
        st.sampled_from(["drop", "blocks.0"]),
        st.sampled_from(Severity),
        st.integers(8, 10),
    )


def several(each: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(each, max_size=3).map(tuple)


def coverages(subject: str) -> st.SearchStrategy[Coverage]:
    return st.builds(Coverage, st.just(subject), st.just("recorded"), modules=st.just(3), traced=st.integers(1, 3))


INSPECTIONS = st.builds(
    Inspection,
    st.sampled_from(Progress),
    several(st.builds(NotChecked, st.just("inside"), st.sampled_from(["a", "b"]))),
    several(coverages("inside")),
)
RUNS = st.builds(
    replace,
    st.just(RUN),
    findings=several(st.one_of(variants(CONFIRMED), variants(UNPROVEN))),
    refuted=several(variants(REFUTED)),
    known=several(variants(replace(CONFIRMED, code="REG101"))),
    not_checked=several(st.builds(NotChecked, st.just("b"), st.sampled_from(["raised", "died"]))),
    subjects=several(st.sampled_from(["Net", "Other"])),
    coverage=several(coverages("outside")),
    devices=several(st.sampled_from(["cpu", "cuda:0"])),
    strict=st.booleans(),
    fail_on=st.sampled_from([None, *Severity]),
    inspections=st.dictionaries(st.sampled_from("st"), INSPECTIONS),
)
DECLARATIONS = st.sampled_from(
    [RUN, replace(RUN, suppressed_by=(DECLARED,)), replace(RUN, findings=(UNUSED,), idle=(DECLARED,))]
)
TARGET, MISSED = "a.py:Net", NotChecked("a.py:Net", "killed")
TARGETS = st.sampled_from(
    [
        RUN,
        replace(RUN, subjects=(TARGET,)),
        replace(RUN, subjects=(TARGET,), not_checked=(replace(MISSED, reason="opaque: head"),)),
        replace(RUN, subjects=(TARGET,), blocked=(TARGET,), not_checked=(replace(MISSED, reason="raised"),)),
        replace(RUN, blocked=(TARGET,), not_checked=(MISSED,)),
    ]
)
REPORTS = st.tuples(RUNS, DECLARATIONS, TARGETS).map(join)


@settings(max_examples=50, deadline=None)
@given(REPORTS, REPORTS, REPORTS)
def test_order_and_grouping_do_not_matter(one: Report, two: Report, three: Report) -> None:
    """Reports join to the same report in any order, step by step or at once, and a report twice counts once."""
    whole = join([one, two, three])
    assert join([three, one, two]) == whole == join([two, three, one])
    assert join([one, join([two, three])]) == whole == join([join([one, two]), three])
    assert join([whole, two]) == whole == join([whole])


@settings(max_examples=30, deadline=None)
@given(REPORTS, st.sampled_from(["json", "json-lines"]))
def test_a_report_is_read_as_it_was_written(report: Report, form: str) -> None:
    """Either format holds the whole report, its exit code included."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "report")
        file.write_text(rendered(report, form), encoding="utf-8")
        assert join([read_report(file)]) == report


CLOSED = Inspection(Progress.MEASURED)
MERGED: dict[str, tuple[Report, Report, dict[str, object]]] = {
    "a shard proves what another could not measure": (
        replace(RUN, findings=(UNPROVEN,)),
        replace(RUN, findings=(CONFIRMED,)),
        {"findings": (CONFIRMED,), "exit_code": 1},
    ),
    "a shard refutes what another could not measure": (
        replace(RUN, findings=(UNPROVEN,)),
        replace(RUN, refuted=(REFUTED,)),
        {"findings": (), "refuted": (REFUTED,), "exit_code": 0},
    ),
    "what a shard confirms stands, though another model's is refuted": (
        replace(RUN, findings=(CONFIRMED,)),
        replace(RUN, refuted=(REFUTED,)),
        {"findings": (CONFIRMED,), "refuted": (), "exit_code": 1},
    ),
    "a shard checks the structure that another leaves open": (
        replace(RUN, not_checked=(OPEN,), inspections={"s": Inspection(Progress.NOT_REPLAYED, (OPEN,))}),
        replace(RUN, inspections={"s": CLOSED}),
        {"not_checked": ()},
    ),
    "another structure of that name stays open": (
        replace(RUN, not_checked=(OPEN,), inspections={"s": Inspection(Progress.NOT_REPLAYED, (OPEN,))}),
        replace(RUN, inspections={"t": CLOSED}),
        {"not_checked": (OPEN,)},
    ),
    "a machine checks the target that another could not": (
        replace(RUN, not_checked=(NotChecked("a.py:Net", "it was killed"),), blocked=("a.py:Net",)),
        replace(RUN, subjects=("a.py:Net",)),
        {"not_checked": (), "blocked": (), "exit_code": 0},
    ),
    "a target that no machine could check": (
        replace(RUN, not_checked=(NotChecked("a.py:Net", "it was killed"),), blocked=("a.py:Net",)),
        replace(RUN, subjects=("a.py:Other",)),
        {"blocked": ("a.py:Net",), "exit_code": 3},
    ),
    "a declaration that is idle in a shard and in use in another": (
        replace(RUN, findings=(UNUSED,), idle=(DECLARED,)),
        replace(RUN, suppressed_by=(DECLARED,)),
        {"findings": (), "exit_code": 0},
    ),
    "a declaration that is idle in all shards": (
        replace(RUN, findings=(UNUSED,), idle=(DECLARED,)),
        replace(RUN, findings=(UNUSED,), idle=(DECLARED,)),
        {"findings": (UNUSED,)},
    ),
    "findings of the baseline": (
        replace(RUN, known=(CONFIRMED,)),
        replace(RUN, known=(CONFIRMED, replace(CONFIRMED, line=3))),
        {"headline": "0 findings, 2 known from the baseline", "exit_code": 0},
    ),
    "a strict shard among others": (
        replace(RUN, not_checked=(NotChecked("test_a", "it was not kept"),)),
        replace(RUN, strict=True),
        {"exit_code": 3},
    ),
    "a shard that fails on less": (
        replace(RUN, findings=(replace(CONFIRMED, severity=Severity.INFO),), fail_on=None),
        replace(RUN, fail_on=Severity.INFO),
        {"exit_code": 1},
    ),
    "scans that share a file": (
        Report(files=2, subjects=("a.py", "b.py")),
        Report(files=2, subjects=("b.py", "c.py")),
        {"files": 3},
    ),
}


@pytest.mark.parametrize(("one", "other", "expected"), MERGED.values(), ids=MERGED)
def test_each_part_of_the_reports_is_joined(one: Report, other: Report, expected: dict[str, object]) -> None:
    """What a shard proved, refuted, checked or used settles what another one left open, and nothing else."""
    for pair in ((one, other), (other, one)):
        whole = join(pair)
        assert {name: getattr(whole, name) for name in expected} == expected


@pytest.mark.parametrize("format", FORMATS)
def test_a_merged_report_is_written_in_every_format(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`regcheck merge` reads both JSON formats, writes any, and exits as the reports' own run would."""
    monkeypatch.chdir(tmp_path)
    Path("one.json").write_text(rendered(replace(RUN, findings=(UNPROVEN,)), "json"), encoding="utf-8")
    Path("two.jsonl").write_text(rendered(replace(RUN, findings=(CONFIRMED,)), "json-lines"), encoding="utf-8")
    assert main(["merge", "one.json", "two.jsonl", "--output-format", format, "--expect", "2"]) == 1
    shown = capsys.readouterr().out
    assert "REG202" in shown and "too large" not in shown


GOOD = rendered(RUN, "json")
LINES = rendered(replace(RUN, findings=(CONFIRMED,)), "json-lines")
UNUSABLE = {
    "an empty file": ("", "odd.json: is empty"),
    "a truncated file": (GOOD[: len(GOOD) // 2], "odd.json: is no JSON, or is cut off"),
    "lines without the last one": (LINES.splitlines()[0], "odd.json: is cut off: its last line"),
    "lines that end in the middle": (LINES[:-9], "odd.json: is cut off, or damaged, at line 2"),
    "something else in JSON": ('{"results": []}', "odd.json: is no report of regcheck"),
    "a list": ("[1, 2]", "odd.json: is no report"),
    "a number in each line": ("1\n2\n", "odd.json: is no report"),
    "bytes that are no text": ("\udcff", "odd.json: is no report"),
    "another version": (GOOD.replace(__version__, "0.0.1"), "odd.json: regcheck 0.0.1 wrote it"),
    "a damaged figure": (GOOD.replace('"seed": 0', '"seed": "0"'), "seed is '0'"),
    "a key that nobody wrote": (GOOD.replace('"seed": 0', '"seed": 0, "sprout": 1'), "sprout is unknown"),
    "a key that is gone": (GOOD.replace('"seed": 0,', ""), "seed is missing"),
    "another seed": (GOOD.replace('"seed": 0', '"seed": 1'), "the seed 0, and odd.json the seed 1"),
    "a scan": (GOOD.replace('"live": true', '"live": false'), "odd.json is of a scan"),
}


@pytest.mark.parametrize(("text", "says"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_file_is_named(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is damaged, foreign or unlike the others is wrong usage with the file's name, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(GOOD, encoding="utf-8")
    Path("odd.json").write_bytes(text.encode(errors="surrogateescape"))
    assert main(["merge", "good.json", "odd.json", "--output-file", "all.json"]) == 2
    assert says in capsys.readouterr().err
    assert not Path("all.json").exists()


def test_a_missing_report_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there is named, and fewer reports than expected are none to rely on."""
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text(GOOD, encoding="utf-8")
    assert main(["merge", "good.json", "gone.json"]) == 2
    assert main(["merge", "good.json", "--expect", "3"]) == 2
    said = capsys.readouterr().err
    assert "gone.json: cannot be read" in said and "3 reports expected, and 1 named" in said
