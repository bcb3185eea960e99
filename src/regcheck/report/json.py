"""The report as a JSON document, as `schema.json` beside this file describes it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from regcheck.core.report import Report
from regcheck.report.view import View


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    return report.to_json() + "\n"


def schema() -> dict[str, Any]:
    """The published schema (JSON Schema, draft 2020-12)."""
    document: dict[str, Any] = json.loads(files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8"))
    return document
