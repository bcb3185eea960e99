"""The labelled benchmark: its labels hold together, its figures are computed right, and regcheck's have not fallen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[1]
FIELD = ROOT / "benchmarks" / "field"

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT)
    from benchmarks.field import VERSION, page, results
    from benchmarks.field.cases import FOLDER, Case, cases, kinds, labels
    from benchmarks.field.score import Share, judge, precision, recall, together
    from benchmarks.field.tools import regcheck_scan


def case(label: str, kind: str = "leaks") -> Case:
    lines = frozenset({("main.py", 3)} if label != "right" else ())
    return Case(
        kind,
        "one",
        label,
        {"main.py": "\n" * 5},
        lines,
        frozenset({("main.py", 5)}),
        ("drips",),
        ("run",),
        "",
        False,
        "",
        "",
        "",
    )


def report(line: int | None, kind: str | None = None) -> dict[str, Any]:
    return {"file": "main.py" if line else None, "line": line, "kind": kind, "text": "it leaks"}


@pytest.mark.parametrize("kind", kinds())
def test_labels_follow_their_schema(kind: str) -> None:
    """Each labels.toml validates, and names every program in its folder and no other."""
    table = labels(kind)
    jsonschema.validate(table, json.loads((FIELD / "labels.schema.json").read_text(encoding="utf-8")))
    entries = {file.stem for file in (FOLDER / kind).iterdir() if file.name not in ("labels.toml", "__pycache__")}
    assert sorted(program["name"] for program in table["program"]) == sorted(entries)


def test_every_label_has_its_lines() -> None:
    """All texts that labels and twins refer to occur once, a fault has a line, and ids are unique."""
    chosen = cases()
    assert len({case.id for case in chosen}) == len(chosen)
    assert all(case.lines for case in chosen if case.label == "fault")
    assert all(not case.lines for case in chosen if case.label == "right")
    assert sum(case.label == "right" for case in chosen) >= sum(case.label == "fault" for case in chosen)


def test_programs_are_python() -> None:
    """Each program and each twin compiles."""
    for one in cases():
        for name, text in one.files.items():
            compile(text, f"{one.id}/{name}", "exec")


@pytest.mark.parametrize(
    ("label", "line", "kind", "hit", "wrong"),
    [
        ("fault", 3, "leaks", True, 0),
        ("fault", 3, None, True, 0),
        ("fault", 3, "drips", True, 0),
        ("fault", 3, "sticks", False, 0),
        ("fault", None, None, True, 0),
        ("fault", 4, "leaks", False, 1),
        ("fault", 5, "sticks", False, 0),
        ("right", 3, "leaks", False, 1),
        ("right", None, None, False, 1),
        ("right", 5, "sticks", False, 0),
        ("debatable", 3, "leaks", True, 0),
        ("debatable", 4, "leaks", False, 1),
    ],
)
def test_a_message_is_held_against_the_label(
    label: str, line: int | None, kind: str | None, hit: bool, wrong: int
) -> None:
    """A hit needs the kind and a line of the fault; elsewhere a message is wrong, except beside another truth."""
    result = judge(case(label), [report(line, kind)])
    assert (result.hit, len(result.wrong)) == (hit, wrong)


def test_figures_count_cases() -> None:
    """Recall counts faults; precision counts cases, so that two wrong messages in one case weigh once."""
    found = judge(case("fault"), [report(3)])
    missed = judge(case("fault"), [])
    alarm = judge(case("right"), [report(2), report(4)])
    quiet = judge(case("right"), [])
    results = [found, missed, alarm, quiet]
    assert (recall(results), precision(results)) == (Share(1, 2), Share(1, 2))
    assert recall(together([[found, missed], [missed, found]])) == Share(2, 2)


@pytest.mark.parametrize(
    ("share", "low", "high"),
    [
        (Share(0, 10), 0.0, 0.3085),
        (Share(10, 10), 0.6915, 1.0),
        (Share(5, 10), 0.1871, 0.8129),
        (Share(1, 40), 0.0006, 0.1316),
    ],
)
def test_intervals_are_those_of_clopper_and_pearson(share: Share, low: float, high: float) -> None:
    """The interval's ends are the published ones to four places."""
    assert share.interval == pytest.approx((low, high), abs=5e-5)


def test_the_page_shows_the_stored_results() -> None:
    """docs/field.md is what the results say, and these are of the current version of the cases."""
    version, tools = results.load()
    assert version == VERSION
    assert page.PAGE.read_text(encoding="utf-8") == page.text(version, tools)


def test_a_scan_of_a_sample_is_as_good_as_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every twelfth case, a scan gets none wrong that it got right when the results were stored."""
    stored = results.load()[1]["regcheck_scan"]
    sample = cases()[::12]
    worse = []
    for number, before in enumerate(stored.judged(sample)):
        folder = tmp_path / str(number)
        before.case.write(folder)
        monkeypatch.chdir(folder)
        task = {"advice": before.case.kind if before.case.advice else ""}
        if before.agrees and not judge(before.case, regcheck_scan.examine(task)).agrees:
            worse.append(before.case.id)
    assert not worse


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_door_is_worse_than_stored() -> None:
    """No door of regcheck gets a case wrong that it got right when the results were stored."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.field", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
