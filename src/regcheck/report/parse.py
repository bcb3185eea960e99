"""Read the reports that `json` and `json-lines` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.core.version import __version__
from regcheck.report.conformity import deviation
from regcheck.report.json import schema
from regcheck.report.json_lines import joined_lines


def read_report(file: Path) -> Report:
    """The report in a file, JSON or JSON Lines.

    Raises:
        UsageError: it cannot be read, is empty or cut off, is no report, or another version wrote it; with its name.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is no report: {FORMS}") from None
    if not text.strip():
        raise UsageError(f"{file}: is empty: the run that was to write it did not")
    document = _document(file, text)
    version = document.get("version")
    if isinstance(version, str) and version != __version__ and "findings" in document:
        raise UsageError(f"{file}: regcheck {version} wrote it, and this is {__version__}: use the same version")
    place = deviation(document, schema(), schema())
    if place:
        raise UsageError(f"{file}: is no report of regcheck {__version__}: {place}")
    return Report.from_dict(document)


FORMS = "write it with `--output-format json` or `json-lines`, or with `--regcheck-report json:FILE`"


def _document(file: Path, text: str) -> dict[str, Any]:
    """The JSON document, or the one that the lines make up."""
    try:
        document = json.loads(text)
        values = [document]
    except json.JSONDecodeError:
        document, values = None, _lines(file, text)
    if not all(isinstance(each, dict) for each in values):
        raise UsageError(f"{file}: is no report: {FORMS}")
    if document is None or "type" in document:
        if not all(isinstance(each.get("type"), str) for each in values):
            raise UsageError(f"{file}: is no report: {FORMS}")
        document = joined_lines(values)
    if document is None:
        raise UsageError(f"{file}: is cut off: its last line is not of type `report`")
    return document  # type: ignore[no-any-return]


def _lines(file: Path, text: str) -> list[Any]:
    lines = text.splitlines()
    values: list[Any] = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == 1:
                raise UsageError(f"{file}: is no JSON, or is cut off: {error}") from None
            raise UsageError(f"{file}: is cut off, or damaged, at line {number}") from None
    return values
