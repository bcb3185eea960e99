"""Suppress the findings of a scan by comments: add them in memory, scan again, and keep those that suppress."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from regcheck.config.options import Options
from regcheck.core.finding import Finding
from regcheck.core.patch import Patch
from regcheck.engine.fix import FixResult
from regcheck.engine.scan import scan
from regcheck.files import notebook
from regcheck.files.text import content_of, overlay, text_of
from regcheck.plugins import catalogue
from regcheck.static.fixes.patches import CannotFix, apply_patches
from regcheck.suppression.new_comments import CommentPlaces

_Place = tuple[str, int | None, int]
"""A path, the cell of a notebook, and a line."""


def add_ignores(paths: Iterable[str | Path], options: Options, reason: str) -> FixResult:
    """Scan, and add a comment with the reason to the line of each finding; writes nothing.

    Findings of rules about suppressions stay: no comment mends a comment.
    """
    paths = list(paths)
    result = FixResult(scan(paths, options))
    about_ignores = {rule.code for rule in catalogue() if rule.about == "ignores"}
    wanted: dict[_Place, list[str]] = {}
    hopeless: set[tuple[_Place, str]] = set()
    seen: dict[tuple[_Place, str], Finding] = {}
    while True:
        findings = [each for each in result.report.findings if each.code not in about_ignores]
        here = {(place, each.code): each for each in findings if (place := _place(each))}
        new = [each for each in here if each not in hopeless]
        seen |= here
        if not new:
            break
        for place, code in new:
            if code in wanted.setdefault(place, []):
                hopeless.add((place, code))
                wanted[place].remove(code)
                result.refused.setdefault(place[0], f"{code} in line {place[2]}: no comment can cover it")
            else:
                wanted[place].append(code)
        _apply(result, {place: codes for place, codes in wanted.items() if codes}, reason)
        with overlay(result.after):
            result.report = scan(paths, options)
    result.removed = [seen[place, code] for place, codes in wanted.items() for code in codes]
    return result


def _place(finding: Finding) -> _Place | None:
    return (finding.path, finding.cell, finding.line) if finding.path and finding.line else None


def _apply(result: FixResult, wanted: dict[_Place, list[str]], reason: str) -> None:
    """Set the contents of the files with all wanted comments."""
    result.after.clear()
    for path in dict.fromkeys(path for path, _, _ in wanted):
        try:
            before = result.before.setdefault(path, content_of(path))
            cells = {each[1] for each in wanted if each[0] == path}
            patches = {cell: [*_patches(path, cell, wanted, reason)] for cell in cells}
            changed, _ = apply_patches(before, patches, path)
        except (CannotFix, OSError) as error:
            result.refused[path] = str(error)
            continue
        if changed != before:
            result.after[path] = changed


def _patches(path: str, cell: int | None, wanted: dict[_Place, list[str]], reason: str) -> Iterator[Patch]:
    """Yields the edits of a file, or of a notebook's cell: one for each line that gets a comment."""
    places = _places_in(path, cell)
    codes_of: dict[int, dict[str, None]] = {}
    for (file, its_cell, line), codes in wanted.items():
        place = places.place(line) if (file, its_cell) == (path, cell) else None
        if place is not None:
            codes_of.setdefault(place, {}).update(dict.fromkeys(codes))
    for place, added in codes_of.items():
        yield Patch(reason, True, (places.edit(place, added, reason),))


def _places_in(path: str, cell: int | None) -> CommentPlaces:
    if cell is None:
        return CommentPlaces(text_of(path))
    contents = notebook.parse_notebook(content_of(path)).cell(cell)
    return CommentPlaces(contents.source, contents.python) if contents else CommentPlaces("")
