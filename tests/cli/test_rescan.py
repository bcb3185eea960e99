"""`regcheck scan --watch`: what starts another scan, what does not end it, and how it ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from regcheck.cli import main
from regcheck.cli.rescan import CLEAR, rescan, states_of
from regcheck.core.errors import UsageError

SOUND = (
    "import torch.nn.functional as F\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, x):\n"
    + ("        return F.dropout(x, 0.5, self.training).relu()\n")
)
FAULTY = SOUND.replace("0.5, self.training", "0.5")


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound file in the working directory, the only one of its project."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.regcheck]\n")
    file = tmp_path / "net.py"
    file.write_text(SOUND)
    return file


def watched(file: Path, *edits: Callable[[], object]) -> int:
    """The exit code of a watch in which the user makes these edits, one after the other, and presses Ctrl-C."""
    pending = iter(edits)

    def wait(seconds: float) -> None:
        edit = next(pending, None)
        if edit is None:
            raise KeyboardInterrupt
        edit()

    return rescan(lambda: main.dispatch(["scan", file.name, "-q"]), lambda: states_of([file.name], ()), wait)


def test_each_change_starts_a_scan(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A scan follows each change of a file, and none a look that shows no change; the last exit code stands."""
    assert watched(net, lambda: None, lambda: net.write_text(FAULTY), lambda: None) == 1
    shown = capsys.readouterr()
    assert shown.out.count("REG202") == 1
    assert shown.err.count("Ctrl-C ends") == 2
    assert watched(net, lambda: net.write_text(SOUND)) == 0


def test_other_files_of_the_project_count(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new file beside the scanned one, and a change of the configuration, start a scan, with the new options."""
    config = net.parent / "pyproject.toml"
    net.write_text(FAULTY)
    other = net.parent / "other.py"
    assert watched(net, lambda: other.write_text("import net\n"), lambda: config.write_text(IGNORING)) == 0
    assert capsys.readouterr().err.count("Ctrl-C ends") == 3


IGNORING = "[tool.regcheck]\nignore = ['REG202']\n"


def test_what_is_half_written_does_not_end_it(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be parsed is "not checked"; a broken configuration or a file that is gone is an error line."""
    config = net.parent / "pyproject.toml"
    code = watched(
        net,
        lambda: net.write_text(SOUND + "def ("),
        lambda: config.write_text("[tool.regcheck"),
        lambda: config.write_text("[tool.regcheck]\n"),
        net.unlink,
        lambda: net.write_text(FAULTY),
    )
    shown = capsys.readouterr()
    assert code == 1 and "not checked: syntax error" in shown.out
    assert "pyproject.toml: is not valid TOML" in shown.err and "net.py: no such file" in shown.err


def test_a_first_scan_that_is_impossible_ends_it(net: Path) -> None:
    """A path that does not exist is wrong usage, as without `--watch`."""
    with pytest.raises(UsageError, match="no such file"):
        watched(net.with_name("nte.py"))


def test_an_interrupted_first_scan_is_not_clean(net: Path) -> None:
    """Ctrl-C before any scan has ended gives the exit code 130."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert rescan(interrupted, dict) == 130


@pytest.mark.parametrize("other", ["--fix", "--diff", "--write-baseline", "--show-files", "-"])
def test_it_only_reports(net: Path, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Options that write, or that stop before a scan, and standard input are refused."""
    assert main.main(["scan", "--watch", other]) == 2
    assert "--watch" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_ctrl_c_ends_it_on_a_terminal(net: Path) -> None:
    """On a terminal the screen is cleared before each scan, and Ctrl-C ends with the exit code and without a trace."""
    import pty

    net.write_text(FAULTY)
    terminal, own = pty.openpty()
    command = [sys.executable, "-m", "regcheck", "scan", "--watch", "net.py"]
    environment = {**os.environ, "TERM": "xterm"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is run in the background ignores Ctrl-C
    try:
        process = subprocess.Popen(command, stdout=own, stderr=own, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    shown, end = "", time.monotonic() + 60
    while "Ctrl-C ends" not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    while select.select([terminal], [], [], 0)[0]:
        shown += os.read(terminal, 65536).decode()
    assert shown.startswith(CLEAR) and "REG202" in shown and "Traceback" not in shown
    os.close(own)
    os.close(terminal)
