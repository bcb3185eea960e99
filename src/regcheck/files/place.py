"""A position in a source file."""

from __future__ import annotations

import re

from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in the user's source; `line` and `column` count from 1."""

    path: str
    line: int
    column: int = 1

    @property
    def in_package(self) -> str:
        """The path from the folder of installed packages on; the whole path of a file elsewhere."""
        return re.split(r"[\\/](?:site|dist)-packages[\\/]", self.path)[-1]

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"
