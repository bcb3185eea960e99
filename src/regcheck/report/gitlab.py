"""The report as GitLab's code quality artifact."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from regcheck.core.finding import Finding, NotChecked, Severity
from regcheck.core.report import Report
from regcheck.files.escape import dump_json, encode
from regcheck.report.fingerprint import fingerprint
from regcheck.report.view import View, proof

SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}
NOWHERE = "model"
"""GitLab requires a path; this one stands for a model without source."""


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    entries = [*map(issue, report.standing), *map(unproven, report.unproven), *map(unchecked, report.not_checked)]
    return dump_json(entries)


def issue(finding: Finding) -> dict[str, Any]:
    cell = f"cell {finding.cell}, line {finding.line}: " if finding.cell else ""
    text = f"{finding.code} {finding.name}: {cell}{finding.message} ({proof(finding.evidence)})"
    line = 1 if finding.cell else finding.line
    return entry(text, finding.name, fingerprint(finding), SEVERITIES[finding.severity], finding.path, line)


def unproven(finding: Finding) -> dict[str, Any]:
    """The issue of an unproven finding, as minor as that of something not checked."""
    document = issue(finding)
    return {**document, "description": f"unproven: {document['description']}", "severity": "minor"}


def unchecked(each: NotChecked) -> dict[str, Any]:
    text = f"not checked: {each.subject}: {each.reason}"
    name = hashlib.sha256(encode(f"{each.path}\0{each.subject}\0{each.reason}")).hexdigest()[:32]
    return entry(text, "not-checked", name, "minor", each.path, each.line)


def entry(text: str, name: str, fingerprint: str, severity: str, path: str | None, line: int | None) -> dict[str, Any]:
    where = (path or NOWHERE).replace(os.sep, "/")
    return {
        "description": text,
        "check_name": name,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": where, "lines": {"begin": line or 1}},
    }
