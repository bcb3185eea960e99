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
"""GitLab wants a path; this one stands for a model whose source is not known."""


def render(report: Report, view: View) -> str:
    """The whole report: a program picks what it wants to see, so `view` changes nothing."""
    entries = [*map(found, report.standing), *map(unproven, report.unproven), *map(missed, report.not_checked)]
    return dump_json(entries)


def found(finding: Finding) -> dict[str, Any]:
    cell = f"cell {finding.cell}, line {finding.line}: " if finding.cell else ""
    text = f"{finding.code} {finding.name}: {cell}{finding.message} ({proof(finding.evidence)})"
    line = 1 if finding.cell else finding.line
    return entry(text, finding.name, fingerprint(finding), SEVERITIES[finding.severity], finding.path, line)


def unproven(finding: Finding) -> dict[str, Any]:
    """The entry of an unproven finding, as minor as that of something that was not checked."""
    document = found(finding)
    return {**document, "description": f"unproven: {document['description']}", "severity": "minor"}


def missed(each: NotChecked) -> dict[str, Any]:
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
