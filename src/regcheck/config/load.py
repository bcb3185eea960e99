"""Options from a `regcheck.toml`, or from the `[tool.regcheck]` table of a `pyproject.toml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from regcheck.config.keys import EXTEND
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.files.toml import toml_document

OWN = "regcheck.toml"


def load(start: Path, file: Path | None = None, defaults: Mapping[str, Any] | None = None) -> Options:
    """The options written in `file`, or in the nearest configuration at or above `start`.

    That is a `regcheck.toml` or `.regcheck.toml`, or else a `pyproject.toml` that has the table `[tool.regcheck]`.
    `defaults` hold where nothing else is written.

    Raises:
        UsageError: the file cannot be read (with the line that stopped it), or has an unknown key (with its nearest
            neighbour) or a value of the wrong type. The message begins with the file.
    """
    if file is not None:
        table = _table(file)
        if table is None:
            raise UsageError(f"{file}: has no [tool.regcheck] table")
        return _options(file, table, defaults)
    nearest = _nearest(start)
    return Options.read(defaults) if nearest is None else _options(*nearest, defaults)


def configured_folder(start: Path) -> Path | None:
    """The folder of the nearest configuration at or above `start`, which `load` reads.

    Raises:
        UsageError: a configuration cannot be read.
    """
    nearest = _nearest(start)
    return None if nearest is None else nearest[0].parent


def _nearest(start: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The nearest configuration at or above a folder, and its table."""
    for file in candidates(start):
        table = _table(file) if file.is_file() else None
        if table is not None:
            return file, table
    return None


def candidates(start: Path) -> Iterator[Path]:
    """The files that may be the configuration of a folder, whether they exist or not, the nearest first."""
    start = start.resolve()
    for folder in (start, *start.parents):
        yield from (folder / OWN, folder / f".{OWN}", folder / "pyproject.toml")


def _options(file: Path, table: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> Options:
    return Options.read({**(defaults or {}), **_keys(file, table, ())})


def _keys(file: Path, table: Mapping[str, Any], below: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a file's table and of those that it extends, spelled with `-`, with paths from the working folder.

    Args:
        file: the file.
        table: its table.
        below: the files that extend it.

    Raises:
        UsageError: as `load`, or the files extend each other.
    """
    keys = {name.replace("_", "-"): value for name, value in table.items()}
    base = keys.pop(EXTEND, None)
    try:
        if base is not None and not isinstance(base, str):
            raise UsageError(f"option {EXTEND!r} takes a path, not {base!r}")
        if Options.read(keys).baseline:
            keys["baseline"] = str(file.parent / keys["baseline"])
    except UsageError as error:
        raise UsageError(f"{file}: {_where(file)}{error}") from None
    if base is None:
        return keys
    extended = file.parent / base
    if extended.resolve() in (each.resolve() for each in (*below, file)):
        raise UsageError(f"{file}: {EXTEND} = {base!r}: the files extend each other")
    further = _table(extended)
    if further is None:
        raise UsageError(f"{extended}: has no [tool.regcheck] table")
    return {**_keys(extended, further, (*below, file)), **keys}


def _is_own(file: Path) -> bool:
    """Whether all of a file is about regcheck."""
    return file.name in (OWN, f".{OWN}")


def _where(file: Path) -> str:
    return "" if _is_own(file) else "[tool.regcheck]: "


def _table(file: Path) -> Mapping[str, Any] | None:
    try:
        document = toml_document(file)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file}: is not UTF-8") from None
    except ValueError as error:
        raise UsageError(f"{file}: is not valid TOML: {error}") from None
    if _is_own(file):
        return document
    table = document.get("tool", {}).get("regcheck")
    if table is not None and not isinstance(table, Mapping):
        raise UsageError(f"{file}: `tool.regcheck` must be a table, not {table!r}")
    return table
