"""Reads the Keras models of a project, and lists the layers that it could not follow."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from regcheck.core.finding import NotChecked
from regcheck.files.place import Place
from regcheck.static.project.discovery import KERAS
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

from .names import LAYERS, layer_calls

_IMPORTED = re.compile(rb"^[ \t]*(?:from|import)[ \t]+[^\n]*\b(?:tensorflow|keras|tf_keras)\b", re.MULTILINE)

MOST_NAMED = 3
AUDIT = "audit the model on torch: `KERAS_BACKEND=torch regcheck audit FILE.py:FUNCTION`"


def sources_of(project: Project) -> Iterator[Source]:
    """The files that may build Keras models."""
    named = (each for each in project.sources if each.analyzed and KERAS in each.content)
    return (each for each in named if _IMPORTED.search(each.content))


def not_followed(source: Source, followed: Collection[Place]) -> NotChecked | None:
    """The layers that a file constructs at other places than these; None where there are none."""
    missed: dict[str, int] = {}
    count = 0
    for call, name in layer_calls(source.tree):
        if Place(source.path, call.lineno, call.col_offset + 1) not in followed:
            missed.setdefault(name.removeprefix(f"{LAYERS}."), call.lineno)
            count += 1
    if not count:
        return None
    named = ", ".join(f"`{name}` (line {line})" for name, line in [*missed.items()][:MOST_NAMED])
    more = f" and {len(missed) - MOST_NAMED} other kinds" if len(missed) > MOST_NAMED else ""
    layers = f"{count} Keras layer{'s' * (count > 1)}"
    reason = f"{layers} in no model that the source shows: {named}{more}"
    return NotChecked(source.path, reason, AUDIT, source.path, min(missed.values()))
