"""What a session shows of its proofs while they run, and that pytest's own output stays as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from regcheck.suite import progress_line

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

SHOWN = re.compile(r"\n\x1b\[A(?:\x1b\[\d+C)?\x1b7\n\r\x1b\[K(.*?)\x1b8")
ERASED = "\x1b7\n\r\x1b[K\x1b8"
MODELS = '[tool.regcheck]\nmodels = ["models:Leaky"]\n'


def test_a_log_shows_proofs_with_verbose_alone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-v` steps are lines on standard error, also those of a configured model; otherwise there is none."""
    monkeypatch.setattr(progress_line, "SECONDS", 0.0)
    project.write("pyproject.toml", MODELS)
    lines = project.run("--regcheck", "-v").stderr.splitlines()
    assert lines.count("regcheck: measuring REG202 in Leaky (1 of 1)") == 2
    assert "regcheck: measuring REG201 in test_models.py::test_predict (1 of 1)" in lines
    assert "regcheck: " not in project.run("--regcheck").stderr


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(
    ("workers", "where"), [((), ""), pytest.param(("-n", "2"), r"\[gw[01]\] ", marks=pytest.mark.slow)]
)
def test_a_terminal_shows_a_line_below_pytests_own(project: Project, workers: tuple[str, ...], where: str) -> None:
    """On a terminal a step, of any worker, stands below pytest's line and is erased again; pytest's output remains."""
    import pty

    project.write("pyproject.toml", MODELS)
    terminal, own = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--regcheck",
        "-p",
        "no:randomly",
        "--regcheck-fail-on",
        "never",
        *workers,
    ]
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(command, cwd=project.folder, stdout=own, stderr=own, env=environment)
    os.close(own)
    shown = b""
    while chunk := read(terminal):
        shown += chunk
    process.wait(60)
    os.close(terminal)
    text = shown.decode().replace("\r\n", "\n")
    shows = re.compile(rf"regcheck: {where}measuring REG202 in Leaky \(1 of 1\)")
    assert any(map(shows.fullmatch, SHOWN.findall(text)))
    assert text.count(ERASED) >= (1 if workers else 2)  # steps of two workers may overlap, and end once
    rest = SHOWN.sub("", text).replace(ERASED, "")
    assert "\x1b7" not in rest and "measuring" not in rest
    assert re.search(r"^(test_models\.py )?\.\.\.+ +\[ *\d+%\]$", rest, re.MULTILINE)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so where the other end is closed
        return b""
