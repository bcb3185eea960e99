"""Patches for findings, and applying them to the bytes of a file."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from regcheck.core.finding import Finding
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.core.rule import Rule
from regcheck.files.notebook import SUFFIX, code_cells, source_of
from regcheck.files.text import NEWLINE, content_of, encoding_of, line_in_cell, line_in_file, text_of
from regcheck.static.project.files import Source

from .context import File


class CannotFix(Exception):
    """A file cannot be edited without other changes to its bytes; the message says why."""


def with_patches(report: Report, rules: Iterable[Rule], sources: Mapping[str | None, Source]) -> Report:
    """The report with the patches that the rules propose for its findings in the sources, by their path."""
    fixes = {rule.code: rule.fix for rule in rules if rule.fix is not None}
    files: dict[str, File | None] = {}

    def patched(finding: Finding) -> Finding:
        fix = fixes.get(finding.code)
        source = sources.get(finding.path)
        if fix is None or source is None or not finding.path or not finding.line or not finding.column:
            return finding
        if finding.path not in files:
            files[finding.path] = _file(finding.path, source.tree)
        file = files[finding.path]
        line = line_in_file(finding.path, finding.cell, finding.line)
        if file is None or line > len(file.lines):
            return finding
        try:
            patch = fix(file.at(line, finding.column, finding.fix or ""))
        except Exception:
            # A fix that fails meets code that it does not understand: the finding is reported without it.
            patch = None
        return replace(finding, patch=_within(patch, finding.path, finding.cell) if patch else None)

    return replace(report, findings=tuple(map(patched, report.findings)))


def _file(path: str, tree: ast.Module) -> File | None:
    try:
        return File(path, text_of(path) if path.endswith(SUFFIX) else _decoded(content_of(path))[0], tree)
    except (OSError, CannotFix, SyntaxError, ValueError, RecursionError):
        return None


def _within(patch: Patch, path: str, cell: int | None) -> Patch | None:
    """The patch in the lines of its notebook's cell; None where it reaches into another cell."""
    if cell is None:
        return patch
    places = [(line_in_cell(path, each.line), line_in_cell(path, each.end_line)) for each in patch.edits]
    if any(number != cell for place in places for number, _ in place):
        return None
    edits = (
        replace(each, line=first[1], end_line=last[1]) for each, (first, last) in zip(patch.edits, places, strict=True)
    )
    return replace(patch, edits=tuple(edits))


def apply_patches(
    content: bytes, patches: Mapping[int | None, Iterable[Patch]], path: str
) -> tuple[bytes, list[Patch]]:
    """Returns a file's content after patches, and the patches applied; one that overlaps an earlier one is left out.

    `patches` are by the number of their notebook cell, None in other files.

    Raises:
        CannotFix: the file cannot be edited without other changes.
    """
    if path.endswith(SUFFIX):
        return _applied_to_notebook(content, patches)
    text, encoding = _decoded(content)
    changed, done = edited(text, [each for some in patches.values() for each in some])
    try:
        return changed.encode(encoding), done
    except UnicodeEncodeError:
        raise CannotFix(f"the fix cannot be written in {encoding}") from None


def _decoded(content: bytes) -> tuple[str, str]:
    try:
        encoding = encoding_of(content)
        text = content.decode(encoding)
    except (SyntaxError, LookupError, ValueError) as error:
        raise CannotFix(f"its encoding is not understood: {error}") from None
    if text.encode(encoding) != content:
        raise CannotFix(f"its bytes do not survive being read as {encoding}")
    return text, encoding


def edited(text: str, patches: Iterable[Patch]) -> tuple[str, list[Patch]]:
    """The text after the edits of each patch that conflicts with no earlier patch, and these patches."""
    starts = [0, *(match.end() for match in NEWLINE.finditer(text))]

    def span(edit: Edit) -> tuple[int, int, str]:
        return starts[edit.line - 1] + edit.column - 1, starts[edit.end_line - 1] + edit.end_column - 1, edit.text

    done: list[Patch] = []
    for patch in patches:
        if not any(conflict(patch, each) for each in done):
            done.append(patch)
    # From end to start, so that positions stay valid; insertions at one point keep their order.
    spans = sorted((span(edit) for edit in dict.fromkeys(edit for patch in done for edit in patch.edits)), key=_start)
    for start, end, new in reversed(spans):
        text = text[:start] + new + text[end:]
    return text, done


def _start(span: tuple[int, int, str]) -> tuple[int, int]:
    return span[:2]


def conflict(one: Patch, other: Patch) -> bool:
    """Whether two patches change the same place, and not in the same way."""
    same = set(one.edits) <= set(other.edits) or set(other.edits) <= set(one.edits)
    return not same and any(_touch(mine, its) for mine in one.edits for its in other.edits)


def _touch(one: Edit, other: Edit) -> bool:
    """Whether two edits touch: the order of two insertions at one point would be arbitrary."""
    begins_in_other = (one.line, one.column) <= (other.end_line, other.end_column)
    return begins_in_other and (other.line, other.column) <= (one.end_line, one.end_column)


def _applied_to_notebook(content: bytes, patches: Mapping[int | None, Iterable[Patch]]) -> tuple[bytes, list[Patch]]:
    """Edits the sources of the patched cells; the rest of the document keeps its text."""
    text, encoding = _decoded(content)
    done: list[Patch] = []
    for number, cell in code_cells(json.loads(text)):
        if number not in patches:
            continue
        source, those = edited(source_of(cell), patches[number])
        text = _with_source(text, number, cell["source"], source)
        done += those
    return text.encode(encoding), done


def _with_source(text: str, number: int, before: str | list[str], source: str) -> str:
    """The document with the source of one cell replaced, in the same form: a string, or a list of lines."""
    if "\r" in "".join(before):
        raise CannotFix(f"cell {number} has line ends of its own kind")
    _, cells = _part(text, 0, "cells")
    _, cell = _part(text, cells, number - 1)
    end, start = _part(text, cell, "source")
    old = text[start:end]
    ascii_only = text.isascii()
    if isinstance(before, str):
        return text[:start] + json.dumps(source, ensure_ascii=ascii_only) + text[end:]
    lines = [f"{line}\n" for line in source.split("\n")]
    lines[-1] = lines[-1][:-1]
    written = [json.dumps(line, ensure_ascii=ascii_only) for line in lines if line]
    lead = old[1 : len(old) - len(old[1:].lstrip())]
    tail = old[len(old[:-1].rstrip()) : -1]
    return text[:start] + "[" + lead + f",{lead or ' '}".join(written) + tail + "]" + text[end:]


def _part(text: str, at: int, wanted: str | int) -> tuple[int, int]:
    """The end and the start of the value of a key or index, in the JSON object or array at a position."""
    read = json.JSONDecoder().raw_decode
    at = _blank(text, at) + 1
    index = 0
    while True:
        key: str | int = index
        at = _blank(text, at)
        if isinstance(wanted, str):
            key, at = read(text, at)
            at = _blank(text, _blank(text, at) + 1)
        _, end = read(text, at)
        if key == wanted:
            return end, at
        at = _blank(text, end) + 1
        index += 1


def _blank(text: str, at: int) -> int:
    """The first position from `at` that is not white space."""
    while text[at] in " \t\r\n":
        at += 1
    return at
