"""What a name stands for: a thing of torch, under one canonical name, or a class or function of the scanned files."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from regcheck.core.vocabulary import LAYERS

from .values import Cells, External, Function, Unknown, Value

CONTAINERS = frozenset(("Sequential", "ModuleList", "ModuleDict"))
_FOREIGN_MODULES = ("LightningModule", "PreTrainedModel", "MessagePassing")
_KEPT = ("functional", "init", "utils", "parallel", "attention", "lr_scheduler", "swa_utils", "quantized", "intrinsic")
_FILE_SCOPE = (ast.If, ast.Try, ast.With)

Binding = ast.stmt | ast.expr | None


def canonical(name: str) -> str:
    """One name for a thing of torch: `torch.nn.modules.dropout.Dropout` is `torch.nn.Dropout`."""
    parts = name.split(".")
    if parts[:2] in (["torch", "nn"], ["torch", "optim"]) and len(parts) > 3 and parts[2] not in _KEPT:
        return ".".join((*parts[:2], parts[-1]))
    return name


@dataclass(eq=False)
class Source:
    """One parsed file. `module` is its dotted name as far as `__init__.py` files tell it."""

    path: str
    tree: ast.Module
    text: str = ""

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @cached_property
    def module(self) -> str:
        file = Path(self.path).resolve()
        parts = [] if file.name == "__init__.py" else [file.stem]
        folder = file.parent
        while (folder / "__init__.py").exists() and folder != folder.parent:
            parts.insert(0, folder.name)
            folder = folder.parent
        return ".".join(parts)

    @property
    def is_package(self) -> bool:
        return Path(self.path).name == "__init__.py"

    @property
    def is_test(self) -> bool:
        name = Path(self.path).name
        return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"

    @cached_property
    def bindings(self) -> dict[str, list[Binding]]:
        """What the file binds each name to at its top level; a name bound in a way not understood is bound to None."""
        table: dict[str, list[Binding]] = {}
        for statement in file_scope(self.tree.body):
            for name, binding in _bound(statement):
                table.setdefault(name, []).append(binding)
        return table

    @cached_property
    def stars(self) -> list[ast.ImportFrom]:
        return [
            each
            for each in file_scope(self.tree.body)
            if isinstance(each, ast.ImportFrom) and each.names[0].name == "*"
        ]


def file_scope(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a body, with those inside `if`, `try` and `with`."""
    for statement in body:
        yield statement
        if isinstance(statement, _FILE_SCOPE):
            for part in ("body", "handlers", "orelse", "finalbody"):
                for each in getattr(statement, part, ()):
                    yield from file_scope(each.body if isinstance(each, ast.ExceptHandler) else [each])


def _bound(statement: ast.stmt) -> Iterator[tuple[str, Binding]]:
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name, statement
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield alias.asname or alias.name.split(".")[0], statement
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, statement.value
            else:
                for node in ast.walk(target):
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        yield node.id, None
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value
    elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        yield statement.target.id, None


@dataclass(eq=False)
class Definition:
    """A class of a scanned file."""

    node: ast.ClassDef
    source: Source
    name: str
    project: Project = field(repr=False)
    outer: Cells | None = field(default=None, repr=False)

    @cached_property
    def methods(self) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
        found = (each for each in file_scope(self.node.body))
        return {each.name: each for each in found if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """Class attributes by the expression they are assigned."""
        return {name: value for each in self.node.body for name, value in _bound(each) if isinstance(value, ast.expr)}

    @cached_property
    def fields(self) -> list[tuple[str, ast.expr | None]]:
        """The annotated attributes in order, with their defaults: the arguments of a dataclass."""
        return [
            (each.target.id, each.value)
            for each in self.node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        ]

    @cached_property
    def bases(self) -> tuple[Value, ...]:
        found = []
        for base in self.node.bases:
            node = base.value if isinstance(base, ast.Subscript) else base
            found.append(self.project.resolve(self.source, node, self.outer))
        return tuple(found)

    @cached_property
    def mro(self) -> tuple[Definition, ...]:
        """The scanned classes attributes are looked up in, in order."""
        found: dict[Definition, None] = {self: None}
        try:
            for base in self.bases:
                if isinstance(base, Definition) and base is not self:
                    found.update(dict.fromkeys(base.mro))
        except RecursionError:
            return (self,)
        return tuple(found)

    @cached_property
    def torch_base(self) -> str:
        """The torch.nn class this class derives from (`Module`, `Sequential`, `Dropout`), or an empty string."""
        for each in self.mro:
            for base in each.bases:
                if isinstance(base, External):
                    package, _, name = base.name.rpartition(".")
                    if package == "torch.nn":
                        return name
                    if name.endswith(_FOREIGN_MODULES) and not package.startswith("torch."):
                        return "Module"
        return ""

    @property
    def is_module(self) -> bool:
        return bool(self.torch_base)

    def method(self, name: str, after: Definition | None = None) -> Function | None:
        """The method of that name, or the one that `super()` of class `after` finds."""
        order = self.mro
        start = order.index(after) + 1 if after in order else 0
        for each in order[start if after else 0 :]:
            if name in each.methods:
                node = each.methods[name]
                return Function(node, each.source, f"{each.name}.{name}", each.outer, each)
        return None

    def constant(self, name: str) -> tuple[Definition, ast.expr] | None:
        return next(((each, each.constants[name]) for each in self.mro if name in each.constants), None)

    @cached_property
    def reassigned(self) -> list[tuple[ast.AST, frozenset[str]]]:
        """The attributes that each method other than `forward` assigns, by method."""
        found: list[tuple[ast.AST, frozenset[str]]] = []
        for each in self.mro:
            for name, node in each.methods.items():
                if name != "forward":
                    stored = (
                        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)
                    )
                    found.append((node, frozenset(stored)))
        return found


class Project:
    """The scanned files together."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._by_file = {str(Path(source.path).resolve()): source for source in self.sources}
        self._by_tail: dict[str, list[Source]] = {}
        for source in self.sources:
            file = Path(source.path)
            self._by_tail.setdefault(file.resolve().parent.name if source.is_package else file.stem, []).append(source)
        self._definitions: dict[int, Definition] = {}
        self._functions: dict[int, Function] = {}
        self._found: dict[tuple[str, str], Value | ast.expr] = {}

    @cached_property
    def tampered(self) -> frozenset[str]:
        """Attributes that are assigned on anything but `self`: their values are not those of the constructor."""
        return frozenset(
            target.attr
            for source in self.sources
            for node in ast.walk(source.tree)
            if isinstance(node, (ast.Assign, ast.AugAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Attribute)
            and not (isinstance(target.value, ast.Name) and target.value.id == "self")
        )

    def definitions(self) -> Iterator[Definition]:
        """Every class of every file, those inside functions included."""
        for source in self.sources:
            for node, name in _named(source.tree, ""):
                if isinstance(node, ast.ClassDef):
                    yield self.definition(node, source, name)

    def functions(self) -> Iterator[Function]:
        """Every function at the top of a file and every method of a class at the top of a file."""
        for source in self.sources:
            for each in file_scope(source.tree.body):
                if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield self.function(each, source)
                elif isinstance(each, ast.ClassDef):
                    definition = self.definition(each, source, each.name)
                    for name, node in definition.methods.items():
                        yield Function(node, source, f"{definition.name}.{name}", None, definition)

    def definition(self, node: ast.ClassDef, source: Source, name: str, outer: Cells | None = None) -> Definition:
        return self._definitions.setdefault(id(node), Definition(node, source, name, self, outer))

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, source: Source) -> Function:
        return self._functions.setdefault(id(node), Function(node, source, node.name))

    def resolve(self, source: Source, node: ast.expr, outer: Cells | None = None) -> Value:
        """What a dotted name at the top of a file stands for."""
        if isinstance(node, ast.Name):
            if outer and node.id in outer:
                local: Value = outer[node.id]
                return local
            found = self.lookup(source, node.id)
            return found if not isinstance(found, ast.expr) else self.resolve(source, found)
        if isinstance(node, ast.Attribute):
            return self.member(self.resolve(source, node.value, outer), node.attr)
        return Unknown()

    def member(self, owner: Value, name: str) -> Value:
        """`owner.name`, where the owner is a module or a package."""
        if not isinstance(owner, External):
            return Unknown()
        inside = self._scanned(owner.name)
        if inside is not None:
            found = self.lookup(inside, name)
            if not isinstance(found, (ast.expr, Unknown)):
                return found
        return External(canonical(f"{owner.name}.{name}"))

    def lookup(self, source: Source, name: str) -> Value | ast.expr:
        """What a file's top-level name stands for, or the one expression it is assigned."""
        key = source.path, name
        if key not in self._found:
            self._found[key] = Unknown()
            self._found[key] = self._looked_up(source, name)
        return self._found[key]

    def _looked_up(self, source: Source, name: str) -> Value | ast.expr:
        bindings = source.bindings.get(name, [])
        for each in reversed(bindings):
            if isinstance(each, ast.ClassDef):
                return self.definition(each, source, each.name)
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return self.function(each, source)
        for each in bindings:
            if isinstance(each, (ast.Import, ast.ImportFrom)):
                return self.imported(source, each).get(name, Unknown())
        if len(bindings) == 1 and isinstance(bindings[0], ast.expr):
            return bindings[0]
        if not bindings:
            for star in source.stars:
                found = self._through_star(source, star, name)
                if found is not None:
                    return found
        return Unknown()

    def _through_star(self, source: Source, star: ast.ImportFrom, name: str) -> Value | ast.expr | None:
        module = self._module_of(source, star)
        if isinstance(module, Source):
            found = self.lookup(module, name)
            return None if isinstance(found, Unknown) else found
        known = name in LAYERS or name in CONTAINERS or name in ("Module", "Parameter")
        return External(f"torch.nn.{name}") if module == "torch.nn" and known else None

    def imported(self, source: Source, statement: ast.Import | ast.ImportFrom) -> dict[str, Value]:
        """What an import statement binds."""
        if isinstance(statement, ast.Import):
            return {
                alias.asname or alias.name.split(".")[0]: External(
                    canonical(alias.name if alias.asname else alias.name.split(".")[0])
                )
                for alias in statement.names
            }
        module = self._module_of(source, statement)
        found: dict[str, Value] = {}
        for alias in statement.names:
            value: Value
            if isinstance(module, Source):
                inner = self.lookup(module, alias.name)
                value = self.resolve(module, inner) if isinstance(inner, ast.expr) else inner
                if isinstance(value, Unknown) and alias.name not in module.bindings:
                    value = External(f"{module.module}.{alias.name}")
            else:
                value = External(canonical(f"{module}.{alias.name}"))
            found[alias.asname or alias.name] = value
        return found

    def _module_of(self, source: Source, statement: ast.ImportFrom) -> Source | str:
        """The file, or the dotted name, that `from … import` imports from."""
        if not statement.level:
            return self._scanned(statement.module or "", source) or statement.module or ""
        package = source.module.split(".") if source.is_package else source.module.split(".")[:-1]
        package = package[: len(package) - statement.level + 1]
        dotted = ".".join((*package, *filter(None, [statement.module])))
        if dotted.split(".")[0] == "torch":
            return dotted
        folder = Path(source.path).resolve().parents[statement.level - 1]
        target = folder.joinpath(*(statement.module or "").split(".")) if statement.module else folder
        found = self._by_file.get(f"{target}.py") or self._by_file.get(str(target / "__init__.py"))
        return found or dotted

    def _scanned(self, dotted: str, near: Source | None = None) -> Source | None:
        parts = dotted.split(".")
        if parts[0] == "torch":
            return None
        matching = []
        for source in self._by_tail.get(parts[-1], ()):
            file = Path(source.path).resolve()
            tail = file.parent.parts if source.is_package else (*file.parent.parts, file.stem)
            loose = len(parts) > 1 or "." not in source.module
            if source.module == dotted or (loose and tail[-len(parts) :] == tuple(parts)):
                matching.append((_common(near, source), source))
        return max(matching, key=lambda pair: pair[0])[1] if matching else None


def _common(near: Source | None, source: Source) -> int:
    if near is None:
        return 0
    pairs = zip(Path(near.path).resolve().parts, Path(source.path).resolve().parts, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), 99)


def _named(node: ast.AST, prefix: str) -> Iterator[tuple[ast.AST, str]]:
    """The classes below a node with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child, f"{prefix}{child.name}"
            yield from _named(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _named(child, f"{prefix}{child.name}.<locals>.")
        elif not isinstance(child, ast.expr):
            yield from _named(child, prefix)
