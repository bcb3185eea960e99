"""The interpreter is composed: its parts are handed to each other, and values know nothing of the project."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import regcheck.static
from regcheck.static.interpreter import values
from regcheck.static.interpreter.part import Part
from regcheck.static.models.constructors import Builder
from regcheck.static.programs.reader import ProgramReader
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

ROOT = Path(regcheck.static.__file__).parent
MODULES = sorted(
    ".".join(("regcheck", "static", *path.relative_to(ROOT).with_suffix("").parts))
    for path in ROOT.rglob("*.py")
    if path.stem != "__init__"
)


def classes_of(module: str) -> Iterator[type]:
    """The classes that a module defines."""
    for each in vars(importlib.import_module(module)).values():
        if isinstance(each, type) and each.__module__ == module:
            yield each


@pytest.mark.parametrize("module", MODULES)
def test_no_class_is_deeper_than_three(module: str) -> None:
    """A reader meets at most three classes of regcheck's own behind one object."""
    depths = {
        each.__name__: sum(base.__module__.startswith("regcheck.") for base in each.__mro__)
        for each in classes_of(module)
    }
    assert {name for name, depth in depths.items() if depth > 3} == set()


def test_values_know_nothing_of_the_project() -> None:
    """`project.names` imports values; values know a class by a protocol and import nothing that imports them."""
    tree = ast.parse(Path(values.__file__).read_text(encoding="utf-8"))
    imported = {each.module for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    own = {each for each in imported if each and each.startswith("regcheck.static")}
    assert own == {"regcheck.static.project.files"}


def test_parts_of_an_interpreter_are_connected() -> None:
    """Each part has the same other parts, and the state is shared."""
    source = Source("a.py", b"")
    project = Project([source])
    for interpreter in (Builder(project).interpreter, ProgramReader(project, source).interpreter):
        parts = [each for each in vars(interpreter).values() if isinstance(each, Part)]
        assert len(parts) == 7
        for part in parts:
            assert {name: value for name, value in vars(part).items() if name in vars(interpreter)} == vars(interpreter)
