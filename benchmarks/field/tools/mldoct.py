"""mldoct: reads the source; one of its rules is of the field."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

REQUIREMENTS = ("mldoct==1.0.0",)
WAY = "source"
KINDS = {"missing_eval": "missing-eval"}


def prepare() -> None:
    importlib.import_module("mldoctor.linter")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from mldoctor.linter import lint_script

    return [
        {"file": file.name, "line": one["line"], "kind": KINDS[one["type"]], "text": one["message"]}
        for file in sorted(Path().glob("*.py"))
        for one in lint_script(str(file))[0]
        if one["type"] in KINDS
    ]
