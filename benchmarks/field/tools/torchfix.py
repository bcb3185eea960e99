"""TorchFix: reads the source, all rules; none is of the field."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from . import _command

REQUIREMENTS = ("torchfix==0.7.0", "torch", "numpy")
WAY = "source"
LINE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):\d+: (?P<text>TOR\d+ .*)$")
FIELD = re.compile(r"dropout|weight.decay|eval\(|train\(", re.IGNORECASE)


def prepare() -> None:
    importlib.import_module("torchfix.__main__")


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    """A message counts if it is about something in the field, of which the tool has no rule so far."""
    from torchfix.__main__ import main

    text = _command.printed(main, ["--select", "ALL", "-j", "1", "--show-stderr", "."])
    return [
        {"file": Path(match["file"]).name, "line": int(match["line"]), "text": match["text"]}
        for match in map(LINE.match, text.splitlines())
        if match and FIELD.search(match["text"])
    ]
