"""What a run shows of its progress: on a terminal, in a log, and without a listener."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regcheck.cli import main, progress
from regcheck.core.progress import listening, steps

NET = "from torch import nn\n\n\nclass Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n" + (
    "        self.norm = nn.BatchNorm1d(4)\n\n    def forward(self, x):\n        return nn.functional.dropout(x)\n"
    "\n\nclass Wide(Net):\n    pass\n"
)


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two models; every step is shown, however short the run is. An audit imports their module."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delitem(sys.modules, "net", raising=False)
    yield tmp_path
    sys.modules.pop("net", None)


def test_steps_announce_themselves_within_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step is announced when it begins, behind the steps that it is a part of, and in counts."""
    lines: list[str] = []
    with listening(lambda begun: lines.append(": ".join(map(str, begun)))):
        for outer in steps("ab", lambda each: f"auditing {each}"):
            for _ in steps(range(2 if outer == "a" else 0), lambda each: f"measuring {each}"):
                pass
    assert lines == [
        "auditing a (1 of 2)",
        "auditing a (1 of 2): measuring 0 (1 of 2)",
        "auditing a (1 of 2): measuring 1 (2 of 2)",
        "auditing b (2 of 2)",
    ]
    assert [*steps("ab", lambda each: pytest.fail("nobody listens"))] == ["a", "b"]


def test_a_log_shows_what_is_done_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a scan prints steps with -v alone, on standard error, and the report stays the same."""
    plain = [main.main(["scan", "--no-cache"]), capsys.readouterr()]
    code, shown = main.main(["scan", "--no-cache", "-v"]), capsys.readouterr()
    assert [code, shown.out] == [plain[0], plain[1].out]
    assert plain[1].err == ""
    lines = shown.err.splitlines()
    assert "regcheck: reading net.py (1 of 1)" in lines
    assert "regcheck: reading the models of net.py (1 of 1)" in lines
    assert any(line.startswith("regcheck: checking REG202 (") for line in lines)
    assert main.main(["scan", "--no-cache", "-v", "-q"]) == code
    assert capsys.readouterr().err == ""


def test_an_audit_shows_targets_and_measurements(capsys: pytest.CaptureFixture[str]) -> None:
    """An audit says which of the targets it is at, and which of the suspicions it measures."""
    main.main(["audit", "-v", "net.py:Net", "net.py:Wide", "--device", "cpu"])
    lines = capsys.readouterr().err.splitlines()
    assert "regcheck: auditing net.py:Net (1 of 2)" in lines
    assert "regcheck: auditing net.py:Wide (2 of 2): measuring REG202 in Wide (1 of 1)" in lines


def test_a_terminal_shows_one_line_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal each step replaces the one before, the line is removed at the end, and -q shows none."""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    main.main(["scan", "--no-cache"])
    shown = terminal.getvalue()
    assert "reading the models of net.py (1 of 1)" in shown
    assert shown.count("\n") == 1
    assert shown.endswith("\x1b[2K")
    monkeypatch.setattr(sys, "stderr", quiet := Terminal())
    main.main(["scan", "--no-cache", "-q"])
    assert quiet.getvalue() == ""
