"""The confirmed findings of a project's test sessions, which editors show: an entry of the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.core.version import __version__
from regcheck.files.escape import encode
from regcheck.files.text import lines_of, text_of
from regcheck.files.user_cache import UserCache
from regcheck.lazy_dataclass import dataclass

CACHE = UserCache("runs")


@dataclass(frozen=True)
class ConfirmedFinding:
    """A finding with an absolute path, the text of its line, and a digest of its file, at the end of the session."""

    finding: Finding
    line: str
    file: str

    def to_dict(self) -> dict[str, Any]:
        return {"finding": self.finding.to_dict(), "line": self.line, "file": self.file}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> ConfirmedFinding:
        """Rebuild a confirmed finding from `to_dict`."""
        return cls(Finding.from_dict(document["finding"]), document["line"], document["file"])

    @property
    def is_current(self) -> bool:
        """Whether the file is as it was."""
        return _digest(self.finding.path or "") == self.file

    def now(self) -> Finding | None:
        """The finding where its line stands now, in the same file or cell; None if no line has that text."""
        path, line, column = self.finding.path, self.finding.line, self.finding.column
        if path is None or line is None:
            return None
        lines = lines_of(path, self.finding.cell)
        alike = [number for number, text in enumerate(lines, 1) if text.strip() == self.line.strip()]
        if not alike:
            return None
        nearest = min(alike, key=lambda number: abs(number - line))
        indented = _indent(lines[nearest - 1]) - _indent(self.line)
        return replace(self.finding, line=nearest, column=max(column + indented, 1) if column else column)


def store(report: Report, root: Path, *, whole: bool) -> None:
    """Writes the confirmed findings of a session.

    Args:
        report: the report of the session, with paths from `root`.
        root: the project's folder.
        whole: whether all tests ran; otherwise findings of earlier sessions remain.
    """
    confirmed = [each for each in report.findings if each.is_confirmed]
    by_key = {each.finding.key: each for each in _with_lines(confirmed, root)}
    if not whole:
        by_key = {**{each.finding.key: each for each in _stored(root)}, **by_key}
    CACHE.write(_name(root), json.dumps([each.to_dict() for each in by_key.values()]).encode())


def load(file: Path) -> Iterator[ConfirmedFinding]:
    """Yields the confirmed findings in a file, of all projects that contain it."""
    for folder in file.parents:
        yield from (each for each in _stored(folder) if each.finding.path == str(file))


def changed() -> int:
    """A number that differs after a session in any project has ended, in nanoseconds; 0 before the first."""
    try:
        return CACHE.folder.stat().st_mtime_ns
    except OSError:
        return 0


def _stored(root: Path) -> Iterator[ConfirmedFinding]:
    """Yields the confirmed findings of a project."""
    content = CACHE.read(_name(root))
    if content is not None:  # its checksum says that regcheck wrote it
        yield from map(ConfirmedFinding.from_dict, json.loads(content))


def _with_lines(findings: Iterable[Finding], root: Path) -> Iterator[ConfirmedFinding]:
    for each in findings:
        if each.path is None or each.line is None or each.path.startswith("<"):
            continue
        path = os.path.realpath(root / each.path)
        lines = lines_of(path, each.cell)
        if each.line <= len(lines):
            yield ConfirmedFinding(each.at(path), lines[each.line - 1], _digest(path))


def _digest(path: str) -> str:
    return hashlib.blake2b(encode(text_of(path)), digest_size=16).hexdigest()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _name(root: Path) -> str:
    """The entry of a project for this version of regcheck, which alone is sure to read what it wrote."""
    return f"{hashlib.blake2b(encode(f'{__version__} {os.path.realpath(root)}'), digest_size=16).hexdigest()}.json"
