"""The files of a project that may build Keras models."""

from __future__ import annotations

import re

from regcheck.static.project.discovery import KERAS
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

_IMPORTED = re.compile(rb"^[ \t]*(?:from|import)[ \t]+[^\n]*\b(?:tensorflow|keras|tf_keras)\b", re.MULTILINE)
_STAR = b"import *"
"""What a file says that may take names of Keras from another file."""


def sources_of(project: Project) -> tuple[Source, ...]:
    """The files that import Keras, and those that may take its names from another file."""
    named = (each for each in project.sources if each.analyzed and KERAS in each.content)
    return tuple([each for each in named if _STAR in each.content or _IMPORTED.search(each.content)])
