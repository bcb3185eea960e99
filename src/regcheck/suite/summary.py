"""The section at the end of a session: the report's text, and what fails the run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from regcheck.core.report import Report, counted
from regcheck.files.escape import visible
from regcheck.report import rendered
from regcheck.report.terminal import Pen
from regcheck.report.view import View, fixed_line

if TYPE_CHECKING:
    from regcheck.engine.fix import FixResult


def summary(report: Report, view: View) -> str:
    """The text of the section. The working directory is the root of its paths."""
    lines = Pen(width=view.width).prose(verdict(report), indent="")
    return rendered(report, view=view) + "".join(f"{line}\n" for line in lines if line)


def fix_lines(fixes: FixResult) -> list[str]:
    """The lines on what `--regcheck-fix` changed, and what it did not."""
    lines = [fixed_line(each, fixes.again.get(each.key)) for each in fixes.removed]
    lines += [f"{visible(path)}: not fixed: {why}" for path, why in fixes.refused.items()]
    if fixes.removed:
        lines.append(f"{fixes.fixed} fixed, as some of its tests confirm: run the whole suite again")
    return lines or ["nothing to fix"]


def verdict(report: Report) -> str:
    """The line that says what fails the run, and how to let it pass."""
    if report.failures and report.fail_on is not None:
        number = len(report.failures)
        fail = f"{counted(number, 'finding')} {'fails' if number == 1 else 'fail'} the run"
        return f"{fail} (`--regcheck-fail-on={report.fail_on.value}`; `=never` only shows them)"
    if report.ok:
        return ""
    causes = [name for name, there in (("not checked", report.not_checked), ("unproven", report.doubts)) if there]
    return f"what is {' or '.join(causes)} fails the run (strict)"


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In the block, a folder is the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
