"""Comments that suppress all findings of a scan: where they stand, and that they suppress."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.engine.add_ignores import add_ignores
from regcheck.engine.scan import scan

REASON = "old code, to be fixed"
BEFORE = '''\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    """One defect in each layout of a line."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.b = nn.Linear(4, 4)

    def forward(self, x):
        x = self.a(F.dropout(x, 0.5))
        x = self.b(F.dropout(x, 0.4))  # noqa: E501
        x = self.a(F.dropout(x, 0.3)) + \\
            x
        x, text = self.b(F.dropout(x, 0.2)), """
        closing"""
        x = self.a(
            F.dropout(
                x,
                0.1,
            )
        )
        x = self.b(F.dropout(x, 0.25) + torch.rand(4))
        return self.a(x)
'''
COMMENT = f"  # regcheck: ignore[REG202] -- {REASON}"
AFTER = (
    BEFORE.replace("F.dropout(x, 0.5))", f"F.dropout(x, 0.5)){COMMENT}")
    .replace("# noqa: E501", f"# noqa: E501{COMMENT}")
    .replace("\\\n            x\n", f"\\\n            x{COMMENT}\n")
    .replace('closing"""', f'closing"""{COMMENT}')
    .replace("            F.dropout(\n", f"            F.dropout({COMMENT}\n")
    .replace("torch.rand(4))", f"torch.rand(4)){COMMENT.replace('REG202', 'REG202, REG203')}")
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_finding_gets_a_comment_on_a_line_that_covers_it() -> None:
    """All codes of a line share a comment behind those that are there, and no string or line break takes one."""
    Path("net.py").write_text(BEFORE, encoding="utf-8")
    result = add_ignores(["net.py"], Options(), REASON)
    result.write()
    after = Path("net.py").read_text(encoding="utf-8")
    assert after == AFTER
    assert ast.dump(ast.parse(after)) == ast.dump(ast.parse(BEFORE))
    assert result.fixed == 7
    assert not result.report.findings
    assert not scan(["net.py"], Options()).findings


def test_a_second_run_changes_nothing() -> None:
    """A file whose findings are all suppressed is not written."""
    Path("net.py").write_text(AFTER, encoding="utf-8")
    result = add_ignores(["."], Options(), REASON)
    assert (result.after, result.fixed) == ({}, 0)


def test_a_comment_with_the_same_reason_is_extended() -> None:
    """A further code joins the comment that has the reason; a comment with another reason keeps its own."""
    more = "x = self.b(F.dropout(x, 0.25) + torch.rand(4))"
    for was, now in (
        (f"ignore[REG203] -- {REASON}", f"ignore[REG203, REG202] -- {REASON}"),
        ("ignore[REG203] noise", f"ignore[REG203] noise{COMMENT}"),
    ):
        text = AFTER.replace(f"{more}{COMMENT.replace('REG202', 'REG202, REG203')}", f"{more}  # regcheck: {was}")
        Path("net.py").write_text(text, encoding="utf-8")
        (after,) = add_ignores(["net.py"], Options(), REASON).after.values()
        assert f"{more}  # regcheck: {now}\n" in after.decode()


def test_line_ends_and_encodings_stay() -> None:
    """Bytes other than the comments are the same: CRLF, a byte-order mark, a declared encoding, no last newline."""
    for encoding, lead in (("utf-8-sig", ""), ("latin-1", "# coding: latin-1\n# é\n")):
        before = (lead + BEFORE).replace("\n", "\r\n").rstrip().encode(encoding)
        Path("net.py").write_bytes(before)
        add_ignores(["net.py"], Options(), REASON).write()
        assert Path("net.py").read_bytes() == (lead + AFTER).replace("\n", "\r\n").rstrip().encode(encoding)


def test_a_reason_that_the_encoding_lacks_changes_nothing() -> None:
    """A file that cannot hold the comment is named with the reason, and its findings remain."""
    Path("net.py").write_text("# coding: ascii\n" + BEFORE, encoding="ascii")
    result = add_ignores(["net.py"], Options(), "später")
    assert "cannot be written in ascii" in result.refused["net.py"]
    assert not result.after
    assert result.report.findings


def test_the_cells_of_a_notebook_get_comments() -> None:
    """In a notebook the comment stands in the finding's cell, and the scan is clean."""
    cells = [{"cell_type": "code", "source": part} for part in ("%matplotlib inline\nimport math", BEFORE)]
    Path("net.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}), encoding="utf-8")
    result = add_ignores(["net.ipynb"], Options(), REASON)
    result.write()
    assert not result.report.findings
    document = json.loads(Path("net.ipynb").read_text(encoding="utf-8"))
    assert [each["source"] for each in document["cells"]] == ["%matplotlib inline\nimport math", AFTER]


def test_a_malformed_ignore_remains() -> None:
    """A finding about a suppression is not suppressed by another one: it is to be corrected."""
    Path("net.py").write_text("import torch\nx = 1  # regcheck: ignore REG202\n", encoding="utf-8")
    result = add_ignores(["net.py"], Options(), REASON)
    assert [each.code for each in result.report.findings] == ["REG900"]
    assert not result.after
