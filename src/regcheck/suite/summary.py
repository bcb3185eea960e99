"""The section at the end of a session: each finding with its source and its proof, and the tests that showed it."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from regcheck.core.coverage import fraction
from regcheck.core.report import Report, counted
from regcheck.report.terminal import INDENT, block, headline, missed
from regcheck.suite.findings import Findings

MOST_TESTS = 3
"""More tests than this are counted rather than named."""


def summary(report: Report, findings: Findings, root: Path, color: bool) -> str:
    """The text of the section. Paths are read from `root`."""
    blocks = []
    with _inside(root):
        for each in report.findings:
            shown = block(each)
            names = list(findings.tests.get(each.key, ()))
            if names:
                shown = Text("\n").join([shown, Text(INDENT + seen_in(names), "dim")])
            blocks.append(shown)
    if report.not_checked:
        blocks.append(Text("\n").join(missed(each) for each in report.not_checked))
    out = io.StringIO()
    console = Console(file=out, force_terminal=color, color_system="standard" if color else None, highlight=False)
    last = headline(report).append(f", {counted(len(findings.models), 'model')} examined")
    if report.coverage:
        last.append(f", {fraction(report.coverage)}")
    console.print(Text("\n\n").join([*blocks, last]), soft_wrap=True)
    return out.getvalue()


def seen_in(tests: list[str]) -> str:
    """`seen in tests/test_a.py::test_x, tests/test_b.py::test_y and 3 more`."""
    more = len(tests) - MOST_TESTS
    return f"seen in {', '.join(tests[:MOST_TESTS])}{f' and {more} more' if more > 0 else ''}"


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
