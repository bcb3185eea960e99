"""The report as SARIF 2.1.0, the format of code scanning on GitHub and in editors."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from regcheck.core.finding import Finding, NotChecked, Severity
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.core.rule import Rule
from regcheck.files.escape import dump_json, encode
from regcheck.plugins import catalogue
from regcheck.report.fingerprint import fingerprint
from regcheck.report.view import View, proof

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    rules = catalogue()
    places = {rule.code: index for index, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "regcheck",
                "version": report.version or "unknown",
                "informationUri": "https://regcheck.readthedocs.io/",
                "rules": [reporting_descriptor(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {"executionSuccessful": True, "toolExecutionNotifications": [notice(each) for each in report.not_checked]}
        ],
        "results": [
            *(result(each, places) for each in report.standing),
            *(unproven(each, places) for each in report.unproven),
        ],
        "properties": {"unproven": len(report.unproven)},
    }
    return dump_json({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def reporting_descriptor(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.page, "markdown": rule.page},
        "helpUri": rule.docs,
        "defaultConfiguration": {"level": LEVELS[rule.severity], "enabled": rule.severity > Severity.INFO},
        "properties": {"tags": [rule.family]},
    }


def result(finding: Finding, places: dict[str, int]) -> dict[str, Any]:
    advice = f"\n{finding.fix}" if finding.fix else ""
    cell = f"cell {finding.cell}, line {finding.line}: " if finding.cell else ""
    document: dict[str, Any] = {
        "ruleId": finding.code,
        "level": LEVELS[finding.severity],
        "message": {"text": f"{cell}{finding.message} ({proof(finding.evidence)}){advice}"},
        "locations": [location(finding)],
        "partialFingerprints": {"regcheck/v1": fingerprint(finding)},
        "properties": {"evidence": finding.evidence.to_dict()},
    }
    if finding.code in places:
        document["ruleIndex"] = places[finding.code]
    # A notebook's lines count within its cells, and SARIF's regions cannot name a cell.
    if finding.patch and finding.path and not finding.cell:
        document["fixes"] = [fix(finding.patch, finding.path)]
    return document


def unproven(finding: Finding, places: dict[str, int]) -> dict[str, Any]:
    """The result of an unproven finding: tagged as such, and a warning at most."""
    document = result(finding, places)
    document["level"] = LEVELS[min(finding.severity, Severity.WARNING)]
    document["message"] = {"text": f"unproven: {document['message']['text']}"}
    document["properties"]["tags"] = ["unproven"]
    return document


def location(finding: Finding) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if finding.path:
        place["physicalLocation"] = physical(finding.path, None if finding.cell else finding.line, finding.column)
    if finding.module or not finding.path:
        place["logicalLocations"] = [{"fullyQualifiedName": finding.module or "model", "kind": "object"}]
    return place


def physical(path: str, line: int | None, column: int | None) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": artifact(path)}
    if line:
        location["region"] = {"startLine": line, **({"startColumn": column} if column else {})}
    return location


def artifact(path: str) -> dict[str, str]:
    uri = quote(encode(path.replace(os.sep, "/")))
    return {"uri": f"file://{uri}"} if os.path.isabs(path) else {"uri": uri, "uriBaseId": "%SRCROOT%"}


def fix(patch: Patch, path: str) -> dict[str, Any]:
    replacements = [replacement(each) for each in patch.edits]
    changes = [{"artifactLocation": artifact(path), "replacements": replacements}]
    return {"description": {"text": patch.message}, "artifactChanges": changes}


def replacement(edit: Edit) -> dict[str, Any]:
    region = {
        "startLine": edit.line,
        "startColumn": edit.column,
        "endLine": edit.end_line,
        "endColumn": edit.end_column,
    }
    return {"deletedRegion": region, "insertedContent": {"text": edit.text}}


def notice(each: NotChecked) -> dict[str, Any]:
    text = f"not checked: {each.subject}: {each.reason}" + (f"; {each.what_to_do}" if each.what_to_do else "")
    document: dict[str, Any] = {"level": "warning", "message": {"text": text}}
    if each.path:
        document["locations"] = [{"physicalLocation": physical(each.path, each.line, None)}]
    return document
