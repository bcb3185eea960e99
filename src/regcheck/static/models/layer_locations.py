"""Locates the calls in a class's `__init__` that construct its layers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from regcheck.core.finding import NotChecked
from regcheck.files.place import Place
from regcheck.static.interpreter.values import Unknown, descendants
from regcheck.static.project.discovery import read
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

from .constructors import Builder


@cache
def constructors(path: str, class_name: str, first_line: int) -> dict[str, Place]:
    """Module path → position of the call that constructs the module, for the class that begins at `first_line`.

    It holds only the modules that are constructed there whatever the constructor's arguments are.
    """
    content = read(Path(path))
    if content is None or isinstance(content, NotChecked):
        return {}
    project = Project([Source(path, content)])
    for definition in project.definitions:
        node = definition.node
        first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if definition.name.rpartition(".")[2] == class_name.rpartition(".")[2] and first_line in (first, node.lineno):
            model = Builder(project).build(definition, otherwise=Unknown())
            return {
                name: module.place
                for name, module in descendants(model)
                if name and "*" not in name.split(".") and module.place is not None and module.place.path == path
            }
    return {}
