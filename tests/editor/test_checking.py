"""What is shown of one file: the findings of a scan, with the evidence of test sessions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pygls", reason="needs the extra `lsp`")

from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.editor.checking import Checker, EditorResult
from regcheck.editor.messages import evidence, hover
from regcheck.session import last_run

SOURCE = """import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        x = noisy(
            x)
        return F.dropout(x, 0.5) + 1


def noisy(x):
    return x
"""
NOISE, DROPOUT = 8, 10
"""The lines of a finding that only a session can see, and of one that a scan sees."""
PROOF = Evidence(Verdict.CONFIRMED, 0.031, 0.0, "spread", device="cpu", samples=16, seed=0, because="16 runs differ")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a project after a session that confirmed a finding in each of the two lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path.resolve() / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("[tool.regcheck]\n")
    (root / "net.py").write_text(SOURCE)
    noise = Finding(
        "REG203", "stochastic-prediction", Severity.ERROR, "draws", "Net", "net.py", NOISE, 9, "", PROOF, ""
    )
    dropout = replace(noise, code="REG202", name="dropout-ignores-mode", line=DROPOUT, column=16)
    last_run.store(Report((noise, dropout)), root, whole=True)
    return root / "net.py"


def check(file: Path, source: str = SOURCE) -> EditorResult:
    return Checker({str(file): source.encode()}, (file.parent,)).check(file, stored=False)


def test_a_session_adds_findings_and_evidence(file: Path) -> None:
    """A finding that only a session saw is shown, and one that the scan sees keeps its patch and gets the evidence."""
    dropout, noise = sorted(check(file).findings, key=lambda each: each.finding.code)
    assert (noise.finding.line, noise.from_run, noise.stale) == (NOISE, True, False)
    assert dropout.finding.patch is not None and dropout.finding.evidence == PROOF
    assert evidence(dropout) == ["`pytest --regcheck`: confirmed on cpu: 16 runs differ"]
    assert "measured 0.031, expected 0" in hover([dropout], [])


def test_a_change_makes_evidence_stale(file: Path) -> None:
    """After a change elsewhere in the file the session's finding says so; the scan's stands without the evidence."""
    dropout, noise = sorted(check(file, f"import math\n{SOURCE}").findings, key=lambda each: each.finding.code)
    assert (noise.finding.line, noise.stale) == (NOISE + 1, True)
    assert "This file has changed since" in evidence(noise)[1]
    assert not dropout.from_run and evidence(dropout) == []


def test_a_changed_line_ends_a_finding_of_a_session(file: Path) -> None:
    """The edit that mends a line removes its finding at once."""
    changed = SOURCE.replace("x = noisy(", "x = self.training and noisy(")
    assert [each.finding.code for each in check(file, changed).findings] == ["REG202"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import torch\n", "# regcheck: ignore-file[REG2] on purpose\nimport torch\n"),
        ("x)\n", "x)  # regcheck: ignore[REG203] on purpose\n"),
    ],
    ids=["file", "statement"],
)
def test_an_ignore_that_is_added_later_suppresses(file: Path, old: str, new: str) -> None:
    """A comment that was not there in the session suppresses its finding."""
    shown = check(file, SOURCE.replace(old, new, 1)).findings
    assert "REG203" not in [each.finding.code for each in shown]


def test_a_patch_that_does_not_help_is_not_offered(file: Path) -> None:
    """A scan of the patched text decides: the rule's patch helps, an edit that changes nothing does not."""
    (dropout,) = [each.finding for each in check(file).findings if each.finding.code == "REG202"]
    checker = Checker({str(file): SOURCE.encode()}, (file.parent,))
    assert checker.objection_to(dropout, file) == ""
    useless = replace(dropout, patch=Patch("change nothing", True, (Edit(1, 1, 1, 1, "\n"),)))
    assert "the finding remains" in checker.objection_to(useless, file)
