"""The findings that a test session leaves for editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.report import Report
from regcheck.session import last_run

SOURCE = "import torch\n\n\ndef rate(x):\n    return drop(x)\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path.resolve() / "project"
    root.mkdir()
    (root / "net.py").write_text(SOURCE)
    return root


def finding(code: str, line: int = 5, verdict: Verdict = Verdict.CONFIRMED, path: str | None = "net.py") -> Finding:
    evidence = Evidence(verdict, because="16 runs differ")
    return Finding(code, "name", Severity.ERROR, "still drops", "Net", path, line, 5, "", evidence, "")


def codes(root: Path) -> list[str]:
    return [each.finding.code for each in last_run.load(root / "net.py")]


def test_confirmed_findings_of_a_file_are_stored(project: Path) -> None:
    """Findings that were not confirmed, and those without a line in a file, are left out."""
    unproven = finding("REG203", verdict=Verdict.UNMEASURED)
    elsewhere = (finding("REG101", path=None), finding("REG102", path="<string>"), finding("REG103", line=99))
    before = last_run.changed()
    last_run.store(Report((finding("REG202"), unproven, *elsewhere)), project, whole=True)
    assert last_run.changed() > before
    (found,) = last_run.load(project / "net.py")
    assert found.finding == finding("REG202").at(str(project / "net.py")) and found.is_current
    assert [*last_run.load(project / "other.py")] == []


def test_a_part_of_the_tests_replaces_nothing(project: Path) -> None:
    """A session of some tests adds its findings, and one of all tests replaces them."""
    last_run.store(Report((finding("REG202"),)), project, whole=True)
    last_run.store(Report((finding("REG201"),)), project, whole=False)
    assert codes(project) == ["REG202", "REG201"]
    last_run.store(Report((finding("REG201"),)), project, whole=True)
    assert codes(project) == ["REG201"]


def test_a_finding_moves_with_its_line(project: Path) -> None:
    """A finding follows the text of its line to another line and indentation, and is gone without it."""
    file = project / "net.py"
    last_run.store(Report((finding("REG202"),)), project, whole=True)
    (found,) = last_run.load(file)
    file.write_text(SOURCE.replace("    return", "    if x:\n        return"))
    moved = found.now()
    assert moved is not None and (moved.line, moved.column) == (6, 9) and not found.is_current
    file.write_text(SOURCE.replace("drop(x)", "x"))
    assert found.now() is None
    file.unlink()
    assert found.now() is None


def test_a_cache_that_cannot_be_written_stops_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cache folder a session stores nothing, and nothing is read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "net.py"))
    last_run.store(Report((finding("REG202"),)), project, whole=True)
    assert codes(project) == [] and last_run.changed() == 0
