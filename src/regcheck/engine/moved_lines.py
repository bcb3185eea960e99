"""Where the lines of a report stand after changes of the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import SequenceMatcher
from typing import TypeVar

from regcheck.core.finding import Finding, NotChecked
from regcheck.core.report import Report

L = TypeVar("L", Finding, NotChecked)


class LineMap:
    """The numbers of a file's lines after a change, by those before it; both count from 1."""

    def __init__(self, before: bytes, after: bytes) -> None:
        matcher = SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
        self._blocks = [(start, end, first, last) for _, start, end, first, last in matcher.get_opcodes()]

    def __getitem__(self, line: int) -> int:
        """A line that changes keeps its distance from the first one that changes with it."""
        for start, end, first, last in self._blocks:
            if start < line <= end:
                return min(first + line - start, max(last, 1))
        return line


def in_moved_lines(report: Report, maps: Mapping[str, LineMap]) -> Report:
    """The report with the lines of files moved, by their paths. Lines in the cells of notebooks stay."""

    def moved(each: L) -> L:
        line_map = None if getattr(each, "cell", None) else maps.get(each.path or "")
        return each if line_map is None or each.line is None else replace(each, line=line_map[each.line])

    keys = {each.key: moved(each).key for each in report.findings}
    return replace(
        report,
        findings=tuple(map(moved, report.findings)),
        refuted=tuple(map(moved, report.refuted)),
        known=tuple(map(moved, report.known)),
        not_checked=tuple(map(moved, report.not_checked)),
        models={keys.get(key, key): names for key, names in report.models.items()},
        tests={keys.get(key, key): names for key, names in report.tests.items()},
    )
