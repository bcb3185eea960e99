"""The defaults of a configuration: of a parameter without a value, only the configuration's class is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from regcheck.static.project.names import Definition, Project, parameters_of

from .values import Configuration, Function

_NAMED = re.compile(r"conf|cfg|arg|param|setting|option|hp", re.IGNORECASE)


def configuration(project: Project, function: Function, parameter: str) -> Configuration | None:
    """The configuration that a parameter without a value expects; None if its class is not known.

    The class is the parameter's annotation. For a model's constructor without annotations, it is the only class with a
    name like `Config`, defined or imported in the file, that has every attribute that the constructor reads.
    """
    assert not isinstance(function.node, ast.Lambda)
    given = next(each for each, _ in parameters_of(function.node.args) if each.arg == parameter)
    if given.annotation is not None:
        found = project.resolve(function.source, _without_none(given.annotation), function.outer)
        return _settings(project, found) if isinstance(found, Definition) and not found.is_module else None
    if function.owner is None or not function.owner.is_module or function.node.name != "__init__":
        return None
    read = {
        node.attr
        for node in ast.walk(function.node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == parameter
    }
    fitting = [each for each in _candidates(project, function) if read <= each.zeros | each.others] if read else []
    return fitting[0] if len(fitting) == 1 else None


def _candidates(project: Project, function: Function) -> Iterator[Configuration]:
    """The configurations that the function's file defines or imports."""
    for name in function.source.bindings:
        found = project.lookup(function.source, name) if _NAMED.search(name) else None
        if isinstance(found, Definition) and not found.is_module:
            yield _settings(project, found)


def _settings(project: Project, definition: Definition) -> Configuration:
    """The settings of a configuration's class."""
    zero: dict[str, bool] = {}
    for each in reversed(definition.mro):
        zero |= dict.fromkeys(each.methods, False)
        zero |= {name: _is_zero(value) for name, value in each.constants.items()}
        zero |= {name: _is_zero(value) for name, value in each.fields}
        zero |= _initialized(each)
    changed = {name for node, names in definition.reassigned if _name(node) != "__init__" for name in names}
    zeros = {name for name, is_zero in zero.items() if is_zero and name not in project.assigned_elsewhere | changed}
    return Configuration(zeros=frozenset(zeros), others=frozenset(zero.keys() - zeros))


def _initialized(definition: Definition) -> dict[str, bool]:
    """The attributes that a constructor assigns; True for those that it assigns a parameter that is zero by default."""
    build = definition.methods.get("__init__")
    if build is None:
        return {}
    zeros = {each.arg for each, default in parameters_of(build.args) if _is_zero(default)}
    found: dict[str, bool] = {}
    for node in (each for each in ast.walk(build) if isinstance(each, ast.Assign)):
        plain = isinstance(node.value, ast.Name) and node.value.id in zeros
        for target in node.targets:
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
                found[target.attr] = plain and found.get(target.attr, True)
    return found


def _is_zero(default: ast.expr | None) -> bool:
    """Whether a default is the number zero, also as the default of a dataclass's `field`."""
    if isinstance(default, ast.Call):
        default = next((each.value for each in default.keywords if each.arg == "default"), None)
    return isinstance(default, ast.Constant) and type(default.value) in (int, float) and default.value == 0


def _without_none(annotation: ast.expr) -> ast.expr:
    """`Config` of `Config | None`, `Optional[Config]` and `"Config"`."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return _without_none(ast.parse(annotation.value, mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return annotation
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        return annotation.slice if annotation.value.id == "Optional" else annotation
    return annotation.left if isinstance(annotation, ast.BinOp) else annotation


def _name(node: ast.AST) -> str:
    return getattr(node, "name", "")
