"""A watched training loop is reported where a mode lingers, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.session.block import watch

from ..training_loops import LOOPS, RIGHT, marked, variant


@pytest.fixture(autouse=True)
def program_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reported(tmp_path: Path, source: str) -> set[tuple[str, int, Severity, Verdict]]:
    path = tmp_path / "program.py"
    path.write_text(source, encoding="utf-8")
    with watch({"devices": ["cpu"]}) as watched:
        exec(compile(source, str(path), "exec"), {"__name__": "program"})
    return {(each.code, each.line or 0, each.severity, each.evidence.verdict) for each in watched.report.findings}


@pytest.mark.parametrize("name", LOOPS)
def test_a_mode_that_lingers_is_found(tmp_path: Path, name: str) -> None:
    """Each loop that trains in the eval mode of a prediction is reported at its training call, and confirmed."""
    source = variant(LOOPS[name], faulty=True)
    assert reported(tmp_path, source) == {("REG206", marked(source), Severity.WARNING, Verdict.CONFIRMED)}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_sets_the_mode_is_silent(tmp_path: Path, name: str) -> None:
    """The same loop with `train()` in its place is not reported."""
    assert reported(tmp_path, variant(LOOPS[name], faulty=False)) == set()


@pytest.mark.parametrize("name", RIGHT)
def test_eval_mode_that_is_meant_is_silent(tmp_path: Path, name: str) -> None:
    """Training in eval mode on purpose, with no prediction between `eval()` and the training, is not reported."""
    assert reported(tmp_path, variant(RIGHT[name], faulty=False)) == set()
