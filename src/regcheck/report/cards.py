"""Findings as cards of HTML, which the page and notebooks share. Jinja2 escapes every text here, and nothing else does.

The files beside this module are its parts: `card.jinja`, the templates `html.jinja` and `display.jinja`, `html.css` and
`html.js`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from difflib import SequenceMatcher
from importlib.resources import files
from textwrap import dedent
from typing import TYPE_CHECKING

from regcheck.core.finding import Finding
from regcheck.files.escape import visible
from regcheck.files.text import lines_of
from regcheck.lazy_dataclass import dataclass
from regcheck.report.plot import charts
from regcheck.report.view import figures, proof
from regcheck.static.fixes.patches import edited

if TYPE_CHECKING:
    from jinja2 import Environment

AROUND = 3
"""How many lines of source stand above and below the reported one."""


@dataclass(frozen=True)
class Row:
    """A line of source. `role` is its CSS class: `here`, `minus`, `plus`, or empty; `mark` says the same in a sign."""

    number: int
    text: str
    role: str = ""
    mark: str = ""


def environment() -> Environment:
    """The templates and what they call.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed.
    """
    from jinja2 import Environment, FunctionLoader

    templates = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=FunctionLoader(part),
    )
    shared = (charts, excerpt, figures, patched_lines, path_of, proof, spans)
    templates.globals.update({each.__name__: each for each in shared}, style=part("html.css"))
    return templates


def part(name: str) -> str:
    """The text of a file beside this module."""
    return files("regcheck.report").joinpath(name).read_text(encoding="utf-8")


def path_of(finding: Finding) -> str:
    """The path of a finding for display; empty where there is none."""
    return visible(finding.path or "")


def spans(text: str) -> list[str]:
    """A text in pieces: prose and the code between backticks in turns; the whole text where a backtick has no pair."""
    pieces = text.split("`")
    return pieces if len(pieces) % 2 else [text]


def excerpt(finding: Finding) -> list[Row]:
    """The lines around a finding; empty where they cannot be read."""
    if not finding.path or not finding.line:
        return []
    lines = lines_of(finding.path, finding.cell)
    shown = [
        _row(lines, number, *(("here", "▸") if number == finding.line else ()))
        for number in range(max(finding.line - AROUND, 1), min(finding.line + AROUND, len(lines)) + 1)
    ]
    return _trimmed(shown)


def patched_lines(finding: Finding) -> list[Row]:
    """The lines that a finding's patch removes and adds, between unchanged ones; empty where it no longer fits."""
    if not finding.path or not finding.patch:
        return []
    before = lines_of(finding.path, finding.cell)
    try:
        after = edited("\n".join(before), [finding.patch])[0].split("\n")
    except IndexError:
        return []
    # Only the lines around the edits are compared: a comparison of whole files takes quadratic time.
    start = max(min(each.line for each in finding.patch.edits) - 2, 0)
    behind = max(len(before) - max(each.end_line for each in finding.patch.edits) - 1, 0)
    return _trimmed([*_difference(before[: len(before) - behind], after[: len(after) - behind], start)])


def _difference(before: list[str], after: list[str], start: int) -> Iterator[Row]:
    """The rows of two texts, whose first `start` lines are equal, that differ, and one on each side of them."""
    matcher = SequenceMatcher(None, before[start:], after[start:], autojunk=False)
    for group in matcher.get_grouped_opcodes(1):
        for tag, *positions in group:
            first, last, new_first, new_last = (each + start for each in positions)
            if tag == "equal":
                yield from (_row(after, number + 1) for number in range(new_first, new_last))
            else:
                yield from (_row(before, number + 1, "minus", "-") for number in range(first, last))
                yield from (_row(after, number + 1, "plus", "+") for number in range(new_first, new_last))


def _trimmed(rows: list[Row]) -> list[Row]:
    """The rows without blank ones at their end, and without the indentation that all share."""
    while rows and not (rows[-1].text or rows[-1].role):
        rows.pop()
    texts = dedent("\n".join(each.text for each in rows)).split("\n")
    return [replace(row, text=text) for row, text in zip(rows, texts, strict=False)]


def _row(lines: list[str], number: int, role: str = "", mark: str = "") -> Row:
    return Row(number, visible(lines[number - 1].rstrip(), "\t"), role, mark)
