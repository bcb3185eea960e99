"""torch-preflight: reads the source; one of its rules is of the field."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from . import _command

REQUIREMENTS = ("torch-preflight==0.5.0",)
WAY = "source"
KINDS = {"TG011": "trained-in-eval"}


def prepare() -> None:
    importlib.import_module("torch_preflight.cli")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from torch_preflight.cli import main

    text = _command.printed(main, ["check", "-f", "json", "-j", "1", "--select", ",".join(KINDS), "."])
    return [
        {"file": Path(one["path"]).name, "line": one["line"], "kind": KINDS[one["code"]], "text": one["message"]}
        for one in json.loads(text)["diagnostics"]
    ]
