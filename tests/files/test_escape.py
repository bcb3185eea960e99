"""Untrusted names, source lines and errors are harmless in every format, on every stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regcheck.core.coverage import Coverage
from regcheck.core.finding import Evidence, Finding, NotChecked, Severity, Verdict
from regcheck.core.report import Report
from regcheck.files.escape import dump_json, escape_unencodable, visible
from regcheck.report import FORMATS, rendered

ODD = "a\n::warning::b\r\x1b[31m\u202e\u200b\u2028[red]##[error]\udce9\ud800\x07\x00"
SHOWN = r"a\n::warning::b\r\x1b[31m\u202e\u200b\u2028[red]#\x23[error]\xe9\ud800\x07\x00"
SOURCE = b"""\
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 2)

    def forward(self, x):
        '''
::error::docstring
        '''
        return self.b(F.dropout(self.a(x), 0.5))  # \x1b[2J \xe2\x80\xae ##[error]x \x07
"""
NAMES = (
    b"plain.py",
    b"caf\xe9.py",
    b"a\n::warning::b\x1b[31m.py",
    b"::error::x.py",
    b"##[error]x.py",
    b"[red]x[bold].py",
    b"line\rfeed.py",
    b"\xe2\x80\xae.py",
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (ODD, SHOWN),
        ("net.blocks[0] α = 0.1, 漢字\u3000\u00a0é", "net.blocks[0] α = 0.1, 漢字\u3000\u00a0é"),
        ("C::x", "C::x"),
        ("::error::x", r":\x3aerror:\x3ax"),
        ("  ::set-output", r"  :\x3aset-output"),
        ("x ##vso[task.complete]", r"x #\x23vso[task.complete]"),
        ("## a heading [1]", "## a heading [1]"),
        ("a\tb\\n", r"a\tb\n"),
    ],
)
def test_what_is_shown_is_one_harmless_line(text: str, shown: str) -> None:
    """Control characters become escapes, commands are broken up, ordinary letters stay; escaping is idempotent."""
    found = visible(text)
    assert found.replace(":\\x3a", "::") == shown.replace(":\\x3a", "::")
    assert found.startswith(shown[:3]) and visible(found) == found


@given(st.text())
def test_any_text_is_shown_on_one_line(text: str) -> None:
    """Any text becomes one line that every terminal and every UTF-8 file can show."""
    found = visible(text)
    assert len(found.splitlines()) <= 1 and "\x1b" not in found
    assert found.encode().decode() == found
    assert not re.match(r"\s*::", found) and not re.search(r"##\w*\[", found)


@given(
    st.recursive(
        st.text() | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_well_formed_and_says_the_same(document: object) -> None:
    """JSON holds no lone surrogate and no command; apart from surrogates it decodes to the input."""
    text = dump_json(document)
    assert "##[" not in text
    plain = json.loads(text)
    assert json.dumps(plain).encode() and dump_json(plain) == text
    if not re.search("[\ud800-\udfff]", json.dumps(document, ensure_ascii=False)):
        assert plain == document


@pytest.mark.parametrize("format", FORMATS)
def test_odd_names_are_harmless_in_every_format(format: str) -> None:
    """No format shows control characters of paths, modules, messages, reasons and subjects."""
    finding = Finding("REG202", "dropout-ignores-mode", Severity.ERROR, ODD, ODD, ODD, 3, 4, ODD,
                      Evidence(Verdict.UNMEASURED, because=ODD, statistic=ODD), "https://example.org/")  # fmt: skip
    pathless = Finding("REG202", "dropout-ignores-mode", Severity.ERROR, ODD, ODD, None, None, None, ODD,
                       Evidence(Verdict.CONFIRMED, 1.0, because=ODD), "https://example.org/")  # fmt: skip
    covered = Coverage(ODD, "source", "", ("train",), 1, 0, opaque=(ODD,))
    report = Report((finding, pathless), (NotChecked(ODD, ODD, ODD, ODD, 1), NotChecked(ODD, ODD)), coverage=(covered,))
    text = rendered(report, format)
    assert text.encode().decode() == text
    assert not set(text) & set("\x1b\r\u202e\u200b\u2028\x07\x00")
    assert "##[" not in text
    lines = [line for line in text.splitlines() if line.lstrip().startswith("::")]
    assert lines == ([] if format != "github" else text.splitlines()[:4])
    assert not any(line.startswith("::warning::b") for line in lines)
    if format in ("json", "gitlab", "sarif"):
        assert not re.search(r"(?<!\\)\\ud[89a-f]", text)
        json.loads(text)
    elif format == "junit":
        ElementTree.fromstring(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files with odd names, all of the same faulty source with controls in a comment."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "code").mkdir()
    for name in NAMES:
        try:
            with open(os.fsencode(folder / "code") + b"/" + name, "wb") as file:
                file.write(SOURCE)
        except OSError:
            pytest.skip("this file system takes names of text only")
    return folder


ASCII = {"PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}


@pytest.mark.parametrize("arguments", [*FORMATS, "--diff", "again"])
@pytest.mark.parametrize("stream", [{"NO_COLOR": "1"}, ASCII, C_LOCALE], ids=["utf-8", "ascii", "C"])
def test_a_scan_of_odd_files_is_whole_and_harmless(folder: Path, arguments: str, stream: dict[str, str]) -> None:
    """Each file is checked whatever its name, with and without the cache; no control character reaches the stream."""
    how = [arguments] if arguments == "--diff" else [f"--output-format={arguments}", "--no-cache"]
    if arguments == "again":
        how = ["--output-format=concise"]
    command = [sys.executable, "-m", "regcheck", "scan", *how, "code"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **stream}
    for _ in range(2 if arguments == "again" else 1):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
        said = (done.stdout + done.stderr).decode("ascii" if stream else "utf-8") if stream is ASCII else ""
        said = said or (done.stdout + done.stderr).decode()
        assert done.returncode == 1 and "Traceback" not in said
        assert not set(said) & set("\x1b\r\u202e\x07") and "##[" not in said
        assert all(line.startswith("::error file=code/") for line in said.splitlines() if re.match(r"\s*::", line))
        told = {"--diff": "training=self.training", "junit": "<failure "}.get(arguments, "REG202 dropout-ignores-mode")
        code = '"code": "REG202"'
        programs = {"json": code, "json-lines": code, "sarif": '"ruleId": "REG202"', "html": "<article "}
        told = programs.get(arguments, told)
        assert len(re.findall(re.escape(told), said)) >= len(NAMES)


def test_uris_hold_the_bytes_of_a_name(folder: Path) -> None:
    """SARIF names the exact file: its bytes are percent-encoded."""
    command = [sys.executable, "-m", "regcheck", "scan", "--no-cache", "--output-format=sarif", "code"]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE)
    (run,) = json.loads(done.stdout)["runs"]
    places = [each["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for each in run["results"]]
    assert {"code/caf%E9.py", "code/a%0A%3A%3Awarning%3A%3Ab%1B%5B31m.py"} <= set(places)


@pytest.mark.parametrize("words", [["--help"], ["scan", "--help"], ["run", "--help"], ["rule"], ["rule", "REG202"]])
def test_help_and_rules_are_shown_where_there_is_only_ascii(words: list[str]) -> None:
    """The output of all commands fits an ASCII stream."""
    command = [sys.executable, "-m", "regcheck", *words]
    done = subprocess.run(command, env={**os.environ, **ASCII}, capture_output=True)
    assert done.returncode == 0 and done.stdout.isascii() and not done.stderr


def test_an_error_is_harmless() -> None:
    """An argument that an error quotes cannot control the terminal."""
    command = [sys.executable, "-m", "regcheck", "scan", "--no-cache", "no\x1b[31m\n::error::x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "regcheck: error: no\\x1b[31m\n:\\x3aerror::x: no such file or folder\n",
    )


def test_a_model_of_odd_names_is_measured_and_shown() -> None:
    """Modules and classes with undecodable names are watched, measured and shown like any others."""
    import torch
    from torch import nn

    import regcheck

    class Drop(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5)

    model = nn.Sequential(nn.Linear(4, 4))
    model.add_module(ODD, Drop())
    model.add_module("last", nn.Linear(4, 4))
    with regcheck.watch() as seen, torch.no_grad():
        model.eval()(torch.randn(2, 4))
    for report in (regcheck.audit(model, torch.randn(2, 4)), seen.report):
        assert [(each.code, each.module) for each in report.findings] == [("REG202", SHOWN)]
        assert report.findings[0].evidence.verdict is Verdict.CONFIRMED
        assert report.not_checked == () and "\x1b" not in str(report)


def test_messages_are_spelled_in_ascii_where_the_stream_has_nothing_else() -> None:
    """Characters of regcheck's own messages get a spelling, others an escape, and those that the encoding has stay."""
    text = "`p=…` on 32×32, R², α: é, 中"
    assert escape_unencodable(text, "ascii") == "`p=...` on 32x32, R2, alpha: \\xe9, \\u4e2d"
    assert escape_unencodable(text, "latin-1") == "`p=...` on 32×32, R², alpha: é, \\u4e2d"
    assert escape_unencodable(text, "utf-8") == escape_unencodable(text, None) == text
