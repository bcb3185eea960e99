"""Options from the `[tool.regcheck]` table of a `pyproject.toml`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regcheck.config.options import Options
from regcheck.core.errors import UsageError


def load(start: Path, file: Path | None = None, defaults: Mapping[str, Any] | None = None) -> Options:
    """The options written in `file`, or in the nearest `pyproject.toml` at or above `start` that has such a table.

    `defaults` hold where nothing else is written.

    Raises:
        UsageError: the file cannot be read (with the line that stopped it), or has an unknown key (with its nearest
            neighbour) or a value of the wrong type. The message begins with the file.
    """
    if file is not None:
        table = _table(file)
        if table is None:
            raise UsageError(f"{file}: has no [tool.regcheck] table")
        return _options(file, {**(defaults or {}), **table})
    start = start.resolve()
    for folder in (start, *start.parents):
        file_above = folder / "pyproject.toml"
        table = _table(file_above) if file_above.is_file() else None
        if table is not None:
            return _options(file_above, {**(defaults or {}), **table})
    return Options.read(defaults)


def _options(file: Path, table: Mapping[str, Any]) -> Options:
    try:
        options = Options.read(table)
        return replace(options, baseline=str(file.parent / options.baseline)) if options.baseline else options
    except UsageError as error:
        raise UsageError(f"{file}: [tool.regcheck]: {error}") from None


def _table(file: Path) -> Mapping[str, Any] | None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file}: is not valid TOML: {error}") from None
    table = document.get("tool", {}).get("regcheck")
    if table is not None and not isinstance(table, Mapping):
        raise UsageError(f"{file}: `tool.regcheck` must be a table, not {table!r}")
    return table
