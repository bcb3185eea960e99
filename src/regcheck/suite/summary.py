"""The section at the end of a session: the report's text, and what fails the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from regcheck.core.report import Report, counted
from regcheck.report import rendered
from regcheck.report.view import View


def summary(report: Report, root: Path, view: View) -> str:
    """The text of the section. Paths are read from `root`."""
    with _inside(root):
        return rendered(report, view=view) + verdict(report)


def verdict(report: Report) -> str:
    """The line that says what fails the run, and how to let it pass."""
    if report.failures and report.fail_on is not None:
        number = len(report.failures)
        fail = f"{counted(number, 'finding')} {'fails' if number == 1 else 'fail'} the run"
        return f"{fail} (fail-on: {report.fail_on.value}; `--regcheck-fail-on never` only shows them)\n"
    if report.ok:
        return ""
    causes = [name for name, there in (("not checked", report.not_checked), ("unproven", report.doubts)) if there]
    return f"what is {' or '.join(causes)} fails the run (strict)\n"


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
