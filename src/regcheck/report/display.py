"""Reports and findings as notebooks display them: the page's cards, without a script."""

from __future__ import annotations

from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.report.cards import environment


def html_of(shown: Report | Finding) -> str | None:
    """The HTML of a report or a finding; None without Jinja2, so that a notebook shows the text instead."""
    try:
        template = environment().get_template("display.jinja")
    except ModuleNotFoundError:
        return None
    if isinstance(shown, Finding):
        return template.render(findings=[shown])
    return template.render(report=shown, findings=[*shown.standing, *shown.unproven])
