"""`regcheck scan` beyond reporting: fixes, standard input, baselines and ignores, as a user sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NET = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = F.dropout(self.hidden(x), p=0.5)
        return self.head(x)


model = Net()
optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
"""
SAFE = NET.replace("p=0.5)", "p=0.5, training=self.training)")
DIFF = [
    "--- net.py",
    "+++ net.py",
    "@@ -10,7 +10,7 @@",
    "         self.head = nn.Linear(32, 4)",
    " ",
    "     def forward(self, x):",
    "-        x = F.dropout(self.hidden(x), p=0.5)",
    "+        x = F.dropout(self.hidden(x), p=0.5, training=self.training)",
    "         return self.head(x)",
    " ",
    " ",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[tool.regcheck]\n")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


def scan(folder: Path, *argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "regcheck", "scan", *argv]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=folder, capture_output=True, input=stdin, env=environment, timeout=120)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_the_report_says_what_can_be_fixed(folder: Path) -> None:
    """The last line counts the fixes of `--fix`, and the further ones of `--unsafe-fixes`."""
    done = scan(folder)
    assert done.stdout.endswith("\n2 findings\n1 fixable with --fix (1 more with --unsafe-fixes)\n")
    assert (folder / "net.py").read_text() == NET


def test_fix_mends_and_reports_what_remains(folder: Path) -> None:
    """`--fix` writes the safe fixes; the report and the exit code are about the remaining findings."""
    done = scan(folder, "--fix", "--output-format", "concise")
    assert (folder / "net.py").read_text() == SAFE
    assert "REG301" in done.stdout and "REG202" not in done.stdout
    assert done.stdout.endswith("\n1 finding\n1 fixed\n1 fixable with --fix --unsafe-fixes\n")
    assert done.returncode == 1
    done = scan(folder, "--fix", "--unsafe-fixes", "--output-format", "concise")
    assert (folder / "net.py").read_text() == SAFE.replace("Adam", "AdamW")
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, ["0 findings", "1 fixed"])


def test_diff_shows_and_changes_nothing(folder: Path) -> None:
    """`--diff` prints a patch to standard output, exits with 1 if there is any, and writes nothing."""
    done = scan(folder, "--diff")
    assert done.stdout.splitlines() == DIFF
    assert (done.returncode, done.stderr) == (1, "1 would be fixed, 1 finding would remain\n")
    assert (folder / "net.py").read_text() == NET
    (folder / "net.py").write_text(SAFE)
    done = scan(folder, "--diff")
    assert (done.returncode, done.stdout) == (0, "")


def test_standard_input_is_a_file(folder: Path) -> None:
    """`-` reads standard input, under its own name or the given one, whatever the disk holds under that name."""
    done = scan(folder, "-", "--output-format", "concise", stdin=NET.encode())
    assert done.stdout.startswith("-:13:13 REG202")
    assert done.returncode == 1
    (folder / "net.py").write_text("")
    done = scan(folder, "-", "--stdin-filename", "net.py", stdin=NET.encode())
    assert done.stdout.startswith("net.py:13:13 error REG202")
    assert "   13 |         x = F.dropout(self.hidden(x), p=0.5)" in done.stdout


def test_fixing_standard_input_prints_the_result(folder: Path) -> None:
    """With `--fix` standard output is the fixed text alone; the report goes to standard error."""
    crlf = f"s = 'é'\n{NET}".replace("\n", "\r\n").encode("utf-8-sig")
    done = scan(folder, "-", "--fix", "--select", "REG202", "--output-format", "concise", stdin=crlf)
    assert done.stdout.encode() == crlf.replace(b"p=0.5)", b"p=0.5, training=self.training)")
    assert (done.returncode, done.stderr.splitlines()[-2:]) == (0, ["0 findings", "1 fixed"])
    name = str(folder / "net.py")
    done = scan(folder, "-", "--fix", "--stdin-filename", name, stdin=NET.encode())
    assert done.stdout == SAFE
    assert done.stderr.startswith("net.py:18:13 warning REG301")
    clean = b"x = 1\r\n"
    assert scan(folder, "-", "--fix", stdin=clean).stdout.encode() == clean
    assert (folder / "net.py").read_text() == NET


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"import torch\nprint 'x'\n", "-:2: not checked: syntax error: Missing parentheses"),
        (b"import torch\nx = '\xff'\n", "-:2: not checked: syntax error: (unicode error)"),
        (b"# coding: torch-1\nimport torch\n", "-: not checked: syntax error: unknown encoding: torch-1"),
        (b"import torch\x00\n", "-: not checked: "),
        (b"import torch\n" + b"(" * 2000, "not checked: "),
    ],
)
def test_what_cannot_be_read_is_not_checked(folder: Path, content: bytes, says: str) -> None:
    """Python 2, undecodable bytes and worse are listed with their line, and never raise."""
    done = scan(folder, "-", "--strict", stdin=content)
    assert says in done.stdout.splitlines()[0]
    assert (done.returncode, done.stderr) == (3, "")


def test_a_baseline_is_written_and_kept(folder: Path) -> None:
    """`--write-baseline` writes the current findings; later runs report new ones, and note those that are gone."""
    done = scan(folder, "--write-baseline")
    assert (done.returncode, done.stdout) == (0, "regcheck-baseline.json: 2 findings (2 new, 0 gone)\n")
    (folder / "net.py").write_text("# moved\n\n" + NET)
    done = scan(folder, "--baseline", "regcheck-baseline.json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n0 findings, 2 known from the baseline\n")
    (folder / "pyproject.toml").write_text("[tool.regcheck]\nbaseline = 'regcheck-baseline.json'\n")
    (folder / "net.py").write_text(SAFE.replace("0.1", "0.2"))
    done = scan(folder, "--output-format", "concise")
    assert done.returncode == 1
    assert done.stdout.startswith("net.py:18:13 REG301")
    assert [line.split(" is gone")[0] for line in done.stderr.splitlines()] == [
        "note: regcheck-baseline.json: REG202 in net.py, Net.forward",
        "note: regcheck-baseline.json: REG301 in net.py",
    ]
    done = scan(folder, "--write-baseline")
    assert done.stdout == "regcheck-baseline.json: 1 finding (1 new, 2 gone)\n"
    done = scan(folder)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_unused_ignore_is_a_finding(folder: Path) -> None:
    """A comment that can suppress nothing is reported; one whose rule did not run is not."""
    text = SAFE.replace("        x = F", "        # regcheck: ignore[REG202] meant\n        x = F")
    (folder / "net.py").write_text(text.replace("0.1)", "0.1)  # regcheck: ignore[REG301] as in the paper"))
    done = scan(folder, "--output-format", "concise")
    assert done.stdout.startswith("net.py:13:9 REG900 unused-ignore: `ignore[REG202]` suppresses nothing: it is on")
    assert "\n1 finding" in done.stdout
    (folder / "net.py").write_text(SAFE.replace("0.1)", "0.1)  # regcheck: ignore[REG301] as in the paper"))
    assert scan(folder).returncode == 0
    assert scan(folder, "--select", "REG9,REG2").returncode == 0


def test_a_reason_can_be_required(folder: Path) -> None:
    """With `require-reason` a bare ignore suppresses nothing, and is reported."""
    (folder / "pyproject.toml").write_text("[tool.regcheck]\nrequire-reason = true\nselect = ['REG2', 'REG9']\n")
    (folder / "net.py").write_text(NET.replace("p=0.5)", "p=0.5)  # regcheck: ignore[REG202]"))
    done = scan(folder, "--output-format", "concise")
    assert [line.split(" ")[1] for line in done.stdout.splitlines()[:2]] == ["REG202", "REG900"]
    assert "`require-reason` asks for a reason" in done.stdout
    (folder / "net.py").write_text(NET.replace("p=0.5)", "p=0.5)  # regcheck: ignore[REG202] in the paper"))
    assert scan(folder).returncode == 0


@pytest.mark.parametrize("format", ["sarif", "gitlab", "junit", "html"])
def test_reports_go_to_files(folder: Path, format: str) -> None:
    """Each machine-readable format can be written to a file, together with an HTML page."""
    done = scan(folder, "--output-format", format, "--output-file", "out", "--html", "page.html")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert "dropout-ignores-mode" in (folder / "out").read_text(encoding="utf-8")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "<dd>regcheck scan" in page
    assert f"--output-format {format} --output-file out --html page.html</dd>" in page


def test_a_scan_says_how_many_files_it_looked_at(folder: Path) -> None:
    """Files without torch count, too: a report without findings says how many files were read."""
    (folder / "plain.py").write_text("x = 1\n")
    assert "2 files looked at\n" in scan(folder).stdout
    assert "1 file looked at\n0 findings\n" in scan(folder, "plain.py", "--output-format", "concise").stdout
    assert json.loads(scan(folder, "--output-format", "json").stdout)["files"] == 2


@pytest.mark.parametrize("options", [(), ("--fix",), ("--diff",), ("--output-format", "json")])
def test_a_scan_over_nothing_is_not_clean(folder: Path, options: tuple[str, ...]) -> None:
    """A scan without Python files says so; it is wrong usage if the user named the folder."""
    (folder / "empty").mkdir()
    (folder / "empty" / "notes.txt").write_text("import torch\n")
    done = scan(folder, "empty", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "regcheck: error: empty: no Python files found\n"
    done = scan(folder / "empty", *options)
    assert done.returncode == 0
    if "--diff" not in options:
        assert "no Python files found" in done.stdout
    assert scan(folder / "empty", *options, "--strict").returncode == 3


def test_a_quiet_scan_prints_findings_alone(folder: Path) -> None:
    """`-q` leaves out the summary and the notes, not findings and not things that were not checked."""
    (folder / "broken.py").write_text(NET + "def (\n")
    for format in ("concise", "full", "github"):
        loud, quiet = (scan(folder, "--output-format", format, *each).stdout for each in ((), ("-q",)))
        lost = set(loud.splitlines()) - set(quiet.splitlines())
        assert "2 findings, 1 not checked" in lost
        assert not any(line.startswith(("net.py:1", "broken.py")) for line in lost)
    (folder / "net.py").write_text("import torch\n")
    (folder / "broken.py").unlink()
    assert scan(folder, "-q").stdout == ""


def test_findings_do_not_fail_with_exit_zero(folder: Path) -> None:
    """`--exit-zero` hides findings from the exit code, and not wrong usage."""
    for options in ((), ("--diff",), ("--output-format", "json"), ("--write-baseline",)):
        assert scan(folder, *options, "--exit-zero").returncode == 0
    assert scan(folder, "nowhere", "--exit-zero").returncode == 2


def test_a_scan_shows_its_files_and_settings(folder: Path) -> None:
    """`--show-files` and `--show-settings` say what a scan would do, from configuration and command line together."""
    (folder / "pyproject.toml").write_text('[tool.regcheck]\nexclude = ["old"]\nfail-on = "never"\n')
    (folder / "old").mkdir()
    (folder / "old" / "net.py").write_text(NET)
    assert scan(folder, "--show-files").stdout == "net.py\n"
    assert scan(folder, "--show-files", "--no-force-exclude", "old/net.py").stdout == "old/net.py\n"
    settings = json.loads(scan(folder, "--show-settings", "--ignore", "REG202").stdout)
    shown = {key: settings[key] for key in ("exclude", "fail-on", "ignore", "seed")}
    assert shown == {"exclude": ["old"], "fail-on": "never", "ignore": ["REG202"], "seed": 0}


def test_a_scan_of_what_is_excluded_is_no_error(folder: Path) -> None:
    """The user may name excluded paths, as hooks do: a note says that nothing was read."""
    (folder / "pyproject.toml").write_text('[tool.regcheck]\nexclude = ["old/*"]\n')
    (folder / "old").mkdir()
    (folder / "old" / "net.py").write_text(NET)
    done = scan(folder, "old", "--strict")
    assert (done.returncode, done.stdout) == (0, "0 files looked at\n0 findings\n")
    assert done.stderr == "note: no Python files found: all of them are excluded\n"


def test_an_excluded_file_is_not_rewritten(folder: Path) -> None:
    """`exclude` protects a file that a hook names, and standard input, from fixes; the command line overrides it."""
    (folder / "pyproject.toml").write_text('[tool.regcheck]\nexclude = ["old/*"]\n')
    (folder / "old").mkdir()
    excluded = folder / "old" / "net.py"
    excluded.write_text(NET)
    assert scan(folder, "old/net.py", "--fix").returncode == 0
    assert scan(folder, "-", "--stdin-filename", "old/net.py", "--fix", stdin=NET.encode()).stdout == NET
    assert excluded.read_text() == NET
    assert scan(folder, "old/net.py", "--exclude", "older").returncode == 1
    assert scan(folder, "old/net.py", "--exclude", "older", "--extend-exclude", "old").returncode == 0
    assert "1 fixed" in scan(folder, "old/net.py", "--fix", "--no-force-exclude").stdout
    assert excluded.read_text() != NET


def test_ignores_are_added_with_a_reason(folder: Path) -> None:
    """--add-ignores suppresses all findings by comments, which --diff only shows, and the next scan is clean."""
    shown = scan(folder, "--add-ignores", "old code", "--diff")
    assert shown.returncode == 1
    assert "+        x = F.dropout(self.hidden(x), p=0.5)  # regcheck: ignore[REG202] -- old code\n" in shown.stdout
    assert shown.stderr == "2 would be ignored, 0 findings would remain\n"
    assert (folder / "net.py").read_text() == NET
    done = scan(folder, "--add-ignores", "old code")
    assert done.returncode == 0
    assert done.stdout.endswith("\n0 findings\n2 ignored by new comments\n")
    assert scan(folder).returncode == 0


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--add-ignores", " -- "), "--add-ignores takes the reason, a line of text without #, not ' -- '"),
        (("--add-ignores", "see #12"), "--add-ignores takes the reason, a line of text without #, not 'see #12'"),
        (("--add-ignores", "old", "--fix"), "--add-ignores suppresses findings: apply fixes or write the baseline"),
    ],
)
def test_ignores_that_cannot_be_added_are_refused(folder: Path, argv: tuple[str, ...], says: str) -> None:
    """A reason that no comment can hold, and another way to handle the findings, is wrong usage."""
    done = scan(folder, *argv)
    assert done.returncode == 2
    assert says in done.stderr
    assert (folder / "net.py").read_text() == NET
