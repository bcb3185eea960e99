"""The text of what is examined: a file on the disk, the cells of a notebook, or what was handed in under a name."""

from __future__ import annotations

import io
import linecache
import os
import re
import tokenize
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from . import notebook
from .escape import encoded

STDIN = "-"
_handed_in: dict[str, bytes] = {}
NEWLINE = re.compile(r"\r\n|\r|\n")


@contextmanager
def handed_in(contents: dict[str, bytes]) -> Iterator[None]:
    """Let files of these names have these contents for a while, whatever the disk says."""
    before = dict(_handed_in)
    _handed_in.update({os.path.abspath(path): content for path, content in contents.items()})
    try:
        yield
    finally:
        _handed_in.clear()
        _handed_in.update(before)


def is_handed_in(path: str | Path) -> bool:
    """Whether a file's content was handed in."""
    return os.path.abspath(path) in _handed_in


def content_of(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    given = _handed_in.get(os.path.abspath(path))
    return Path(path).read_bytes() if given is None else given


def encoding_of(content: bytes) -> str:
    """The encoding that Python reads a source file in, `utf-8-sig` where it begins with a byte-order mark.

    Raises:
        SyntaxError: the file declares an encoding that there is not, or is not in UTF-8 and declares none.
    """
    return tokenize.detect_encoding(io.BytesIO(content.replace(b"\r", b"\n")).readline)[0]


def text_of(path: str) -> str:
    """A file's Python source as Python sees it, with newlines at the end of lines; empty where it cannot be read."""
    try:
        if not is_handed_in(path) and not path.endswith(notebook.SUFFIX):
            linecache.checkcache(path)
            return _joined(path, linecache.getlines(path))
        content = content_of(path)
        if path.endswith(notebook.SUFFIX):
            return notebook.parsed(content).text
        return NEWLINE.sub("\n", content.decode(encoding_of(content)))
    except (OSError, ValueError, SyntaxError, LookupError):
        return ""


_last: dict[str, tuple[list[str], str]] = {}
"""The text of the file that was asked for last: of one file there may be many findings."""


def _joined(path: str, lines: list[str]) -> str:
    known = _last.get(path)
    if known is not None and known[0] is lines:
        return known[1]
    text = "".join(lines)
    _last.clear()
    _last[path] = lines, text
    return text


@lru_cache(maxsize=2)
def _split(text: str) -> list[str]:
    return text.split("\n")


def lines_of(path: str, cell: int | None = None) -> list[str]:
    """The lines of a file, or of one cell of a notebook; none where they cannot be read."""
    if cell is None:
        return _split(text_of(path))
    try:
        found = notebook.parsed(content_of(path)).cell(cell)
    except (OSError, ValueError):
        return []
    return found.source.split("\n") if found else []


def in_cell(path: str, line: int) -> tuple[int | None, int]:
    """The notebook's cell that a line of its `text_of` stands in, and the line there; no cell for any other file."""
    if path.endswith(notebook.SUFFIX):
        try:
            return notebook.parsed(content_of(path)).located(line)
        except (OSError, ValueError):
            pass
    return None, line


def in_file(path: str, cell: int | None, line: int) -> int:
    """The line of a file's `text_of` that a line of a cell is: `in_cell` the other way round."""
    try:
        return line if cell is None else notebook.parsed(content_of(path)).line(cell, line)
    except (OSError, ValueError):
        return line


def characters(line: str, column: int) -> int:
    """The column in characters, from 1, of a column that counts the bytes of UTF-8, as Python's syntax trees do."""
    return len(encoded(line)[: column - 1].decode(errors="ignore")) + 1
