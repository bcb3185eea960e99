"""The text of examined files: from the disk, from a notebook's cells, or from an overlay in memory."""

from __future__ import annotations

import io
import linecache
import os
import re
import tokenize
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from . import notebook
from .escape import encode

STDIN = "-"
_overlays: dict[str, bytes] = {}
NEWLINE = re.compile(r"\r\n|\r|\n")


@contextmanager
def overlay(contents: Mapping[str, bytes]) -> Iterator[None]:
    """Use these contents for files of these names in the block, instead of the disk's."""
    before = dict(_overlays)
    _overlays.update({os.path.abspath(path): content for path, content in contents.items()})
    try:
        yield
    finally:
        _overlays.clear()
        _overlays.update(before)


def is_overlaid(path: str | Path) -> bool:
    """Whether an overlay holds the file."""
    return os.path.abspath(path) in _overlays


def content_of(path: str | Path) -> bytes:
    """Returns the bytes of a file.

    Raises:
        OSError: the file cannot be read.
    """
    content = _overlays.get(os.path.abspath(path))
    return Path(path).read_bytes() if content is None else content


def encoding_of(content: bytes) -> str:
    """Returns the encoding that Python uses for a source file, `utf-8-sig` if it begins with a byte-order mark.

    Raises:
        SyntaxError: the file declares an unknown encoding, or is not UTF-8 and declares none.
    """
    return tokenize.detect_encoding(io.BytesIO(content.replace(b"\r", b"\n")).readline)[0]


def text_of(path: str) -> str:
    """Returns a file's source as Python reads it, with newlines at the end of lines; empty if it cannot be read."""
    try:
        if not is_overlaid(path) and not path.endswith(notebook.SUFFIX):
            if os.path.isfile(path):
                path = os.path.abspath(path)  # linecache looks for a relative path in all of `sys.path`, and keeps it
            _check_cache(path)
            return _joined(path, linecache.getlines(path))
        content = content_of(path)
        if path.endswith(notebook.SUFFIX):
            return notebook.parse_notebook(content).text
        return NEWLINE.sub("\n", content.decode(encoding_of(content)))
    except (OSError, ValueError, SyntaxError, LookupError):
        return ""


def put_into_line_cache(name: str, text: str) -> None:
    """Let tracebacks and `inspect` show this text as the lines of a file of that name."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)


def _check_cache(path: str) -> None:
    """Drop the lines of a file that has changed, also those that came from a loader, whose time nothing states."""
    cached = linecache.cache.get(path)
    if cached is not None and (len(cached) == 1 or cached[1] is None) and os.path.isfile(path):
        del linecache.cache[path]
    linecache.checkcache(path)


_last: dict[str, tuple[list[str], str]] = {}
"""Cache of the last file's text: one file may have many findings."""


def _joined(path: str, lines: list[str]) -> str:
    cached = _last.get(path)
    if cached is not None and cached[0] is lines:
        return cached[1]
    text = "".join(lines)
    _last.clear()
    _last[path] = lines, text
    return text


@lru_cache(maxsize=2)
def _split(text: str) -> list[str]:
    return text.split("\n")


def lines_of(path: str, cell: int | None = None) -> list[str]:
    """Returns the lines of a file, or of one cell of a notebook; empty if they cannot be read."""
    if cell is None:
        return _split(text_of(path))
    try:
        contents = notebook.parse_notebook(content_of(path)).cell(cell)
    except (OSError, ValueError):
        return []
    return contents.source.split("\n") if contents else []


def line_in_cell(path: str, line: int) -> tuple[int | None, int]:
    """Returns the cell that contains a line of a notebook's `text_of`, and the line there; no cell for other files."""
    if path.endswith(notebook.SUFFIX):
        try:
            return notebook.parse_notebook(content_of(path)).located(line)
        except (OSError, ValueError):
            pass
    return None, line


def line_in_file(path: str, cell: int | None, line: int) -> int:
    """Returns the line of a file's `text_of` for a line of a cell: the inverse of `line_in_cell`."""
    try:
        return line if cell is None else notebook.parse_notebook(content_of(path)).line(cell, line)
    except (OSError, ValueError):
        return line


def character_column(line: str, column: int) -> int:
    """Converts a column in UTF-8 bytes, as in Python's syntax trees, to a column in characters; both count from 1."""
    return len(encode(line)[: column - 1].decode(errors="ignore")) + 1
