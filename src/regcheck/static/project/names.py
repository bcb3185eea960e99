"""Resolves names: to torch's objects under one canonical name, and to classes and functions of the scanned files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import field
from functools import cached_property
from math import inf

from regcheck.core.starting_points import StartingPoints
from regcheck.files.attribute_reads import AttributeReaders
from regcheck.files.discarded_results import FunctionBody
from regcheck.files.dotted_name import is_super
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.values import (
    Cells,
    ClassDefinition,
    Configuration,
    Constant,
    External,
    Function,
    OptionParser,
    Unknown,
    Value,
)
from regcheck.torch_api.keras_names import is_public
from regcheck.torch_api.layers import CONTAINERS, layer_named
from regcheck.torch_api.optimizers import DECAY, OPTIMIZERS

from .callers import Callers
from .files import Source, bindings_of, file_scope
from .modules import Modules
from .prefilter import Prefilter

_OF_MODULE = frozenset(("train", "eval"))
_FOREIGN_MODULES = ("LightningModule", "PreTrainedModel", "MessagePassing", "BaseModule", "ModelMixin")
_PLAIN = (ast.Expr, ast.Assign, ast.Return, ast.AugAssign, ast.AnnAssign)
_KEPT = ("functional", "init", "utils", "parallel", "attention", "lr_scheduler", "swa_utils", "quantized", "intrinsic")


def canonical(name: str) -> str:
    """The canonical name of an object of torch: `torch.nn.Dropout` for `torch.nn.modules.dropout.Dropout`."""
    parts = name.split(".")
    if parts[:2] in (["torch", "nn"], ["torch", "optim"]) and len(parts) > 3 and parts[2] not in _KEPT:
        return ".".join((*parts[:2], parts[-1]))
    return name


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
        statements = (each for each in file_scope(self.node.body))
        return {each.name: each for each in statements if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """Class attributes with the expressions assigned to them."""
        return {
            name: value for each in self.node.body for name, value in bindings_of(each) if isinstance(value, ast.expr)
        }

    @cached_property
    def fields(self) -> list[tuple[str, ast.expr | None]]:
        """The annotated or declared attributes with their defaults, in order: the parameters of a dataclass."""
        annotated = [each for each in self.node.body if isinstance(each, ast.AnnAssign)]
        if annotated:
            return [(each.target.id, each.value) for each in annotated if isinstance(each.target, ast.Name)]
        declared = ((name, each) for name, each in self.constants.items() if isinstance(each, ast.Call))
        return [
            (name, each)
            for name, each in declared
            if isinstance(each.func, ast.Attribute) and each.func.attr in ("ib", "attrib", "field")
        ]

    @cached_property
    def bases(self) -> tuple[Value, ...]:
        bases = []
        for base in self.node.bases:
            node = base.value if isinstance(base, ast.Subscript) else base
            bases.append(self.project.resolve(self.source, node, self.outer))
        return tuple(bases)

    @cached_property
    def mro(self) -> tuple[Definition, ...]:
        """The scanned classes in which attributes are looked up, in order."""
        order: dict[Definition, None] = {self: None}
        try:
            for base in self.bases:
                if isinstance(base, Definition) and base is not self:
                    order.update(dict.fromkeys(base.mro))
        except RecursionError:
            return (self,)
        return tuple(order)

    @cached_property
    def torch_base(self) -> str:
        """The torch.nn class this class derives from (`Module`, `Sequential`, `Dropout`), or an empty string."""
        for each in self.mro:
            for base in each.bases:
                if isinstance(base, External) and (name := _module_class(base)):
                    return name
        return "Module" if any(each.is_module_by_use for each in self.mro) else ""

    @cached_property
    def optimizer_base(self) -> str:
        """The torch.optim class whose step and decay this class inherits (`torch.optim.Adam`), or an empty string.

        Outside of its constructor the class mentions no decay, and a `step` of its own calls the inherited one.
        """
        bases = (base.name for each in self.mro for base in each.bases if isinstance(base, External))
        base = next((name for name in bases if name.startswith("torch.optim.")), "")
        if not base or base.rpartition(".")[2] not in OPTIMIZERS:
            return ""
        methods = [(name, node) for each in self.mro for name, node in each.methods.items()]
        changes_decay = any(
            "param_groups" in _words(node) if name == "__init__" else DECAY in _words(node) for name, node in methods
        )
        steps_alone = any(name == "step" and not _calls_super(node, name) for name, node in methods)
        return "" if changes_decay or steps_alone else base

    @cached_property
    def is_module_by_use(self) -> bool:
        """Whether the class must be a module although its base class is in another library.

        It calls its base's constructor, assigns layers of torch to attributes, and has a `forward`.
        """
        names = [base.name.partition(".")[0] for base in self.bases if isinstance(base, External)]
        build = self.methods.get("__init__")
        if build is None or "forward" not in self.methods:
            return False
        if all(name in ("torch", "builtins") or name in sys.stdlib_module_names for name in names):
            return False
        nodes = [each for statement in build.body for each in walk(statement)]
        calls = [each.func for each in nodes if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute)]
        starts = any(
            call.attr == "__init__" and isinstance(call.value, ast.Call) and isinstance(call.value.func, ast.Name)
            for call in calls
        )
        return starts and any(self._is_layer(each) for each in nodes if isinstance(each, ast.Assign))

    def _is_layer(self, node: ast.Assign) -> bool:
        """Whether a layer of torch is assigned to an attribute."""
        value = node.value
        if not isinstance(value, ast.Call) or not any(isinstance(each, ast.Attribute) for each in node.targets):
            return False
        callee = self.project.resolve(self.source, value.func, self.outer)
        return isinstance(callee, External) and callee.name.rpartition(".")[0] == "torch.nn"

    @property
    def is_module(self) -> bool:
        return bool(self.torch_base)

    def method(self, name: str, after: ClassDefinition | None = None) -> Function | None:
        """The method with a name; with `after`, the one that `super()` in that class finds."""
        order: tuple[ClassDefinition, ...] = self.mro
        hidden = self._behind_module if name in _OF_MODULE else ()
        for each in order[order.index(after) + 1 if after in order else 0 :]:
            if name in each.methods and each not in hidden:
                node = each.methods[name]
                return Function(node, each.source, f"{each.name}.{name}", each.outer, each)
        return None

    @cached_property
    def _behind_module(self) -> frozenset[ClassDefinition]:
        """The scanned classes whose methods torch's `Module` hides: bases that are no modules, listed after one."""
        hidden: set[ClassDefinition] = set()
        for each in self.mro:
            after_module = False
            for base in each.bases:
                if isinstance(base, Definition):
                    if after_module and not base.is_module:
                        hidden.update(base.mro)
                    after_module = after_module or base.is_module
                elif isinstance(base, External):
                    after_module = after_module or bool(_module_class(base))
        return frozenset(hidden)

    def constant(self, name: str) -> tuple[Definition, ast.expr] | None:
        return next(((each, each.constants[name]) for each in self.mro if name in each.constants), None)

    @cached_property
    def members(self) -> dict[str, list[tuple[ast.AST, Source]]]:
        """The code of each method and class attribute, by name, own or inherited, overridden ones included.

        Setters are left out: no name in code calls one.
        """
        by_name: dict[str, list[tuple[ast.AST, Source]]] = {}
        for each in self.mro:
            methods = ((name, code) for name, code in each.methods.items() if not _is_setter(code))
            for name, code in (*methods, *each.constants.items()):
                by_name.setdefault(name, []).append((code, each.source))
        return by_name

    @cached_property
    def _assigned(self) -> list[tuple[ast.AST, frozenset[str]]]:
        """The attributes that each of the class's own methods assigns, except `forward`."""
        return [(node, self.source.assigned_in(node)) for name, node in self.methods.items() if name != "forward"]

    @cached_property
    def reassigned(self) -> list[tuple[ast.AST, frozenset[str]]]:
        """The attributes that each method assigns, own or inherited, except `forward`."""
        return [pair for each in self.mro for pair in each._assigned]

    @cached_property
    def assigning(self) -> dict[str, list[ast.AST]]:
        """The methods that assign an attribute, by attribute, except `forward`."""
        by_name: dict[str, list[ast.AST]] = {}
        for node, names in self.reassigned:
            for name in names:
                by_name.setdefault(name, []).append(node)
        return by_name


class Project:
    """The scanned files; `starts` is what rules start from in them, by default anything."""

    def __init__(self, sources: Iterable[Source], starts: StartingPoints | None = None) -> None:
        self.sources = tuple(sources)
        self.starts = starts or StartingPoints()
        self.prefilter = Prefilter(self.starts)
        self.modules = Modules(self.sources)
        self.callers = Callers(self.sources)
        self._forget()

    def _forget(self) -> None:
        self.constants: dict[ast.Constant, Constant] = {}
        """The values of constant nodes, memoized."""
        self.places: dict[ast.AST, Place] = {}
        """The positions of nodes, memoized."""
        self.bodies: dict[ast.AST, FunctionBody] = {}
        """The bodies of functions, memoized."""
        self.about_mode: dict[ast.expr, bool] = {}
        """Whether conditions mention the mode, memoized."""
        self.configurations: dict[tuple[int, str], Configuration | None] = {}
        """The configurations that parameters without a value expect, by function and name, memoized."""
        self.parsers: dict[tuple[str, str], OptionParser] = {}
        """The parsers of command-line options that top-level names stand for, by path and name, memoized."""
        self.mentioned: set[str] = set()
        """The names of functions whose mentions in all files were counted."""
        self.settings: dict[Definition, Configuration] = {}
        """The configurations that classes describe, memoized."""
        self.deadline = inf
        """The process's CPU time, in seconds, at which the current file's time is used up."""
        self._definitions: dict[int, Definition] = {}
        self._functions: dict[int, Function] = {}
        self._values: dict[tuple[str, str], Value | ast.expr] = {}

    def note_texts(self) -> None:
        """Computes what the texts of all files say together, so that copies and forks of the process share it."""
        for fact in ("relevant", "assigned_elsewhere", "assigned_on_models", "_by_path"):
            getattr(self, fact)
        self.callers.of("")

    def afresh(self) -> Project:
        """The same files, and what their text says, with no other result memoized and no file reached."""
        self.note_texts()
        other = copy(self)
        vars(other).pop("definitions", None)
        other.modules = self.modules.recording()
        other._forget()
        return other

    @cached_property
    def assigned_elsewhere(self) -> frozenset[str]:
        """Attributes that code assigns on other objects than `self`: the constructor's value may be replaced."""
        return frozenset(self.attribute_assignments)

    @cached_property
    def assigned_on_models(self) -> frozenset[str]:
        """Those of them assigned on an object that may be a module, unlike `args.dropout = …`."""
        return frozenset(name for name, on_settings in self.attribute_assignments.items() if not on_settings)

    @cached_property
    def attribute_assignments(self) -> dict[str, bool]:
        """The attributes that code assigns on other objects than `self`; True: only on settings."""
        assignments: dict[str, bool] = {}
        for source in self.sources:
            for name, on_settings in source.attribute_assignments.items():
                assignments[name] = assignments.get(name, True) and on_settings
        return assignments

    @cached_property
    def relevant(self) -> tuple[Source, ...]:
        """The files that a rule can start in; the others are parsed only where one of these asks for a name in them."""
        return tuple(self.prefilter.candidates(self.sources))

    def keep_name(self, call: Place | None) -> str:
        """The name of a keep probability that the dropout at a place takes as its rate, else empty."""
        source = self._by_path.get(call.path) if call is not None else None
        return "" if source is None or call is None else source.keep_names.get((call.line, call.column), "")

    @cached_property
    def _by_path(self) -> dict[str, Source]:
        return {each.path: each for each in self.sources}

    @cached_property
    def definitions(self) -> tuple[Definition, ...]:
        """Every class of every relevant file, those inside functions included."""
        return tuple(definition for source in self.relevant for definition in self.definitions_in(source))

    def definitions_in(self, source: Source) -> Iterator[Definition]:
        """Every class of a file, those inside functions included."""
        return (self.definition(node, source, name) for node, name in _classes_in(source.tree.body, ""))

    @cached_property
    def attribute_readers(self) -> AttributeReaders:
        """The code that may read an attribute, in all files but those of torch."""
        return AttributeReaders(each.attribute_reads for each in self.sources if not each.is_torch)

    def functions(self) -> Iterator[Function]:
        """Every function at the top of a file and every method of a class at the top of a file."""
        return (function for source in self.relevant for function in self.functions_in(source))

    def functions_in(self, source: Source) -> Iterator[Function]:
        """Every function at the top of a file and every method of a class at the top of the file."""
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
        """The value of a dotted name, or of a constant, at the top of a file."""
        try:
            return self._resolve(source, node, outer)
        except RecursionError:
            return Unknown()

    def _resolve(self, source: Source, node: ast.expr, outer: Cells | None) -> Value:
        if isinstance(node, ast.Name):
            if outer and node.id in outer:
                local: Value = outer[node.id]
                return local
            value = self.lookup(source, node.id)
            return value if not isinstance(value, ast.expr) else self._resolve(source, value, None)
        if isinstance(node, ast.Attribute):
            return self.member(self._resolve(source, node.value, outer), node.attr)
        return Constant(node.value) if isinstance(node, ast.Constant) else Unknown()

    def member(self, owner: Value, name: str) -> Value:
        """`owner.name`, where the owner is a module or a package."""
        if not isinstance(owner, External):
            return Unknown()
        inside = self.modules.named(owner.name)
        if inside is not None:
            value = self.lookup(inside, name)
            if not isinstance(value, (ast.expr, Unknown)):
                return value
        return External(canonical(f"{owner.name}.{name}"))

    def lookup(self, source: Source, name: str) -> Value | ast.expr:
        """The value of a file's top-level name, or the only expression that the file assigns to it."""
        key = source.path, name
        if key not in self._values:
            self._values[key] = Unknown()
            self._values[key] = self._lookup(source, name)
        return self._values[key]

    def _lookup(self, source: Source, name: str) -> Value | ast.expr:
        bindings = source.bindings.get(name, [])
        for each in reversed(bindings):
            if isinstance(each, ast.ClassDef):
                return self.definition(each, source, each.name)
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                return self.function(each, source)
        for each in bindings:
            if isinstance(each, (ast.Import, ast.ImportFrom)):
                return self.imports_of(source, each).get(name, Unknown())
        if len(bindings) == 1 and isinstance(bindings[0], ast.expr):
            return bindings[0]
        if not bindings:
            for star in source.stars:
                value = self._through_star(source, star, name)
                if value is not None:
                    return value
            if "__getattr__" in source.bindings:
                return self._on_demand(source, name)
        return Unknown()

    def _on_demand(self, source: Source, name: str) -> Value:
        """The value of a name that a package imports when somebody asks for it.

        It is in an import statement of the package's `__getattr__`, or in a table there: the name with its module
        (`{"Net": ".net"}`), or the module with its names (`{"net": ["Net"]}`).
        """
        for each in walk(source.tree):
            if isinstance(each, ast.ImportFrom) and name in (alias.asname or alias.name for alias in each.names):
                return self.imports_of(source, each)[name]
            if isinstance(each, ast.Dict):
                for key, value in zip(each.keys, each.values, strict=True):
                    module = _module_in_table(key, value, name)
                    if module is not None:
                        dots = len(module) - len(module.lstrip("."))
                        inside = not dots and isinstance(self.modules.imported(source, 1, module), Source)
                        statement = ast.ImportFrom(module.lstrip("."), [ast.alias(name)], 1 if inside else dots)
                        return self.imports_of(source, statement)[name]
        return Unknown()

    def _through_star(self, source: Source, star: ast.ImportFrom, name: str) -> Value | ast.expr | None:
        module = self.modules.imported(source, star.level, star.module or "")
        if isinstance(module, Source):
            value = self.lookup(module, name)
            return None if isinstance(value, Unknown) else value
        if is_public(f"{module}.{name}"):
            return External(f"{module}.{name}")
        is_torch_name = bool(layer_named(name).function) or name in CONTAINERS or name in ("Module", "Parameter")
        return External(f"torch.nn.{name}") if module == "torch.nn" and is_torch_name else None

    def imports_of(self, source: Source, statement: ast.Import | ast.ImportFrom) -> dict[str, Value]:
        """The names that an import statement binds, with their values."""
        if isinstance(statement, ast.Import):
            return {
                alias.asname or alias.name.split(".")[0]: External(
                    canonical(alias.name if alias.asname else alias.name.split(".")[0])
                )
                for alias in statement.names
            }
        module = self.modules.imported(source, statement.level, statement.module or "")
        by_name: dict[str, Value] = {}
        for alias in statement.names:
            value: Value
            if isinstance(module, Source):
                inner = self.lookup(module, alias.name)
                value = self.resolve(module, inner) if isinstance(inner, ast.expr) else inner
                if isinstance(value, Unknown) and alias.name not in module.bindings:
                    value = External(f"{module.module}.{alias.name}")
            else:
                value = External(canonical(f"{module}.{alias.name}"))
            by_name[alias.asname or alias.name] = value
        return by_name


def _module_class(base: External) -> str:
    """The torch.nn class that a class of a library is or derives from, or an empty string."""
    package, _, name = base.name.rpartition(".")
    if package == "torch.nn":
        return name
    return "Module" if name.endswith(_FOREIGN_MODULES) and not package.startswith("torch.") else ""


def _is_setter(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == "setter" for each in method.decorator_list)


def _module_in_table(key: ast.expr | None, value: ast.expr, name: str) -> str | None:
    """The module that an entry of a table gives for a name."""
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        return None
    items = value.elts if isinstance(value, (ast.List, ast.Tuple, ast.Set)) else [value]
    texts = [each.value for each in items if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    if key.value == name:
        return texts[0] if texts else None
    return key.value if name in texts and len(texts) == len(items) and not isinstance(value, ast.Constant) else None


def _classes_in(body: Iterable[ast.AST], prefix: str) -> Iterator[tuple[ast.ClassDef, str]]:
    """The classes in a body, at any depth, with their qualified names."""
    todo = [(each, prefix) for each in body][::-1]
    while todo:  # an `elif` is an `if` inside the one before it: there may be more of them than calls can be nested
        statement, within = todo.pop()
        inside: list[ast.AST] = []
        if isinstance(statement, ast.ClassDef):
            yield statement, f"{within}{statement.name}"
            inside, within = [*statement.body], f"{within}{statement.name}."
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside, within = [*statement.body], f"{within}{statement.name}.<locals>."
        elif not isinstance(statement, _PLAIN):
            parts = ("body", "handlers", "orelse", "finalbody", "cases")
            inside = [each for part in parts for each in getattr(statement, part, ())]
        todo += [(each, within) for each in reversed(inside)]


def parameters_of(spec: ast.arguments) -> list[tuple[ast.arg, ast.expr | None]]:
    """The parameters of a function with their defaults (None: no default), without `*args` and `**kwargs`."""
    named = [*spec.posonlyargs, *spec.args]
    none: list[ast.expr | None] = [None] * (len(named) - len(spec.defaults))
    defaults = [*none, *spec.defaults, *spec.kw_defaults]
    return [*zip([*named, *spec.kwonlyargs], defaults, strict=True)]


def _words(node: ast.AST) -> set[object]:
    """The names, attributes, keywords and constants in a piece of code."""
    return {
        getattr(each, name)
        for each in walk(node)
        for kind, name in ((ast.Name, "id"), (ast.Attribute, "attr"), (ast.keyword, "arg"), (ast.Constant, "value"))
        if isinstance(each, kind)
    }


def _calls_super(node: ast.AST, method: str) -> bool:
    """Whether code calls `super().method(…)`."""
    calls = (each.func for each in walk(node) if isinstance(each, ast.Call))
    return any(isinstance(call, ast.Attribute) and call.attr == method and is_super(call.value) for call in calls)
