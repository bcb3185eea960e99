"""What a scan makes of files that were not written to be read: each ends as not checked with the reason, or is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.core.report import Report
from regcheck.engine.scan import scan
from regcheck.static.interpreter import state

BAD = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x)))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one file that is as it should be: whatever lies beside it, the fault in it is found."""
    (tmp_path / "a.py").write_text(BAD)
    return tmp_path


def examined(folder: Path) -> Report:
    report = scan([folder], {"select": ["REG202"]})
    assert [(Path(each.path or "").name, each.code, each.line) for each in report.findings] == [("a.py", "REG202", 13)]
    return report


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BAD.encode() + b"\0", "null bytes"),
        (BAD.encode("utf-16"), ""),
        (b"x = '\xff\xfe'\n" + BAD.encode(), "unicode error"),
        (b"# -*- coding: martian -*-\n" + BAD.encode(), "unknown encoding"),
        (BAD.encode() + b"x = " + b"(" * 10_000 + b")" * 10_000, ""),
        (BAD.encode() + b"x = " + b"[" * 10_000 + b"]" * 10_000, ""),
        (BAD.encode() + b"x = " + b"-" * 10_000 + b"1\n", ""),
        (BAD.encode() + b"x = 1" + b" + 1" * 10_000 + b"\n", ""),
        (BAD.encode() + b"x = torch" + b".y" * 10_000 + b"\n", ""),
        (BAD.encode() + b"if a:\n    pass\n" + b"elif a:\n    pass\n" * 2_000, ""),
        (BAD.encode() + b"type X[T = int] = list[T]\nx = t'{y}'\nmatch x:\n    case y if: pass\n", "syntax error"),
        (BAD.encode() + b"def f(:\n", "syntax error"),
        (b"import torch" + b" " * (9 << 20), "more than 8 MB"),
    ],
    ids="null utf-16 bytes encoding parentheses brackets minuses sum attributes elifs newer broken large".split(),
)
def test_a_hostile_file_is_read_or_told(folder: Path, content: bytes, reason: str) -> None:
    """A file that cannot be read, or not followed, is not checked and says why; the file beside it is."""
    (folder / "b.py").write_bytes(content)
    report = scan([folder], {"select": ["REG202"]})
    assert ("a.py", 13) in [(Path(each.path or "").name, each.line) for each in report.findings]
    told = [each for each in report.not_checked if Path(each.path or "").name == "b.py"]
    read = b"torch" not in content or any(Path(each.path or "").name == "b.py" for each in report.findings)
    assert told or read, "a file that was neither read nor told of"
    assert not reason or any(reason in each.reason for each in told)
    assert all("bug of regcheck" not in each.what_to_do for each in report.not_checked)


def test_links_that_lead_to_themselves_end(folder: Path) -> None:
    """A link to its own folder is not followed, and a link to itself is told as what cannot be read."""
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "me.py").symlink_to(folder / "me.py")
    (folder / "gone.py").symlink_to(folder / "nowhere.py")
    names = [Path(each.path or "").name for each in examined(folder).not_checked]
    assert names == ["gone.py", "me.py"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    """What is no regular file is told, not opened."""
    os.mkfifo(folder / "pipe.py")
    (missed,) = examined(folder).not_checked
    assert missed.reason == "not a regular file"
    (missed,) = scan([folder / "pipe.py"]).not_checked
    assert missed.reason == "not a regular file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="to this user every file is readable")
def test_an_unreadable_file_is_told(folder: Path) -> None:
    """A file without permission to read it is told."""
    (folder / "secret.py").write_text(BAD)
    (folder / "secret.py").chmod(0)
    (missed,) = examined(folder).not_checked
    assert missed.reason.startswith("cannot be read")


@pytest.mark.parametrize(
    "lines",
    [
        "x = 'a'.ljust(10**11)",
        "x = '{:>99999999999}'.format(1)",
        "x = '%099999999999d' % 1",
        "x = (5).to_bytes(99999999999, 'big')",
        "x = 'ab'\n" + "x = x + x\n" * 60,
        "x = [1, 2]\n" + "x = x + x\n" * 60,
        "x = [1, 2]\n" + "x.extend(x)\n" * 60,
        "x = [1, 2]\n" + "x = [*x, *x]\n" * 60,
        "x = [1, 2]\n" + "x += x\n" * 60,
        "x = 9999\n" + "x = x ** 9999\n" * 60,
        "x = list(range(10**12))",
        "x = {" + ", ".join(f"{n}: {n}" for n in range(20_000)) + "}[torch.rand(1)]",
        "\n".join("    " * n + "while torch.rand(1) > 0:" for n in range(60)) + " pass",
    ],
)
def test_code_that_would_grow_without_bounds_is_left(folder: Path, lines: str) -> None:
    """Nothing that a file says makes the scan compute something large: the class beside it is judged."""
    (folder / "b.py").write_text(f"{BAD}\n{lines}\n")
    found = [Path(each.path or "").name for each in scan([folder], {"select": ["REG202"]}).findings]
    assert found == ["a.py", "b.py"]


@pytest.mark.parametrize("inside", ["        ", "    def more(self):\n        "], ids=["constructor", "method"])
@pytest.mark.parametrize(
    "line",
    [
        "self.n = max(range(10**10))",
        "self.n = 0.5 in range(10**12)",
        "self.n = [0] * -10**30",
        "self.n = {0x" + "f" * 10_000 + ": 1}",
        "self.n = nn.Dropout(10**400)",
        "self.parts = [self.parts.extend(self.parts) for _ in range(60)]",
        "for _ in range(60): self.parts.extend(self.parts)",
        "for _ in range(60): self.parts = nn.Sequential(self.parts, self.parts)",
        "for _ in range(60): self.parts = [self.parts, self.parts]",
        "for _ in range(60): self.parts = functools.partial(self.parts, self.parts)",
        "self.n: 'a\\0b' = 1",
    ],
)
def test_the_class_around_a_large_constant_is_judged(folder: Path, inside: str, line: str) -> None:
    """What is too large to compute is unknown, and nothing else of its class is."""
    text = BAD.replace("self.head = nn.Linear(32, 4)\n", f"self.parts = nn.ModuleList([nn.ReLU()])\n{inside}{line}\n")
    (folder / "b.py").write_text(f"import functools\n{text}")
    report = scan([folder], {"select": ["REG202"]})
    assert [Path(each.path or "").name for each in report.findings] == ["a.py", "b.py"]
    assert report.not_checked == ()


@pytest.mark.parametrize(
    "text",
    [
        "x = []\nfor a in range(60):\n    for b in range(60):\n        x = [x]\nself.x = x",
        "for a in range(60):\n    for b in range(60):\n        self.hidden = nn.Sequential(self.hidden)",
        "x = {i: j for i in range(100) for j in range(100) for k in range(100)}",
    ],
    ids=["nested lists", "nested modules", "many turns"],
)
def test_a_class_that_takes_too_many_steps_is_not_checked(folder: Path, text: str) -> None:
    """A class that uses up its steps, or nests too deep, is not checked with its line; the classes beside it are."""
    lines = text.replace("\n", "\n        ")
    text = BAD.replace("self.head =", f"{lines}\n        self.head =") + BAD.replace("Net", "Other")
    (folder / "b.py").write_text(text)
    report = scan([folder], {"select": ["REG202"]})
    assert ("b.py", text.count("\n")) in [(Path(each.path or "").name, each.line) for each in report.findings]
    (missed,) = report.not_checked
    assert (Path(missed.path or "").name, missed.line) == ("b.py", 6)
    assert missed.reason.startswith("too ")


@pytest.mark.parametrize(
    "text",
    [
        "a0 = 1\n" + "".join(f"a{n + 1} = a{n}\n" for n in range(3_000)) + "class X(a3000): pass\n",
        "class X(torch" + ".x" * 900 + "): pass\n",
        "".join(f"class A{n}({f'A{n - 1}' if n else 'nn.Module'}): pass\n" for n in range(600)),
    ],
    ids=["aliases", "attributes", "classes"],
)
def test_names_may_lead_further_than_calls_can_be_nested(folder: Path, text: str) -> None:
    """A chain of names, attributes or base classes of any length ends no scan."""
    (folder / "b.py").write_text(BAD + text)
    found = [Path(each.path or "").name for each in scan([folder], {"select": ["REG202"]}).findings]
    assert found == ["a.py", "b.py"]


PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is told in other units elsewhere")
@pytest.mark.parametrize("entry", ["1,\n", "(1, 2),\n", "'a': 1,\n", "nothing,\n"])
def test_a_scan_takes_little_more_memory_than_the_syntax_tree(tmp_path: Path, entry: str) -> None:
    """Of a large literal, beside a finding with a fix, a scan holds the syntax tree once and not much more."""
    opening, closing = "{}" if ":" in entry else "[]"
    file = tmp_path / "data.py"
    file.write_text(f"{BAD}nothing = 0\nx = {opening}\n{entry * 60_000}{closing}\n")
    programs = (
        f"import ast, regcheck.engine.scan; tree = ast.parse(open({str(file)!r}).read()); {PEAK}",
        f"from regcheck.engine.scan import scan; assert scan([{str(file)!r}]).findings[0].patch; {PEAK}",
    )
    tree, scanned = (
        int(subprocess.run([sys.executable, "-c", each], stdout=-1, check=True).stdout) for each in programs
    )
    assert scanned < 1.5 * tree + (32 << 10)


def test_generated_data_is_passed_over(folder: Path) -> None:
    """A file of more words and signs than a syntax tree should be made of is not checked, and not parsed."""
    (folder / "b.py").write_text(BAD + "x = [\n" + "1,\n" * 300_000 + "]\n")
    (missed,) = examined(folder).not_checked
    assert missed.reason == "more than 500,000 words and signs of source"


@pytest.mark.parametrize("name", ["b.py", "b.ipynb"])
def test_a_huge_file_is_not_read(folder: Path, name: str) -> None:
    """A file that would fill the memory is told by its size."""
    (folder / name).touch()
    os.truncate(folder / name, 1 << 40)
    (missed,) = examined(folder).not_checked
    assert missed.reason == "a file of more than 64 MB"


@pytest.mark.parametrize(
    "lines",
    ["!ls\n" * 5_000, "x = !ls\n" * 5_000, " " * 50_000 + "x" + " " * 50_000 + "(\n", "%time " * 5_000],
    ids=["shell", "assigned", "spaces", "magic"],
)
def test_a_notebook_of_odd_lines_is_read_in_one_go(folder: Path, lines: str) -> None:
    """However many lines of a cell only IPython understands, the cell is not parsed once for each of them."""
    cells = [{"cell_type": "code", "source": each} for each in (BAD, lines)]
    (folder / "b.ipynb").write_text(json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}))
    report = scan([folder], {"select": ["REG202"]})
    told = [each.path for each in (*report.findings, *report.not_checked)]
    assert [Path(each or "").name for each in told] == ["a.py", "b.ipynb"]


@pytest.mark.parametrize(
    "lines",
    [
        "# regcheck: ignore[REG202]\n" * 5_000,
        "'''" + "import (\n" * 40_000 + "'''\n",
        "'''" + "class a(Modul " * 40_000 + "Module'''\n",
    ],
    ids=["ignores", "imports", "classes"],
)
def test_lines_that_say_the_same_many_times_are_read_once(folder: Path, lines: str) -> None:
    """Comments and texts that begin the same way thousands of times take no longer than others of their length."""
    (folder / "b.py").write_text(BAD + lines)
    report = scan([folder])
    assert [Path(each.path or "").name for each in report.findings if each.code == "REG202"] == ["a.py", "b.py"]


def test_a_file_that_takes_its_time_is_told_and_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file has a time limit; when it is over, what is left of the file is not checked, and the next file is."""
    loop = "        for a in range(60):\n            for b in range(60):\n                x = x + a * b\n"
    (folder / "b.py").write_text(BAD.replace("        return", f"{loop}        return"))
    monkeypatch.setattr("regcheck.static.attempts.SECONDS", 0.01)
    report = scan([folder / "b.py"])
    assert [each.reason for each in report.not_checked] == [
        f"following the file takes more than {state.SECONDS} seconds"
    ]
    assert report.findings == ()
    assert scan([folder / "b.py"], {"strict": True}).exit_code == 3


def test_nothing_that_is_scanned_is_run(folder: Path) -> None:
    """No line of a scanned file is executed, nor is anything imported because of it."""
    mark = folder / "was-run"
    (folder / "evil.py").write_text(f"import torch, this\nopen({str(mark)!r}, 'w')\n__import__('antigravity')\n{BAD}")
    scan([folder])
    assert not mark.exists()
    assert not {"this", "antigravity"} & sys.modules.keys()
