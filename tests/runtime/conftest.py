"""Programs to watch. Their files are no test files, so what they do counts as the code under test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from regcheck.core.finding import Verdict
from regcheck.rules.mode import missing_eval
from regcheck.runtime.recorder import EventRecorder, Observation
from regcheck.session.session import Session

from .watched_rows import PARTS, CheckRow, Row

RULES = ("REG201", "REG204", "REG206", "REG208")

PRELUDE = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.hidden(x))))


x = torch.ones(4, 8)
"""

See = Callable[..., Observation]


@pytest.fixture
def see(tmp_path: Path) -> See:
    """Runs a program, after the lines of `PRELUDE`, and returns what was seen of it."""

    def see(source: str, name: str = "program.py") -> Observation:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PRELUDE + textwrap.dedent(source), encoding="utf-8")
        with EventRecorder(root=str(tmp_path)) as watch:
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {"__name__": "program"})
        return watch.drain(name)

    return see


@pytest.fixture
def missing_evals(see: See, tmp_path: Path) -> Callable[..., list[str]]:
    """The source lines at which a program is said to predict in train mode."""

    def missing_evals(source: str, name: str = "program.py") -> list[str]:
        suspicions = list(missing_eval.check(see(source, name).usage))
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        return [lines[each.place.line - 1].strip() for each in suspicions if each.place]

    return missing_evals


@pytest.fixture
def check_row(see: See, tmp_path: Path) -> CheckRow:
    def check_row(row: Row) -> None:
        seen = see(PARTS + textwrap.dedent(row.program), row.name)
        report = Session({"select": RULES, "devices": ["cpu"]}).examine(seen).ledger.report()
        lines = enumerate((tmp_path / row.name).read_text(encoding="utf-8").splitlines(), 1)
        assert [each.reason for each in (*seen.skipped, *seen.uncaptured.values())] == []
        assert tuple(f"{each.code} {each.severity.value}" for each in report.findings) == row.reports, str(report)
        assert {each.line for each in report.findings} == {number for number, line in lines if line.endswith("# <-")}
        assert all(each.evidence.verdict is Verdict.CONFIRMED for each in report.findings), str(report)

    return check_row
