"""The report as one self-contained page of HTML: it loads nothing, and shows everything without its script, too."""

from __future__ import annotations

import platform
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timezone
from hashlib import sha256

from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding, Severity
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.report.cards import environment, part
from regcheck.report.fingerprint import fingerprint
from regcheck.report.model_drawing import drawing
from regcheck.report.view import View, counts

Entries = list[tuple[Finding, str]]
"""Findings with the identifiers of their cards."""

LINKS_SHOWN = 20
"""The contents show the links of up to so many findings; of more they show the rules, and fold the links."""


def render(report: Report, view: View) -> str:
    """The page; `view` gives the command line, and whether the page lists refuted suspicions.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        template = environment().get_template("html.jinja")
    except ModuleNotFoundError:
        raise UsageError("a page needs Jinja2: `pip install 'regcheck[html]'`") from None
    sections = [*_sections(report, view)]
    listed = [entry for identifier, *_, entries in sections if identifier != "refuted" for entry in entries]
    severities = Counter(each.severity for each in report.standing)
    return template.render(
        report=report,
        severities=[(severities[each], each.value) for each in reversed(Severity)],
        origin=[*_origin(report, view)],
        rules=[*_by_rule(report, listed)],
        unfolded=len(listed) <= LINKS_SHOWN,
        sections=sections,
        drawing=None if report.fx_graph is None else drawing(report.fx_graph, listed),
        script=part("html.js"),
        digest=digest,
    )


def digest(text: str) -> str:
    """The source expression of a content security policy that admits this text alone: no other script ever runs."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def _sections(report: Report, view: View) -> Iterator[tuple[str, str, str, Entries]]:
    """The identifier, the heading, an explanation and the findings of each section."""
    anchors: Counter[str] = Counter()
    measured = "Confirmed by measuring the model." if report.live else "Read from the source; a scan measures nothing."
    kinds: Iterable[tuple[str, str, str, Sequence[Finding]]] = (
        ("findings", "Findings", measured, report.standing),
        ("unproven", "Unproven", "Suspected, but no measurement decided.", report.unproven),
        ("refuted", "Refuted", "Suspected, and refuted by measurement.", report.refuted if view.show_refuted else ()),
    )
    for identifier, heading, explanation, findings in kinds:
        entries = [
            (each, _anchor(each, anchors)) for each in sorted(findings, key=lambda each: each.severity, reverse=True)
        ]
        if entries:
            yield identifier, heading, explanation, entries


def _anchor(finding: Finding, anchors: Counter[str]) -> str:
    """An identifier for a card that stays the same from one report to the next."""
    name = f"{finding.code}-{fingerprint(finding)[:12]}"
    anchors[name] += 1
    return name if anchors[name] == 1 else f"{name}-{anchors[name]}"


def _by_rule(report: Report, entries: Entries) -> Iterator[tuple[str, Entries]]:
    for _, code, name in counts(report):
        yield f"{code} {name}", [entry for entry in entries if (entry[0].code, entry[0].name) == (code, name)]


def _origin(report: Report, view: View) -> Iterator[tuple[str, str]]:
    """The labelled facts about how the report came about."""
    if view.command:
        yield "Command", visible(view.command)
    yield "Date", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"
    torch = getattr(sys.modules.get("torch"), "__version__", "") if report.live else ""
    versions = (("regcheck", report.version), ("Python", platform.python_version()), ("torch", torch))
    yield "Versions", ", ".join(f"{name} {version}" for name, version in versions if version)
    if report.devices:
        yield "Measured on", f"{', '.join(report.devices)}; seed {report.seed}"
