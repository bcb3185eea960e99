"""Read the suppressions in the comments of a file, and the lines that each of them covers."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import field
from functools import lru_cache

from regcheck.core.suppressions import CommentSuppression
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

_COMMENT = re.compile(r"#\s*regcheck:\s*ignore(?P<file>-file)?\s*\[(?P<codes>[^\]]*)\]\s*(?P<reason>[^#]*)")
_ATTEMPT = re.compile(r"#\s*(?P<text>regcheck:\s*(?P<word>[A-Za-z][\w-]*)[^#]*)")
_WORDS = ("ignore", "ignore-file")
_CODE = re.compile(r"\bREG\d{3}\b", re.IGNORECASE)
_MANY_LINES = 100
"""A comment that covers more lines than this is not indexed by line."""
MARK = "regcheck:"
"""Every such comment contains this."""

Lines = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FileComments:
    """The suppressions in one file's comments, in order, and an index of them by the lines that they cover."""

    all: tuple[CommentSuppression, ...] = ()
    _by_line: dict[int, list[CommentSuppression]] = field(default_factory=dict, compare=False, repr=False)
    _long: list[CommentSuppression] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        for each in self.all:
            if sum(last - first for first, last in each.lines) > _MANY_LINES:
                self._long.append(each)
            else:
                for line in {line for first, last in each.lines for line in range(first, last + 1)}:
                    self._by_line.setdefault(line, []).append(each)

    def covering(self, line: int | None) -> Iterator[CommentSuppression]:
        """The suppressions that cover a line."""
        if line is not None:
            yield from self._by_line.get(line, ())
            yield from (each for each in self._long if each.covers(line))


@lru_cache(maxsize=64)
def comments_in(path: str, text: str) -> FileComments:
    """The suppressions in the comments of a file; a string that looks like one is none."""
    if MARK not in text:
        return FileComments()
    suppressions: list[CommentSuppression] = []
    layout = _Layout(text)
    for token, depth in _comments(text):
        line, column = token.start
        alone = not token.line[:column].strip()
        for match in _COMMENT.finditer(token.string):
            if alone and match.start() > 0:
                continue  # code that is commented out, with its suppression
            lines = _file_lines(layout, line, alone) if match["file"] else layout.lines_for(line, alone and depth == 0)
            place = Place(path, line, column + match.start() + 1)
            suppressions += (
                CommentSuppression(
                    place, code.strip(), match["reason"].lstrip("-—: ").rstrip(), lines, bool(match["file"])
                )
                for code in match["codes"].split(",")
                if code.strip()
            )
    return FileComments(tuple(suppressions))


def malformed_in(path: str, text: str) -> tuple[CommentSuppression, ...]:
    """The comments that are meant to suppress something and name nothing in brackets, in order.

    Such a comment begins with a word like `ignore`, or names a code behind another word; any other text behind the mark
    counts as prose.
    """
    from difflib import get_close_matches

    malformed: list[CommentSuppression] = []
    for token, _ in _comments(text) if MARK in text else ():
        alone = not token.line[: token.start[1]].strip()
        for attempt in _ATTEMPT.finditer(token.string):
            valid = _COMMENT.match(token.string, attempt.start())
            if (alone and attempt.start() > 0) or (valid and valid["codes"].strip(" ,")):
                continue
            if _CODE.search(attempt["text"]) or get_close_matches(attempt["word"].lower(), _WORDS, cutoff=0.75):
                place = Place(path, token.start[0], token.start[1] + attempt.start() + 1)
                malformed.append(CommentSuppression(place, "", malformed=attempt["text"].strip()))
    return tuple(malformed)


def _comments(text: str) -> Iterator[tuple[tokenize.TokenInfo, int]]:
    """Each comment, and how many brackets are open around it."""
    depth = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.OP:
                depth += (token.string in "([{") - (token.string in ")]}")
            elif token.type == tokenize.COMMENT:
                yield token, depth
    except (tokenize.TokenError, SyntaxError):
        return


def _file_lines(layout: _Layout, line: int, alone: bool) -> Lines:
    return ((1, layout.length),) if alone and line < layout.first else ()


class _Layout:
    """Where the statements and expressions of a file begin and end."""

    def __init__(self, text: str) -> None:
        self.length = text.count("\n") + 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            tree = ast.Module([], [])
        nodes = [each for each in ast.walk(tree) if isinstance(each, (ast.stmt, ast.expr))]
        self._statements = [each for each in nodes if isinstance(each, ast.stmt)]
        self._spans = sorted((each.lineno, each.end_lineno or each.lineno) for each in nodes if not _has_body(each))
        self._calls = [(each.lineno, each.end_lineno or 0) for each in nodes if isinstance(each, ast.Call)]
        body = tree.body[1:] if ast.get_docstring(tree, clean=False) is not None else tree.body
        self.first = min((_first_line(each) for each in body), default=self.length + 1)
        """The line of the first statement that is no docstring."""

    def lines_for(self, line: int, alone: bool) -> Lines:
        """The lines that a comment covers: of every node that begins or ends on its line, and of the call around it.

        A comment on the line of a `def` or `class` covers the whole of it, one on a line of its own covers nothing.
        """
        if alone:
            return ()
        for each in self._statements:
            scope = isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if scope and each.lineno <= line < max(_header_end(each), each.lineno + 1):
                return ((_first_line(each), each.end_lineno or line),)
            if _has_body(each) and not scope and each.lineno <= line < _header_end(each):
                return ((each.lineno, _header_end(each) - 1),)
        lines = {(line, line)} | {span for span in self._spans if line in span}
        around = [span for span in self._calls if span[0] < line <= span[1]]
        if around:
            first = min(around, key=lambda span: (span[1] - span[0], span))[0]
            lines.add((first, first))
        return tuple(sorted(lines))


def _has_body(node: ast.AST) -> bool:
    return isinstance(node, ast.stmt) and bool(getattr(node, "body", None) or getattr(node, "cases", None))


def _header_end(node: ast.AST) -> int:
    """The first line after the header of a compound statement."""
    body: list[ast.AST] = getattr(node, "body", None) or getattr(node, "cases", None) or [node]
    first = body[0]
    return _first_line(first.pattern if isinstance(first, ast.match_case) else first)


def _first_line(node: ast.AST) -> int:
    """The line that a node begins on, its decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([getattr(node, "lineno", 1), *(each.lineno for each in decorators)])
