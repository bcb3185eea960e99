"""Whether a rule can start in a model's forward, according to the layers and the code that the forward can reach.

Most forwards of a library hold nothing that a rule starts from, and need not be interpreted. What the interpreter might
reach is the fixpoint of three steps: the values in a model lead to functions and classes, code leads to the values that
its names stand for, and names of attributes lead to the members of all classes reached. Nothing but the model and names
in code leads the interpreter anywhere, so the fixpoint holds whatever a run of the forward reaches, and mostly more.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache

from regcheck.core.graph import Kind
from regcheck.core.starting_points import StartingPoints, Trait
from regcheck.files.mentions import CONSTRUCTING, Mentions
from regcheck.static.interpreter.mode_values import ByMode
from regcheck.static.interpreter.values import (
    Bound,
    Cells,
    Constant,
    Container,
    Either,
    Entries,
    External,
    Function,
    Instance,
    Items,
    LayerValue,
    Maybe,
    Module,
    Partial,
    Setting,
    Several,
    Super,
    Unknown,
    Weight,
)
from regcheck.static.project.files import Source
from regcheck.static.project.names import Definition, Project
from regcheck.static.torch_calls import Rate, layer_acts, stacking
from regcheck.torch_api.functions import COIN_TOSSES, DROPPING, KINDS, SPREADS, STACKED
from regcheck.torch_api.layers import LAYERS, layer_named
from regcheck.torch_api.number_draws import NUMBER_DRAWS

from .emit import RegisteredModules
from .mode_switch import overrides_of

_DRAWS = frozenset(each.rpartition(".")[2] for each in NUMBER_DRAWS)
_PACKAGES_OF_DRAWS = frozenset((*(each.rpartition(".")[0] for each in NUMBER_DRAWS), "numpy"))
_SETTING_MODES = frozenset(("train", "eval", "setattr"))
_SHORTEST = 3
"""A fragment of a computed name with fewer letters tells nothing."""


def can_start(project: Project, modules: RegisteredModules) -> bool:
    """Whether a rule about models can start at an op of a model's forward, in train or in eval mode."""
    words = _start_words(project.starts)
    return words is None or _Reach(project, modules, words).has_start()


@cache
def _start_words(starts: StartingPoints) -> frozenset[str] | None:
    """The names of the functions and classes of torch that rules about models start from; None: any op may be one."""
    if any(each in starts for each in Kind if each is not Kind.RANDOM):
        return None
    functions: set[str] = set()
    if Kind.RANDOM in starts:
        functions |= {name for name, kind in KINDS.items() if kind is Kind.RANDOM} | COIN_TOSSES.keys()
    if Trait.BATCH_STATISTICS in starts:
        functions |= {name for name, kind in KINDS.items() if kind is Kind.BATCH_NORM} | SPREADS
    stacked = frozenset[str]()
    if Trait.DROPS in starts:
        functions |= DROPPING.keys()
        stacked = STACKED
    return frozenset(functions | {name for name, row in LAYERS.items() if row.function in functions | stacked})


class _StartFound(Exception):
    """A rule can start in what is reached."""


class _Reach:
    """What the forward of a model can reach."""

    def __init__(self, project: Project, modules: RegisteredModules, starts: frozenset[str]) -> None:
        self.project = project
        self.modules = modules
        self.starts = starts
        self._values: list[object] = [modules.model]
        self._code: list[tuple[ast.AST, Source]] = []
        self._sets_modes = bool(overrides_of(modules.model))
        """Whether code may set modes, if only a `train()` of the model's own."""
        always = ("forward", "__call__", *(("train", "eval") if self._sets_modes else ()))
        self._attributes = dict.fromkeys(always)
        """The names of attributes that code mentions, of any object."""
        self._own = dict.fromkeys(always)
        """These, and those of objects of scanned classes alone."""
        self._classes: dict[Definition, None] = {}
        self._packages: list[External] = []
        self._seen: set[object] = set()
        self._instances: list[Instance] = []
        self._gated: list[tuple[str, ast.AST]] = []
        self._strings: set[str] = set()
        self._fragments: set[str] = set()
        self._computes_names = self._computes_own_names = self._holds_packages = False
        self._draws = False
        self._needs_modes = False
        """Whether a layer that is reached is no start only because `eval()` switches it off."""

    def has_start(self) -> bool:
        """Whether a rule can start in any of it."""
        try:
            while self._values or self._code or self._find_members():
                while self._values:
                    self._visit(self._values.pop())
                if self._code:
                    self._read(*self._code.pop())
        except _StartFound:
            return True
        return (
            (self._needs_modes and self._sets_modes)
            or (self._draws and not _DRAWS.isdisjoint(self._attributes))
            or any(self._is_open(name, code) for name, code in self._gated)
        )

    def _visit(self, value: object) -> None:
        """Adds what a value leads to."""
        if isinstance(value, Constant):
            if isinstance(value.value, str):
                self._strings.add(value.value)
            return
        if isinstance(value, External):
            self._visit_external(value)
            return
        if id(value) in self._seen or type(value) in (Unknown, Weight):
            return
        self._seen.add(id(value))
        self._values += self._parts(value)

    def _parts(self, value: object) -> Iterable[object]:
        """The values in a value."""
        match value:
            case Instance():
                self._instances.append(value)
                self._add_class(value.definition)
                self._holds_packages |= any(map(_may_be_package, value.cells.values()))
                return (*value.cells.values(), *([value.base] if value.base is not None else []))
            case LayerValue():
                self._visit_layer(value)
                return (*value.cells.values(), *value.args, *value.kwargs.values())
            case Container():
                return (*value.cells.values(), *value.entries.values())
            case Module() | Entries():
                return value.cells.values()
            case Definition():
                self._construct(value)
            case Function():
                self._add_code(value.node, value.source)
                if value.owner is not None:
                    self._add_class(value.owner)
                return (value.instance, value.outer)
            case Cells():
                return value.values()
            case Partial():
                return (value.callee, *value.args, *value.kwargs.values())
            case Bound():
                self._mention((value.name,), (value.name,))
                return (value.receiver,)
            case Super():
                return (value.instance,)
            case Either():
                return value.options
            case Several():
                return (value.item,)
            case Items() | Maybe():
                return value.items
            case Setting():
                return (value.default,)
            case ByMode():
                return (value.train, value.evaluation)
            case Unknown() | None:
                pass
            case _:
                raise _StartFound
        return ()

    def _visit_external(self, value: External) -> None:
        if value.name in self._seen:
            return
        self._seen.add(value.name)
        if self.project.modules.named(value.name) is not None:
            self._packages.append(value)
            return
        self._mention((), (value.name.rpartition(".")[2],))
        if value.name in NUMBER_DRAWS:
            raise _StartFound
        self._draws |= value.name in _PACKAGES_OF_DRAWS

    def _visit_layer(self, layer: LayerValue) -> None:
        row, starts = layer_named(layer.name), self.project.starts
        follows_mode = id(layer) in self.modules.paths and "training" not in layer.cells
        if row.kind is Kind.RANDOM and Kind.RANDOM in starts:
            raise _StartFound
        if row.kind is Kind.BATCH_NORM and Trait.BATCH_STATISTICS in starts:
            if not follows_mode or layer_acts(layer, row.kind, Constant(False)) is not False:
                raise _StartFound
            self._needs_modes = True
        if Trait.DROPS in starts and row.function in STACKED and stacking(layer)[1]:
            raise _StartFound
        if Trait.DROPS in starts and row.function in DROPPING:
            rate = Rate.of(layer.argument(*row.rate)) if row.rate is not None else Rate(None, False)
            if rate.number != 0 or (rate.default and not follows_mode):
                raise _StartFound
            self._needs_modes |= rate.default

    def _construct(self, definition: Definition) -> None:
        """Adds what constructing an object of a class runs."""
        if definition.torch_base in self.starts:
            raise _StartFound
        self._add_class(definition)
        for each in definition.mro:
            for name in CONSTRUCTING:
                if name in each.methods:
                    self._add_code(each.methods[name], each.source)
            for _, default in each.fields:
                if default is not None:
                    self._add_code(default, each.source)

    def _add_class(self, definition: object) -> None:
        assert isinstance(definition, Definition)
        self._classes[definition] = None

    def _add_code(self, code: ast.AST, source: Source) -> None:
        if id(code) not in self._seen:
            self._seen.add(id(code))
            self._code.append((code, source))

    def _read(self, code: ast.AST, source: Source) -> None:
        """Adds what a function or an expression mentions."""
        mentions = source.mentions.get(code)
        if mentions is None:
            mentions = source.mentions[code] = Mentions.of(code)
        if source.products and Trait.REUSES_MASK in self.project.starts:
            raise _StartFound
        self._mention(mentions.attributes, mentions.foreign)
        self._gated += [(each, code) for each in mentions.gated]
        self._strings |= mentions.strings
        self._fragments |= mentions.fragments
        self._computes_names |= mentions.computes_names
        self._computes_own_names |= mentions.computes_own_names
        self._sets_modes |= mentions.sets_training or not _SETTING_MODES.isdisjoint(
            mentions.names | mentions.attributes
        )
        bindings = source.bindings
        is_open = bool(source.stars) or "__getattr__" in bindings
        for name in mentions.names | mentions.owners:
            if is_open or name in bindings:
                value = self.project.lookup(source, name)
                if isinstance(value, ast.expr):
                    self._add_code(value, source)
                elif isinstance(value, Definition) and name not in mentions.names:
                    self._add_class(value)
                else:
                    self._values.append(value)
        for statement in mentions.imports:
            self._values += self.project.imports_of(source, statement).values()

    def _mention(self, attributes: Iterable[str], foreign: Iterable[str]) -> None:
        """Adds names of attributes; of those that are `foreign`, one may be a function of torch."""
        if any(each in self.starts or each.strip("_") in self.starts for each in foreign):
            raise _StartFound
        new = dict.fromkeys(attributes)
        self._attributes.update(new)
        self._own.update(new)

    def _find_members(self) -> bool:
        """Adds the members that names of attributes stand for by now; whether any of them is new."""
        names = [each for each in self._strings | self._fragments if each.isidentifier()]
        if self._computes_names or (self._computes_own_names and self._holds_packages):
            self._mention(names, names)
            if any(len(each) >= _SHORTEST and self._is_in_start(each) for each in self._fragments):
                raise _StartFound
        elif self._computes_own_names:
            self._own.update(dict.fromkeys(names))
        for definition in self._classes:
            members = definition.members
            for name in members.keys() & self._own.keys():
                for code, source in members[name]:
                    self._add_code(code, source)
        for package in self._packages:
            for name in self._attributes:
                self._add_member(package, name)
        return bool(self._code or self._values)

    def _add_member(self, package: External, name: str) -> None:
        path = f"{package.name}.{name}"
        if path not in self._seen:
            self._seen.add(path)
            member = self.project.member(package, name)
            if member != External(path) or self.project.modules.named(path) is not None:
                self._values.append(member)

    def _is_in_start(self, fragment: str) -> bool:
        return any(fragment.lower() in each.lower() for each in self.starts)

    def _is_open(self, name: str, code: ast.AST) -> bool:
        """Whether an attention's rate may be above zero, or not follow the mode, which a dropout layer `name` holds."""
        for each in self._instances:
            if any(method is code for owner in each.definition.mro for method in owner.methods.values()):
                layer = each.cells.get(name)
                follows_mode = id(each) in self.modules.paths and "training" not in each.cells
                is_dropout = isinstance(layer, LayerValue) and layer_named(layer.name).function in DROPPING
                if self._sets_modes or not follows_mode or not is_dropout:
                    return True
        return False


def _may_be_package(value: object) -> bool:
    """Whether a value may be a module, as `torch.nn.functional` is one, or one of torch's functions."""
    return isinstance(value, External) and not value.name.rpartition(".")[2][:1].isupper()
