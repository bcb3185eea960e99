"""dslinter: a plugin of pylint that reads the source; one of its rules is of the field. It needs Python 3.9."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from . import _command

REQUIREMENTS = ("dslinter==2.0.9",)
PYTHON = "python3.9"
WAY = "source"
KINDS = {"mode-toggling-pytorch": "trained-in-eval"}


def prepare() -> None:
    importlib.import_module("dslinter")
    importlib.import_module("pylint.lint")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from pylint.lint import Run

    chosen = ["--load-plugins=dslinter", "--disable=all", f"--enable={','.join(KINDS)}", "--output-format=json"]
    files = [str(file) for file in sorted(Path().glob("*.py"))]
    text = _command.printed(lambda: Run([*chosen, *files]), [])
    return [
        {"file": Path(one["path"]).name, "line": one["line"], "kind": KINDS[one["symbol"]], "text": one["message"]}
        for one in json.loads(text)
        if one["symbol"] in KINDS
    ]
