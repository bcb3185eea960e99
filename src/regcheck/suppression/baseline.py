"""The baseline: a file of known findings that a project does not fix yet, and that edits elsewhere leave valid."""

from __future__ import annotations

import ast
import io
import json
import os
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.files.atomic_write import write_atomically
from regcheck.files.text import line_in_file, text_of
from regcheck.lazy_dataclass import dataclass

DEFAULT = "regcheck-baseline.json"
VERSION = 1
_IN_FSTRING = getattr(tokenize, "FSTRING_MIDDLE", None)
"""From Python 3.12 on an f-string is several tokens, whose text no longer doubles its braces."""

_LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True, order=True)
class Entry:
    """What identifies a finding: neither its line nor the layout of its code.

    `path` is the file, with `/`; `scope` the class and function it stands in; `source` the code reported, without
    layout; `nth` counts findings that are equal in all of that, from the top of the file. Without a file, `scope` is
    the module and `source` the message. `by` is the command that found it first, `scan` or `audit`.
    """

    code: str
    path: str
    scope: str
    source: str
    nth: int
    by: str


class Baseline:
    """The entries of a file. Paths are relative to its folder."""

    def __init__(self, file: Path, entries: Iterable[Entry] = ()) -> None:
        self.file = file
        self.entries = frozenset(entries)

    @classmethod
    def read(cls, file: Path) -> Baseline:
        """Read a baseline.

        Raises:
            UsageError: the file cannot be read, or is no baseline.
        """
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise UsageError(f"{file}: is a baseline of version {document['version']}, not {VERSION}")
            return cls(file, map(_entry, document["findings"]))
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {error.strerror}; `--write-baseline` writes it") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"{file}: is not a baseline: {error}") from None

    def entry(self, finding: Finding, by: str = "") -> Entry:
        """The entry of a finding that the command `by` found."""
        if finding.path is None:
            return Entry(finding.code, "", finding.module_path, finding.message, 0, by)
        return Entry(finding.code, self._relative(finding.path), *spot_of(finding), by)

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.file.parent).replace(os.sep, "/")

    @cached_property
    def entries_of_any_command(self) -> frozenset[Entry]:
        """The entries without the command that found each first, to compare with `entry(finding)`."""
        return frozenset(replace(each, by="") for each in self.entries)

    def stale(self, report: Report, roots: Iterable[str], codes: Iterable[str], by: str) -> list[Entry]:
        """The entries of the command `by` that no finding of its report matches any more.

        Only entries that the report covers count: in the files at and below `roots` that could be read, of `codes`.
        """
        current = {self.entry(each) for each in (*report.findings, *report.known)}
        unread = {self._relative(each.path) for each in report.not_checked if each.path}
        below = [Path(root).resolve() for root in roots]
        codes = set(codes)

        def is_examined(path: str) -> bool:
            try:
                file = (self.file.parent / path).resolve()
            except (OSError, RuntimeError, ValueError):  # no name of a file here, or a link that leads to itself
                return False
            return path not in unread and any(root == file or root in file.parents for root in below)

        return sorted(
            each
            for each in self.entries
            if each.by == by and each.code in codes and is_examined(each.path) and replace(each, by="") not in current
        )

    def updated(self, findings: Iterable[Finding], stale: Iterable[Entry], by: str) -> Baseline:
        """The baseline with these findings, and without the stale entries."""
        new = {self.entry(each, by) for each in findings if self.entry(each) not in self.entries_of_any_command}
        return Baseline(self.file, (self.entries - set(stale)) | new)

    def write(self) -> None:
        """Write the file, sorted, so that a change of it reads like one.

        Raises:
            UsageError: it cannot be written.
        """
        document = {"version": VERSION, "findings": [asdict(each) for each in sorted(self.entries, key=_by_path)]}
        try:
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            write_atomically(self.file, text.encode(errors="backslashreplace"))
        except OSError as error:
            raise UsageError(f"{self.file}: cannot be written: {error.strerror}") from None


def _entry(document: dict[str, Any]) -> Entry:
    """Read an entry; a value of another type is an error."""
    entry = Entry(**document)
    if not all(isinstance(value, int if name == "nth" else str) for name, value in asdict(entry).items()):
        raise TypeError("an entry's `nth` is a number, and all else is text")
    return entry


def spot_of(finding: Finding) -> tuple[str, str, int]:
    """The scope, the code without layout, and which one of its like it is, of a finding in a file."""
    assert finding.path is not None
    text = text_of(finding.path)
    number = line_in_file(finding.path, finding.cell, finding.line or 1)
    line = (text.split("\n")[number - 1 :] or [""])[0]
    column = len(line[: (finding.column or 1) - 1].encode())
    spots = _spots(text)
    spot = spots.get((number, column)) or spots.get((number, -1))
    return spot or ("", " ".join(line.split()), 0)


@lru_cache(maxsize=16)
def _spots(text: str) -> dict[tuple[int, int], tuple[str, str, int]]:
    """The scope, code and number at each position where a call begins; column -1 stands for the first of a line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    lines = [each.encode() for each in text.split("\n")]
    counts: dict[tuple[str, str], int] = {}
    spots: dict[tuple[int, int], tuple[str, str, int]] = {}
    # The innermost of the calls that begin at one position, `F.dropout(x)` of `F.dropout(x).relu()`, comes first.
    order = sorted(_calls(tree), key=lambda each: (each[1].lineno, each[1].col_offset, _end(each[1])))
    for scope, call in order:
        position = call.lineno, call.col_offset
        if position not in spots:
            source = _without_layout(lines, call)
            nth = counts[scope, source] = counts.get((scope, source), -1) + 1
            spots[position] = scope, source, nth
            spots.setdefault((call.lineno, -1), spots[position])
    return spots


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls of a file, and the scope that each stands in."""
    todo = [("", tree)]
    while todo:  # expressions may be nested deeper than calls can be
        scope, node = todo.pop()
        if isinstance(node, ast.Call):
            yield scope, node
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            scope = f"{scope}.{node.name}".lstrip(".")
        todo += [(scope, child) for child in ast.iter_child_nodes(node)][::-1]


def _end(node: ast.Call) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _without_layout(lines: list[bytes], call: ast.Call) -> str:
    """The tokens of a call without comments, spaces, line breaks and trailing commas; quotes are double."""
    last, end = _end(call)
    part = [*lines[call.lineno - 1 : last - 1], lines[last - 1][:end]]
    part[0] = part[0][call.col_offset :]
    words: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(each.decode() for each in part)).readline):
            word = token.string
            if token.type in _LAYOUT:
                continue
            if word in (")", "]", "}") and words and words[-1] == ",":
                words.pop()
            if word[:1] == "'" and word.count("'") == 2 and not {'"', "\\"} & set(word):
                word = word.replace("'", '"')
            elif token.type == _IN_FSTRING:
                word = word.replace("{", "{{").replace("}", "}}")
            if words and _is_word(words[-1]) and _is_word(word):
                words.append(" ")
            words.append(word)
    except (tokenize.TokenError, SyntaxError):
        return " ".join(b" ".join(part).decode().split())
    return "".join(words)


def _is_word(text: str) -> bool:
    return text[-1:].isalnum() or text[-1:] == "_"


def _by_path(entry: Entry) -> tuple[object, ...]:
    return entry.path, entry.scope, entry.code, entry.source, entry.nth, entry.by
