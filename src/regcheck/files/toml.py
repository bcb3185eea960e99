"""Read TOML files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def toml_document(file: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not UTF-8.
        ValueError: it is not TOML.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    return document
