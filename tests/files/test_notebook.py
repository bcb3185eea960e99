"""Notebooks are read cell by cell, IPython syntax included, and fixes change nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regcheck.config.options import Options
from regcheck.engine.fix import fix_paths
from regcheck.engine.scan import scan
from regcheck.files.notebook import BrokenNotebook, parse_notebook
from regcheck.report import rendered

IMPORTS = "%matplotlib inline\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn"
NET = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        é = 'é'; x = F.dropout(x, 0.5)
        return self.last(x)"""


def code(source: str, *, joined: bool = False) -> dict[str, Any]:
    lines = source if joined else source.splitlines(keepends=True)
    return {"cell_type": "code", "execution_count": 1, "metadata": {"é": 1}, "outputs": [], "source": lines}


def notebook(*cells: dict[str, Any], language: str = "python", indent: int | None = 1) -> bytes:
    title = {"cell_type": "markdown", "metadata": {}, "source": ["# Títle: torch"]}
    metadata = {"kernelspec": {"language": language, "name": "python3"}}
    document = {"cells": [title, *cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=indent, ensure_ascii=False).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "net.ipynb"


def test_a_finding_names_its_cell(path: Path) -> None:
    """Names are visible across cells; a finding's line counts within its cell, and the cell among all cells."""
    path.write_bytes(notebook(code(IMPORTS), code(NET)))
    report = scan(["."])
    (finding,) = report.findings
    assert finding.where == "net.ipynb:cell 3:7:22"
    assert (finding.path, finding.cell, finding.line) == ("net.ipynb", 3, 7)
    _, _, source, caret, *_ = rendered(report).splitlines()
    assert source[caret.index("^") :] == "F.dropout(x, 0.5)"
    assert report.not_checked == ()


@pytest.mark.parametrize("cell", [False, True])
def test_an_ignore_in_a_cell_counts(path: Path, cell: bool) -> None:
    """A comment suppresses findings of its line, and one above all code those of the whole notebook."""
    first = "# regcheck: ignore-file[REG202] a demonstration\n" + IMPORTS if not cell else IMPORTS
    path.write_bytes(
        notebook(code(first), code(NET.replace("0.5)", "0.5)  # regcheck: ignore[REG202]") if cell else NET))
    )
    assert scan(["."]).findings == ()


@pytest.mark.parametrize(
    ("source", "python"),
    [
        ("%time x = 1\ny = 2", "if 1: x = 1\ny = 2\n"),
        ("if x:\n    %timeit f(x)", "if x:\n    if True:f(x)\n"),
        ("x = %time f(1)", "x =       f(1)\n"),
        ("%timeit -n 10 f(x)\n%time for y in x: f(y)\n%cd data", "pass\npass\npass\n"),
        ("if x:\n    !ls -l 'a", "if x:\n    pass\n"),
        ("!pip install \\\n  torch \\\n  foo\nx = 1", "pass\n\n\nx = 1\n"),
        ("x = !ls\ny = %pwd", "x = None\ny = None\n"),
        ("?torch\ntorch.nn??\nx", "pass\npass\nx\n"),
        ("%%bash\necho don't", "\n\n"),
        ("\n%%time\nx = 1", "\n\nx = 1\n"),
        ("x = '''\n%not a magic\n!nor this\n'''", "x = '''\n%not a magic\n!nor this\n'''\n"),
        ("x = (5\n  % 3)", "x = (5\n  % 3)\n"),
        ("await x", "await x\n"),
        ("!echo \"it's", "pass\n"),
        ("", "\n"),
    ],
)
def test_what_only_ipython_understands_is_taken_out(source: str, python: str) -> None:
    """Magics, shell commands and help requests are replaced line by line; everything else stays in place."""
    assert parse_notebook(notebook(code(source))).text == python


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("%matplotlib inline\n!pip install x\n%pip install x\n?print\nprint??", ()),
        ("x = 1\n!python train.py \\\n  --fast\n%run -i train.py\nnames = !ls", (2, 4, 5)),
        ("\n%%bash\npython train.py", (2,)),
        ("%%time\n%time x = 1\n%timeit -n 10 f(x)", (3,)),
        ("%%capture\nx = (5\n  % 3)", ()),
    ],
)
def test_syntax_that_may_run_code_is_listed(source: str, lines: tuple[int, ...]) -> None:
    """A cell names the lines whose code is not in its Python; help, settings and installations are no such code."""
    (cell,) = parse_notebook(notebook(code(source))).cells
    assert cell.skipped == lines


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"torch {", "not a notebook"),
        (b'{"torch": 1}', "not a notebook: 'cells'"),
        (b'{"torch": 1, "cells": [3]}', "not a notebook"),
        (b"[1, \"torch\"]", "not a notebook"),
        (notebook(code("x = 1"), code("import torch\nx = (")), "syntax error in cell 3, line 2"),
        (notebook(code("print 'x'")), "syntax error in cell 2, line 1"),
    ],
)  # fmt: skip
def test_a_broken_notebook_is_not_checked(path: Path, content: bytes, says: str) -> None:
    """A file that is no notebook, or has a cell that is no Python, is listed with its position."""
    path.write_bytes(content)
    with pytest.raises(BrokenNotebook):
        parse_notebook(content)
    (missed,) = scan(["."]).not_checked
    assert says in missed.reason


def test_other_languages_are_left_alone(path: Path) -> None:
    """A notebook whose kernel's language is not Python has no source."""
    path.write_bytes(notebook(code("library(torch)"), language="R"))
    assert scan(["."]).not_checked == ()


@pytest.mark.parametrize("indent", [1, 4, None])
@pytest.mark.parametrize("joined", [False, True])
def test_a_fix_rewrites_the_cell_and_nothing_else(path: Path, indent: int | None, joined: bool) -> None:
    """Only the source of the cell changes; every other byte of the document stays, whatever program wrote it."""
    before = notebook(code(IMPORTS), code(NET, joined=joined), code("x = 'é'"), indent=indent)
    path.write_bytes(before)
    result = fix_paths(["."], Options())
    result.write()
    assert (result.fixed, result.refused, result.report.findings) == (1, {}, ())
    assert path.read_bytes() == before.replace(b"x, 0.5)", b"x, 0.5, training=self.training)")


def test_a_fix_that_reaches_into_another_cell_is_not_offered(path: Path) -> None:
    """A fix that would also change an import in another cell is not offered."""
    path.write_bytes(
        notebook(
            code("import torch\nfrom torch import nn\nfrom torch.optim import Adam\nmodel = nn.Linear(4, 4)"),
            code("Adam(model.parameters(), weight_decay=0.1)"),
        )
    )
    result = fix_paths(["."], Options(), unsafe=True)
    assert [each.code for each in result.report.findings] == ["REG301"]
    assert (result.fixed, result.refused) == (0, {})
