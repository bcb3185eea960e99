"""The report as JSON Lines: an object a line, so that programs filter it without reading the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from regcheck.core.report import Report
from regcheck.files.escape import dump_json
from regcheck.report.view import View


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    return "".join(dump_json(each, indent=None) for each in _objects(report))


def _objects(report: Report) -> Iterator[dict[str, Any]]:
    """Yields each entry of the JSON report's lists with its `type`, and last the rest of the report."""
    document = report.to_dict()
    for kind, entries in (
        ("finding", report.standing),
        ("unproven", report.unproven),
        ("refuted", report.refuted),
        ("not_checked", report.not_checked),
        ("coverage", report.coverage),
    ):
        for each in entries:
            yield {"type": kind, **each.to_dict()}
    rest = {key: value for key, value in document.items() if key in ("version", "devices", "seed", "files")}
    yield {"type": "report", **rest, "exit_code": report.exit_code}
