"""The report as JSON Lines: an object a line, so that programs filter it without reading the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from regcheck.core.report import Report
from regcheck.files.escape import dump_json
from regcheck.report.view import View


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    return "".join(dump_json(each, indent=None) for each in _objects(report))


LISTS = ("finding", "unproven", "refuted", "known", "not_checked", "coverage")
"""The types of the lines before the last one; the JSON report has a list of each, `findings` of the first."""


def _objects(report: Report) -> Iterator[dict[str, Any]]:
    """Yields each entry of the JSON report's lists with its `type`, and last the rest of the report."""
    document = report.to_dict()
    entries = {kind: document.pop(key_of(kind)) for kind in LISTS}
    entries["finding"] = [each for each in entries["finding"] if each not in entries["unproven"]]
    for kind in LISTS:
        for each in entries[kind]:
            yield {"type": kind, **each}
    yield {"type": "report", **document, "exit_code": report.exit_code}


def key_of(kind: str) -> str:
    """The name of the list in the JSON report that holds the entries of a type."""
    return "findings" if kind == "finding" else kind


def joined_lines(lines: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The JSON report that these objects were written from; None where the last one is missing, so that more may be."""
    if not lines or lines[-1].get("type") != "report":
        return None
    *entries, rest = ({**each} for each in lines)
    document: dict[str, Any] = {key_of(kind): [] for kind in LISTS}
    for each in entries:
        document.setdefault(key_of(str(each.pop("type", ""))), []).append(each)
    document["findings"] += document["unproven"]
    return {**document, **{key: value for key, value in rest.items() if key not in ("type", "exit_code")}}
