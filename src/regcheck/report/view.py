"""The reader's choices about a report, and the texts that formats share."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TextIO

from regcheck.core.coverage import fraction
from regcheck.core.finding import Effect, Evidence, Finding, Verdict
from regcheck.core.measurements import percent
from regcheck.core.report import Report, counted
from regcheck.lazy_dataclass import dataclass

WIDEST = 100
"""Longer lines of prose are hard to read."""


@dataclass(frozen=True)
class View:
    """How to show a report.

    Attributes:
        show_refuted: list the suspicions that a measurement refuted.
        statistics: count the findings of each rule.
        color: use terminal colours.
        width: break prose at this many columns; None where the output is no terminal.
        verbose: show the figures behind each verdict, and each finding that repeats.
        fixed: how many findings `--fix` removed, None where it did not run.
        ignored: how many findings `--add-ignores` suppressed, None where it did not run.
        quiet: leave out what was looked at, and the counts.
        command: the command line that made the report, where there was one.
        prefix: what the options begin with that apply fixes.
    """

    show_refuted: bool = False
    statistics: bool = False
    color: bool = False
    width: int | None = None
    verbose: bool = False
    fixed: int | None = None
    quiet: bool = False
    command: str = ""
    ignored: int | None = None
    prefix: str = "--"


def ending(report: Report, view: View) -> list[str]:
    """The last lines of a text: what was looked at, how many findings there are, were fixed and can be fixed."""
    if view.quiet:
        return []
    lines = [*report.looked_at, headline(report)]
    if view.fixed is not None:
        lines.append(f"{view.fixed} fixed")
    if view.ignored is not None:
        lines.append(f"{view.ignored} ignored by new comments")
    safe = sum(each.patch is not None and each.patch.safe for each in report.findings)
    unsafe = sum(each.patch is not None for each in report.findings) - safe
    fix, also_unsafe = f"{view.prefix}fix", f"{view.prefix}unsafe-fixes"
    if safe:
        lines.append(f"{safe} fixable with {fix}" + (f" ({unsafe} more with {also_unsafe})" if unsafe else ""))
    elif unsafe:
        lines.append(f"{unsafe} fixable with {fix} {also_unsafe}")
    return lines


def headline(report: Report) -> str:
    """The report's headline; that of a test session also counts the models and modules, which are many."""
    if report.examined is None:
        return report.headline
    closing = [counted(report.examined, "model") + " examined", fraction(report.coverage)]
    return ", ".join(filter(None, [report.headline, *closing]))


def text_width(stream: TextIO) -> int | None:
    """The columns for prose: those of a terminal, or that `COLUMNS` states for it, at most 100; None for a file.

    Python's readline sets `COLUMNS` for the processes that a program starts, so that it alone shows no terminal.
    """
    if not (stream.isatty() or os.environ.get("FORCE_COLOR")):
        return None
    stated = os.environ.get("COLUMNS", "")
    columns = int(stated) if stated.isdecimal() else 0
    if not columns:
        with contextlib.suppress(OSError, ValueError):
            columns = os.get_terminal_size(stream.fileno()).columns
    return min(columns, WIDEST) if columns else None


def proof(evidence: Evidence) -> str:
    """The verdict with its reason: `confirmed on cpu: the prediction varies by 31 % of its spread …`."""
    verdict = "not measured" if evidence.verdict is Verdict.UNMEASURED else evidence.verdict.value
    on = f" on {evidence.device}" if evidence.device else ""
    because = f": {evidence.because}" if evidence.because else ""
    return f"{verdict}{on}{because}"


def effect_size(effect: Effect) -> str:
    """`units dropped in train mode: 90 % of the units (material from 80 %)`; empty where the effect has no size."""
    if effect.value is None:
        return ""
    material = f" (material from {amount(effect, effect.material_from)})" if effect.material_from else ""
    return f"{effect.name}: {amount(effect, effect.value)} {effect.unit}{material}"


def fixed_line(fixed: Finding, again: Evidence | None = None) -> str:
    """The line on a confirmed finding that a fix removes: the effect before and, where it was measured `again`, after.

    `… output units lost in train mode: 20 % → 0 % of the output units`.
    """
    before, after = fixed.evidence.effect, again.effect if again else None
    label = f"fixed: {fixed.where} {fixed.title}"
    if before and before.value is not None and after and after.value is not None:
        return f"{label}: {before.name}: {amount(before, before.value)} → {amount(before, after.value)} {before.unit}"
    size = effect_size(before) if before else ""
    return f"{label}: {size or fixed.evidence.because} → not found when measured again"


def amount(effect: Effect, value: float) -> str:
    """A figure in the effect's unit: `90 %` of a share, else three significant digits."""
    return percent(value) if effect.unit.startswith("of ") else f"{value + 0.0:.3g}"


def figures(evidence: Evidence) -> str:
    """The figures behind a verdict: the effect, `measured 0.031, expected 0, α 1e-06, 16 samples, seed 0 (test)`."""
    labelled = (
        ("measured {:.4g}", evidence.measured),
        ("expected {:.4g}", evidence.expected),
        ("α {:.2g}", evidence.alpha),
        ("{:d} samples", evidence.samples),
        ("seed {:d}", evidence.seed),
    )
    if evidence.measured is None:
        return ""
    text = ", ".join(form.format(value) for form, value in labelled if value is not None)
    test = f" ({evidence.statistic})" if evidence.statistic else ""
    effect = effect_size(evidence.effect) if evidence.effect else ""
    return f"{effect}; {text}{test}" if effect else text + test


def counts(report: Report) -> list[tuple[int, str, str]]:
    """How many findings each rule has: number, code and name, the largest number first."""
    numbers = Counter((each.code, each.name) for each in report.findings)
    return sorted(((number, *rule) for rule, number in numbers.items()), key=lambda row: (-row[0], row[1]))
