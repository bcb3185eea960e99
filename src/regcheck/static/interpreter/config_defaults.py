"""The defaults of a configuration: of a parameter without a value, only the configuration's class is known."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from regcheck.files.dotted_name import is_self
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.static.project.names import Definition, Project, parameters_of

from .setting_apis import COPYING, DECLARATIONS
from .values import FIXED, Configuration, Constant, External, Function, Instance, Origin, Setting, Unknown

_NAMED = re.compile(r"conf|cfg|arg|param|setting|option|hp", re.IGNORECASE)


def configuration(project: Project, function: Function, parameter: str) -> Configuration | None:
    """The configuration that a parameter without a value expects; None if its class is not known.

    The class is the parameter's annotation. For a model's constructor without annotations, it is the only class with a
    name like `Config`, defined or imported in the file, that has every attribute that the constructor reads.
    """
    assert not isinstance(function.node, ast.Lambda)
    given = next(each for each, _ in parameters_of(function.node.args) if each.arg == parameter)
    if given.annotation is not None:
        definition = project.resolve(function.source, _without_none(given.annotation), function.outer)
        return (
            _settings(project, definition) if isinstance(definition, Definition) and not definition.is_module else None
        )
    if function.owner is None or not function.owner.is_module or function.node.name != "__init__":
        return None
    read = {
        node.attr
        for node in walk(function.node)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == parameter
    }
    fitting = [each for each in _candidates(project, function) if read <= _defaults(each).keys()] if read else []
    return _settings(project, fitting[0]) if len(fitting) == 1 else None


def configuration_of(project: Project, instance: Instance) -> Configuration:
    """An object of a configuration's class that a file creates at its top: other code may have changed it."""
    settings: dict[str, Unknown] = {}
    for name, value in instance.cells.items():
        origin = Origin(f"{instance.definition.name}.{name}", instance.place)
        is_kept = isinstance(value, Constant) and name not in project.assigned_elsewhere
        settings[name] = Setting(default=value, origin=origin) if is_kept else FIXED
    return Configuration(settings=settings)


def _candidates(project: Project, function: Function) -> Iterator[Definition]:
    """The classes of configurations that the function's file defines or imports."""
    for name in function.source.bindings:
        definition = project.lookup(function.source, name) if _NAMED.search(name) else None
        if isinstance(definition, Definition) and not definition.is_module:
            yield definition


def _settings(project: Project, definition: Definition) -> Configuration:
    """The settings of a configuration's class."""
    if definition not in project.settings:
        defaults = _defaults(definition)
        changed = {name for node, names in definition.reassigned if _name(node) != "__init__" for name in names}
        changed |= project.assigned_elsewhere | _passed(project, definition, [*defaults])
        settings = {name: FIXED if name in changed else each or FIXED for name, each in defaults.items()}
        project.settings[definition] = Configuration(settings=settings)
    return project.settings[definition]


def _defaults(definition: Definition) -> dict[str, Setting | None]:
    """The attributes of a configuration's class with their defaults; None for one that is no setting."""
    defaults: dict[str, Setting | None] = {}
    for each in reversed(definition.mro):
        defaults |= dict.fromkeys(each.methods, None)
        defaults |= {name: _setting(each, name, value) for name, value in each.constants.items()}
        defaults |= {name: _setting(each, name, value) for name, value in each.fields}
        defaults |= _initialized(each)
    return defaults


def _initialized(definition: Definition) -> Mapping[str, Setting | None]:
    """The attributes that a constructor assigns: a constant, or a parameter with a constant default."""
    build = definition.methods.get("__init__")
    if build is None:
        return {}
    defaults = {each.arg: default for each, default in parameters_of(build.args)}
    settings: dict[str, Setting | None] = {}
    for node in (each for each in walk(build) if isinstance(each, ast.Assign)):
        is_parameter = isinstance(node.value, ast.Name) and node.value.id in defaults
        value = defaults[node.value.id] if is_parameter and isinstance(node.value, ast.Name) else node.value
        for target in node.targets:
            if isinstance(target, ast.Attribute) and is_self(target.value):
                setting = _setting(definition, target.attr, value)
                settings[target.attr] = setting if settings.get(target.attr, setting) == setting else None
    return settings


def _passed(project: Project, definition: Definition, fields: list[str]) -> set[str]:
    """The settings that a scanned call of the class, or of a function that copies its objects, may give a value."""
    name = definition.node.name
    build = definition.method("__init__")
    order = [each.arg for each, _ in parameters_of(build.node.args)][1:] if build is not None else fields
    passed: set[str] = set()
    for source in project.callers.of(name):
        project.modules.reached.add(source)
        for callee in (name, *COPYING):
            for call in source.calls.get(callee, ()):
                keywords = {each.arg for each in call.keywords}
                is_open = None in keywords or any(isinstance(each, ast.Starred) for each in call.args)
                passed |= {*fields} if is_open else {each for each in keywords if each}
                passed |= {*order[: len(call.args)]} if callee == name else set()
    return passed


def _setting(definition: Definition, name: str, default: ast.expr | None) -> Setting | None:
    """The setting with a default, also as the default of a dataclass's `field`; None if it is no constant."""
    project, source = definition.project, definition.source
    node = default
    if isinstance(node, ast.Call):
        callee = project.resolve(source, node.func, definition.outer)
        declaration = DECLARATIONS.get(callee.name) if isinstance(callee, External) else None
        positional = dict(enumerate(node.args))
        keywords = {each.arg: each.value for each in node.keywords}
        node = keywords.get("default", positional.get(declaration.position) if declaration else None)
    sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
    value = project.resolve(source, node.operand if isinstance(node, ast.UnaryOp) else node) if node else None
    if not isinstance(value, Constant) or not isinstance(value.value, (int, float, str)):
        return None
    number = isinstance(value.value, (int, float)) and not isinstance(value.value, bool)
    if isinstance(node, ast.UnaryOp) and not (number and isinstance(node.op, (ast.USub, ast.UAdd))):
        return None
    origin = Origin(f"{definition.name}.{name}", Place(source.path, getattr(default, "lineno", 1)))
    return Setting(default=Constant(sign * value.value) if number else value, origin=origin)


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
    return getattr(node, "name", getattr(node, "id", ""))
