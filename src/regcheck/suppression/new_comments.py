"""Edits that add a suppression to the code: where a comment can stand that covers a line, and its text."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable

from regcheck.core.errors import UsageError
from regcheck.core.patch import Edit


def checked_reason(text: str) -> str:
    """Returns the reason of new comments without blanks around it.

    Raises:
        UsageError: a comment cannot hold it, or it is empty.
    """
    reason = text.strip()
    if not reason.strip("-—: ") or "#" in reason or not reason.isprintable():
        raise UsageError(f"--add-ignores takes the reason, a line of text without #, not {text!r}")
    return reason


class CommentPlaces:
    """The lines of a source file, or of a notebook's cell, at whose end a comment can stand.

    Args:
        source: the text to be edited.
        python: the same text as plain Python, where it is a notebook's.
    """

    def __init__(self, source: str, python: str = "") -> None:
        self._lines = source.split("\n")
        self._free = _lines_that_end(python or source)
        self._spans = _spans(python or source)

    def place(self, line: int) -> int | None:
        """Returns the line at whose end a comment covers this line; None where none can."""
        around = sorted((last - first, last) for first, last in self._spans if first <= line <= last)
        return next((each for each in (line, *(last for _, last in around)) if each in self._free), None)

    def edit(self, place: int, codes: Iterable[str], reason: str) -> Edit:
        """Returns the edit that suppresses these codes by a comment at the end of a line.

        A comment there that suppresses others for the same reason is extended.
        """
        text, new = self._lines[place - 1], ", ".join(codes)
        own = re.search(rf"#\s*regcheck:\s*ignore\[(?P<codes>[^\]]*)\]\s*(?:--\s*)?{re.escape(reason)}\s*(?:#|$)", text)
        if own is not None:
            column = own.end("codes") + 1
            return Edit(place, column, place, column, f", {new}")
        end = len(text.rstrip())
        return Edit(place, end + 1, place, len(text) + 1, f"  # regcheck: ignore[{new}] -- {reason}")


def _lines_that_end(text: str) -> set[int]:
    """The lines that end outside a string, and not by a backslash."""
    numbers: set[int] = set()
    strings = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            name = tokenize.tok_name[token.type]
            strings += name in ("FSTRING_START", "TSTRING_START")
            strings -= name in ("FSTRING_END", "TSTRING_END")
            if name in ("NEWLINE", "NL") and not strings:
                numbers.add(token.start[0])
    except (tokenize.TokenError, SyntaxError):
        return set()
    return numbers


def _spans(text: str) -> set[tuple[int, int]]:
    """The first and the last line of each expression and simple statement."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = [*ast.walk(ast.parse(text))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    simple = [each for each in nodes if isinstance(each, ast.expr) or (isinstance(each, ast.stmt) and not _holds(each))]
    return {(each.lineno, each.end_lineno or each.lineno) for each in simple}


def _holds(statement: ast.stmt) -> bool:
    """Whether a statement contains others."""
    return hasattr(statement, "body") or hasattr(statement, "cases")
