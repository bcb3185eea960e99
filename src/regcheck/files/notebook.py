"""Jupyter notebooks as Python source: the code cells in order, with IPython syntax replaced."""

from __future__ import annotations

import ast
import json
import re
import warnings
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import Any

from regcheck.lazy_dataclass import dataclass

SUFFIX = ".ipynb"
_SHELL = re.compile(r"\s*(?:[%!?]|\S.*\?\s*$)")
_ASSIGNED = re.compile(r"(?P<target>[\w.,\s]+=\s*)[%!].*")
_PASSES = 100
"""Limit on parses of one cell, one for each line of IPython syntax; beyond it all such lines are replaced at once."""
_PYTHON_MAGICS = ("time", "timeit", "capture", "prun")
_MEASURED = re.compile(r"(?P<before>\s*|[\w.,\s]+=\s*)%(?P<magic>time|timeit|prun) (?P<statement>\s*\S.*)")
_RUNS_NO_MODEL = re.compile(
    r"[^%!]*(?:%%?\s*(?:matplotlib|autoreload|load_ext|reload_ext|config|pip|conda)\b.*|!\s*pip\b.*)?"
)
"""Requests for help, and syntax that configures IPython or installs packages."""


class BrokenNotebook(ValueError):
    """A notebook that cannot be read; the message gives the reason, the cell and the line in it."""


@dataclass(frozen=True)
class Cell:
    """A code cell.

    Attributes:
        number: its number among all cells, from 1.
        source: the text in the notebook.
        python: the source as plain Python, with as many lines.
        skipped: the lines, from 1, with IPython syntax that may run code which is not in `python`.
    """

    number: int
    source: str
    python: str
    skipped: tuple[int, ...]


@dataclass(frozen=True)
class Notebook:
    """The code cells of a notebook; empty if its kernel's language is not Python."""

    cells: tuple[Cell, ...]

    @cached_property
    def text(self) -> str:
        """The cells as one file."""
        return "".join(each.python for each in self.cells)

    @cached_property
    def _firsts(self) -> list[int]:
        """The first line of each cell in `text`, from 1."""
        firsts = [1]
        for each in self.cells:
            firsts.append(firsts[-1] + each.python.count("\n"))
        return firsts

    def located(self, line: int) -> tuple[int, int]:
        """Returns the number of the cell that contains a line of `text`, and the line within that cell."""
        index = min(bisect_right(self._firsts, line), len(self.cells)) - 1
        return self.cells[index].number, line - self._firsts[index] + 1

    def line(self, cell: int, line: int) -> int:
        """Returns the line of `text` for a line of a cell."""
        numbers = [each.number for each in self.cells]
        return self._firsts[numbers.index(cell)] + line - 1

    def cell(self, number: int) -> Cell | None:
        return next((each for each in self.cells if each.number == number), None)


@lru_cache(maxsize=8)
def parse_notebook(content: bytes) -> Notebook:
    """Read a notebook.

    Raises:
        BrokenNotebook: the content is no notebook of format 4, or a cell does not parse.
    """
    try:
        document = json.loads(content)
        metadata = document.get("metadata", {})
        languages = (metadata.get("language_info", {}).get("name"), metadata.get("kernelspec", {}).get("language"))
        language = next(filter(None, languages), "python")
        cells = [(number, source_of(each)) for number, each in code_cells(document)]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise BrokenNotebook(f"not a notebook: {str(error) or type(error).__name__}") from None
    if str(language).lower() != "python":
        return Notebook(())
    return Notebook(tuple(_cell(number, source) for number, source in cells))


def code_cells(document: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the code cells of a notebook's JSON, with their numbers."""
    for number, each in enumerate(document["cells"], 1):
        if each["cell_type"] == "code":
            yield number, each


def source_of(cell: dict[str, Any]) -> str:
    """Returns the source of a cell, which the JSON holds as one string or as a list of lines."""
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cell(number: int, source: str) -> Cell:
    """Returns the cell with IPython syntax replaced on its line, so that no other text moves."""
    lines = source.split("\n")
    replaced = set()
    first = next((index for index, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        is_python = lines[first][2:].split(" ")[0] in _PYTHON_MAGICS
        if not is_python:
            replaced.add(first)
        lines = [("" if index <= first or not is_python else line) for index, line in enumerate(lines)]
    for _ in range(_PASSES):
        error = _error(lines)
        if error is None or not _neutralize(lines, (error.lineno or 0) - 1, replaced):
            break
    if error:
        # A lone quote in a shell command makes a later line the syntax error.
        for index in range(len(lines)):
            _neutralize(lines, index, replaced)
        error = _error(lines)
    if error:
        raise BrokenNotebook(f"syntax error in cell {number}, line {error.lineno}: {error.msg}")
    texts = source.split("\n")
    skipped = tuple(index + 1 for index in sorted(replaced) if not _RUNS_NO_MODEL.fullmatch(texts[index]))
    return Cell(number, source, "\n".join(lines) + "\n", skipped)


def _error(lines: list[str]) -> SyntaxError | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse("\n".join(lines))
    except SyntaxError as error:
        return error
    except (ValueError, RecursionError, MemoryError) as error:
        return SyntaxError(str(error))
    return None


def _neutralize(lines: list[str], index: int, replaced: set[int]) -> bool:
    """Replace the magic, shell or help line at `index`, with its continuation lines; False for any other line.

    A statement that a magic measures stays at its column; every other line joins `replaced`.
    """
    if not 0 <= index < len(lines):
        return False
    line = lines[index]
    measured, assigned = _MEASURED.fullmatch(line), _ASSIGNED.fullmatch(line)
    if measured and _error([measured["statement"].strip()]) is None:
        condition = "" if measured["before"].strip() else "if True:" if measured["magic"] == "timeit" else "if 1:"
        lines[index] = measured["before"] + condition.ljust(len(measured["magic"]) + 2) + measured["statement"]
        if _error([lines[index].strip()]) is None:
            return True
    if assigned:
        lines[index] = f"{assigned['target']}None"
    elif _SHELL.match(line):
        lines[index] = line[: len(line) - len(line.lstrip())] + "pass"
    else:
        return False
    replaced.add(index)
    while line.endswith("\\") and index + 1 < len(lines):
        index += 1
        line, lines[index] = lines[index], ""
    return True
