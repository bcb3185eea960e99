"""What a reader wants to see of a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from regcheck.core.finding import Evidence
from regcheck.core.report import Report


@dataclass(frozen=True)
class View:
    """How to show a report: refuted suspicions too, counts per rule too, in colour; how many findings were fixed."""

    show_refuted: bool = False
    statistics: bool = False
    color: bool = False
    fixed: int | None = None


def ending(report: Report, view: View) -> list[str]:
    """The lines that a text ends in: how many findings there are, were fixed, and can be."""
    lines = [report.headline]
    if view.fixed is not None:
        lines.append(f"{view.fixed} fixed")
    safe = sum(each.patch is not None and each.patch.safe for each in report.findings)
    unsafe = sum(each.patch is not None for each in report.findings) - safe
    if safe:
        lines.append(f"{safe} fixable with --fix" + (f" ({unsafe} more with --unsafe-fixes)" if unsafe else ""))
    elif unsafe:
        lines.append(f"{unsafe} fixable with --fix --unsafe-fixes")
    return lines


def proof(evidence: Evidence) -> str:
    """The verdict with its reason: `confirmed on cpu: 16 eval runs differ …`."""
    on = f" on {evidence.device}" if evidence.device else ""
    because = f": {evidence.because}" if evidence.because else ""
    return f"{evidence.verdict.value}{on}{because}"


def figures(evidence: Evidence) -> str:
    """The figures behind a verdict: `measured 0.031, expected 0, α 1e-06, 16 samples, seed 0 (std over seeds)`."""
    given = (
        ("measured {:.4g}", evidence.measured),
        ("expected {:.4g}", evidence.expected),
        ("α {:.2g}", evidence.alpha),
        ("{:d} samples", evidence.samples),
        ("seed {:d}", evidence.seed),
    )
    text = ", ".join(form.format(value) for form, value in given if value is not None)
    if evidence.measured is None:
        return ""
    return f"{text} ({evidence.statistic})" if evidence.statistic else text


def counts(report: Report) -> list[tuple[int, str, str]]:
    """How many findings each rule has: number, code and name, most first."""
    found = Counter((each.code, each.name) for each in report.findings)
    return sorted(((number, *rule) for rule, number in found.items()), key=lambda row: (-row[0], row[1]))
