"""The decision tables together: how many rows there are, and how many of them must stay silent."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from regcheck.core.finding import Severity

from .watched_rows import Row


def rows() -> list[Row]:
    """The rows of all modules of this folder."""
    modules = [import_module(f".{file.stem}", __package__) for file in Path(__file__).parent.glob("test_*.py")]
    return [row for module in modules for row in getattr(module, "ROWS", {}).values() if isinstance(row, Row)]


def test_half_of_the_rows_are_silent() -> None:
    """There are at least 90 rows, and half of them are programs that get no more than advice."""
    grave = [row for row in rows() if any(not each.endswith(Severity.INFO.value) for each in row.reports)]
    assert len(rows()) >= 90
    assert len(grave) <= len(rows()) / 2
