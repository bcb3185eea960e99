"""The ignores that stand in the comments of a file, and the lines that each of them speaks for."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache

from regcheck.core.suppressions import CommentSuppression
from regcheck.files.place import Place

_COMMENT = re.compile(r"#\s*regcheck:\s*ignore(?P<file>-file)?\s*\[(?P<codes>[^\]]*)\]\s*(?P<reason>[^#]*)")
_ATTEMPT = re.compile(r"#\s*(?P<said>regcheck:\s*(?P<word>[A-Za-z][\w-]*)[^#]*)")
_WORDS = ("ignore", "ignore-file")
_CODE = re.compile(r"\bREG\d{3}\b", re.IGNORECASE)
MARK = "regcheck:"
"""What every such comment holds."""

Lines = tuple[tuple[int, int], ...]


@lru_cache(maxsize=64)
def ignores_in(path: str, text: str) -> tuple[CommentSuppression, ...]:
    """The ignores in the comments of a file, in order; a string that looks like one is none."""
    if MARK not in text:
        return ()
    found: list[CommentSuppression] = []
    layout = _Layout(text)
    for token, depth in _comments(text):
        line, column = token.start
        alone = not token.line[:column].strip()
        for said in _COMMENT.finditer(token.string):
            if alone and said.start() > 0:
                continue  # code that is commented out, with its ignore
            lines = _file_lines(layout, line, alone) if said["file"] else layout.lines_for(line, alone and depth == 0)
            place = Place(path, line, column + said.start() + 1)
            found += (
                CommentSuppression(place, code.strip(), said["reason"].strip(), lines, bool(said["file"]))
                for code in said["codes"].split(",")
                if code.strip()
            )
    return tuple(found)


def malformed_in(path: str, text: str) -> tuple[CommentSuppression, ...]:
    """The comments that are meant to ignore something and name nothing in brackets, in order.

    One begins with a word like `ignore`, or names a code behind another word; whatever else stands behind the mark is
    taken for prose.
    """
    found: list[CommentSuppression] = []
    for token, _ in _comments(text) if MARK in text else ():
        alone = not token.line[: token.start[1]].strip()
        for said in _ATTEMPT.finditer(token.string):
            understood = _COMMENT.match(token.string, said.start())
            if (alone and said.start() > 0) or (understood and understood["codes"].strip(" ,")):
                continue
            if _CODE.search(said["said"]) or get_close_matches(said["word"].lower(), _WORDS, cutoff=0.75):
                place = Place(path, token.start[0], token.start[1] + said.start() + 1)
                found.append(CommentSuppression(place, "", malformed=said["said"].strip()))
    return tuple(found)


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
        """The lines that a comment speaks for: those of what begins or ends on its line, and of the call around it.

        A comment on the line of a `def` or `class` speaks for the whole of it, one on a line of its own for nothing.
        """
        if alone:
            return ()
        for each in self._statements:
            scope = isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            if scope and each.lineno <= line < max(_header_end(each), each.lineno + 1):
                return ((_first_line(each), each.end_lineno or line),)
            if _has_body(each) and not scope and each.lineno <= line < _header_end(each):
                return ((each.lineno, _header_end(each) - 1),)
        found = {(line, line)} | {span for span in self._spans if line in span}
        around = [span for span in self._calls if span[0] < line <= span[1]]
        if around:
            first = min(around, key=lambda span: (span[1] - span[0], span))[0]
            found.add((first, first))
        return tuple(sorted(found))


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
