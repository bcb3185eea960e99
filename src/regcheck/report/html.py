"""The report as one self-contained page of HTML."""

from __future__ import annotations

from importlib.resources import files

from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.files.text import lines_of
from regcheck.report.view import View, counts, figures, proof

AROUND = 3
"""How many lines of source stand above and below the reported one."""


def render(report: Report, view: View) -> str:
    """The page; `view` decides only whether it lists refuted suspicions.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment
    except ModuleNotFoundError:
        raise UsageError("a page needs Jinja2: `pip install 'regcheck[html]'`") from None
    source = files("regcheck.report").joinpath("html.jinja").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    values = {"counts": counts(report), "proof": proof, "figures": figures, "excerpt": excerpt}
    return template.render(report=report, refuted=report.refuted if view.show_refuted else (), **values) + "\n"


def excerpt(finding: Finding) -> list[tuple[int, str, bool]]:
    """The lines around a finding: number, text, and whether it is the reported one."""
    if not finding.path or not finding.line:
        return []
    lines = lines_of(finding.path, finding.cell)
    first, last = max(finding.line - AROUND, 1), min(finding.line + AROUND, len(lines))
    shown = [
        (number, visible(lines[number - 1].rstrip(), "\t"), number == finding.line) for number in range(first, last + 1)
    ]
    while shown and not shown[-1][1]:
        shown.pop()
    return shown
