"""The section at the end of a session: each finding by model, with its source, proof and tests."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from regcheck.core.coverage import fraction
from regcheck.core.finding import Finding
from regcheck.core.report import UNPROVEN, Report, counted
from regcheck.files.escape import visible
from regcheck.report.view import View, fixed_line
from regcheck.session.ledger import Ledger

if TYPE_CHECKING:
    from rich.text import Text

    from regcheck.engine.fix import FixResult

MOST_NAMES = 3
"""More tests, or models, than this are counted, not named."""


def summary(report: Report, ledger: Ledger, root: Path, view: View) -> str:
    """The text of the section. Paths are read from `root`."""
    verbose, color = view.verbose, view.color
    refuted = report.refuted if view.show_refuted else ()
    closing = f", {counted(len(ledger.structures), 'model')} examined"
    if report.coverage:
        closing += f", {fraction(report.coverage)}"
    closing += verdict(report)
    if not color and not (report.findings or report.not_checked or refuted):
        return f"{report.headline}{closing}\n"  # the same text, without loading rich
    from rich.console import Console
    from rich.text import Text

    from regcheck.report.terminal import block, headline, repetitions, unchecked_line

    blocks = []
    with inside(root):
        for model, found in by_model(report.standing, ledger):
            if model:
                blocks.append(Text(f"{visible(model)}: {counted(len(found), 'finding')}", "bold underline"))
            blocks += [_block(group, ledger, verbose) for group in repetitions(found, verbose)]
        if report.unproven:
            blocks.append(Text(UNPROVEN, "bold underline"))
            blocks += [_block(group, ledger, verbose) for group in repetitions(report.unproven, verbose)]
        blocks += [block(each, verbose) for each in refuted]
    if report.not_checked:
        blocks.append(Text("\n").join(unchecked_line(each) for each in report.not_checked))
    out = io.StringIO()
    console = Console(file=out, force_terminal=color, color_system="standard" if color else None, highlight=False)
    console.print(Text("\n\n").join([*blocks, headline(report).append(closing)]), soft_wrap=True)
    return out.getvalue()


def fix_lines(fixes: FixResult) -> list[str]:
    """The lines on what `--regcheck-fix` changed, and what it did not."""
    lines = [fixed_line(each) for each in fixes.removed]
    lines += [f"{visible(path)}: not fixed: {why}" for path, why in fixes.refused.items()]
    if fixes.removed:
        lines.append(f"{fixes.fixed} fixed, as some of its tests confirm: run the whole suite again")
    return lines or ["nothing to fix"]


def by_model(found: Iterable[Finding], ledger: Ledger) -> list[tuple[str, list[Finding]]]:
    """The findings under the names of their models, those without a model last."""
    groups: dict[str, list[Finding]] = {}
    for each in found:
        groups.setdefault(next(iter(ledger.models.get(each.key, ())), ""), []).append(each)
    return sorted(groups.items(), key=lambda group: not group[0])


def verdict(report: Report) -> str:
    """The line that says what fails the run, and how to let it pass."""
    if report.failures and report.fail_on is not None:
        number = len(report.failures)
        fail = f"{counted(number, 'finding')} {'fails' if number == 1 else 'fail'} the run"
        return f"\n{fail} (fail-on: {report.fail_on.value}; `--regcheck-fail-on never` only shows them)"
    if report.ok:
        return ""
    causes = [name for name, there in (("not checked", report.not_checked), ("unproven", report.doubts)) if there]
    return f"\nwhat is {' or '.join(causes)} fails the run (strict)"


def _block(group: Sequence[Finding], ledger: Ledger, verbose: bool) -> Text:
    from rich.text import Text

    from regcheck.report.terminal import INDENT, block

    first, *more = group
    lines = [block(first, verbose, more)]
    _, *others = ledger.models.get(first.key, ()) or [""]
    if others:
        lines.append(Text(f"{INDENT}also in {_named(others)}", "dim"))
    tests = list(dict.fromkeys(test for each in group for test in ledger.tests.get(each.key, ())))
    if tests:
        lines.append(Text(f"{INDENT}seen in {_named(tests)}", "dim"))
    return Text("\n").join(lines)


def _named(names: Sequence[str]) -> str:
    """`tests/test_a.py::test_x, tests/test_b.py::test_y and 3 more`."""
    more = len(names) - MOST_NAMES
    return ", ".join(map(visible, names[:MOST_NAMES])) + (f" and {more} more" if more > 0 else "")


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In the block, a folder is the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
