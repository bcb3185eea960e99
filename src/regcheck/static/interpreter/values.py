"""Abstract values: a constant, the ops that a tensor comes from, a layer, a function, or nothing known."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import count
from pathlib import PurePath
from typing import Any, Protocol, TypeGuard

from regcheck.core import usage
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass
from regcheck.static.project.files import Source


class ClassDefinition(Protocol):
    """What values need of a class of the scanned files; `project.names.Definition` is one."""

    node: ast.ClassDef
    source: Source
    name: str
    outer: Cells | None

    def __hash__(self) -> int: ...

    @property
    def is_module(self) -> bool: ...

    @property
    def torch_base(self) -> str: ...

    @property
    def optimizer_base(self) -> str: ...

    @property
    def mro(self) -> Sequence[ClassDefinition]: ...

    @property
    def methods(self) -> Mapping[str, ast.FunctionDef | ast.AsyncFunctionDef]: ...

    @property
    def fields(self) -> Sequence[tuple[str, ast.expr | None]]: ...

    @property
    def assigning(self) -> Mapping[str, Sequence[ast.AST]]: ...

    def method(self, name: str, after: ClassDefinition | None = None) -> Function | None: ...

    def constant(self, name: str) -> tuple[ClassDefinition, ast.expr] | None: ...


@dataclass(frozen=True)
class Constant:
    """A constant. `default` marks a zero that is only a default: a caller may pass another value."""

    value: Any
    default: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and type(self.value) is type(other.value) and self.value == other.value

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Unknown:
    """A value that is not known.

    `varies`: it may differ from call to call (a choice, a size, an input). `sizes`: it is the whole shape of a tensor.
    """

    varies: bool = False
    sizes: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Parameters(Unknown):
    """All parameters of a model; `holds` names the kinds that are certainly among them (see `usage.Group`)."""

    holds: tuple[str, ...] = ()
    model: usage.Model | None = None
    owner: Module | None = None


@dataclass(frozen=True)
class ParameterOf(Unknown):
    """Any one of a module's parameters; with a name, that one of those that the module registers itself."""

    owner: Module | None = None
    name: str = ""


@dataclass(frozen=True)
class Origin:
    """The option, field or variable that a default belongs to, and the place where the default stands."""

    name: str
    place: Place | None = None

    def __str__(self) -> str:
        """The clause with which a message says that a value is a default."""
        where = f", {PurePath(self.place.path).name}:{self.place.line}" if self.place else ""
        return f" by default (`{self.name}`{where})"


@dataclass(frozen=True)
class Setting(Unknown):
    """A value that the user of a program chooses; `default` is the value unless the user chooses another.

    It is unknown to whoever does not ask for the default, and no condition on it is decided.
    """

    default: Any = field(default=None, kw_only=True)
    origin: Origin = field(default=Origin("default"), kw_only=True)


@dataclass(frozen=True, eq=False)
class Configuration(Unknown):
    """A configuration of which only the class is known; `settings` are its attributes by name."""

    settings: Mapping[str, Unknown] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorRef:
    """A value computed from the ops (in a program: from the model calls) with these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class External:
    """An object that the scanned files do not define, by its canonical dotted name (`torch.nn.Dropout`)."""

    name: str


@dataclass(frozen=True)
class Weight:
    """A learned parameter; `requires_grad` is None where the source does not say whether it is trained."""

    requires_grad: bool | None = None


@dataclass(frozen=True)
class Either:
    """One of several values; which one is not known."""

    options: tuple[Value, ...]


@dataclass(frozen=True)
class Several:
    """An unknown number of values like this one, among the items of a sequence."""

    item: Value


@dataclass(frozen=True)
class Maybe:
    """Items that may be missing, at the end of a sequence."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Bound:
    """A method, by name, of a value whose class is not scanned."""

    receiver: Value
    name: str


@dataclass(frozen=True)
class Partial:
    """`functools.partial`."""

    callee: Value
    args: tuple[Value, ...]
    kwargs: Mapping[str, Value]


@dataclass(frozen=True)
class Super:
    """`super()` inside a method of `after`."""

    instance: Value
    after: ClassDefinition


_clock: Iterator[int] = count()
_NO_KEYS = frozenset[str]()


class Cells(dict[str, Any]):
    """Mutable storage of the interpreted program, written through `State.set` so that a branch can be undone.

    `born` is the time of creation: cells that a branch itself created need no undoing. `doubtful` are the keys that
    only some of several joined branches wrote: they may be missing.
    """

    __slots__ = ("born", "doubtful")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        dict.__init__(self, *args, **kwargs)
        self.born = next(_clock)
        self.doubtful = _NO_KEYS


def tick() -> int:
    """Returns the next time of the clock that `Cells.born` is read from."""
    return next(_clock)


def reserve_time(size: int) -> Iterator[int]:
    """Returns a clock with so many times, all before those of the current clock from now on."""
    global _clock
    reserved = _clock
    _clock = count(next(_clock) + size)
    return reserved


@contextmanager
def reading_clock(clock: Iterator[int]) -> Iterator[None]:
    """Runs the block with another clock."""
    global _clock
    current, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = current


@dataclass(eq=False)
class Items:
    """A list or a tuple. `cells["items"]` holds its items."""

    cells: Cells
    mutable: bool = True

    @classmethod
    def of(cls, items: tuple[Value, ...], mutable: bool = True) -> Items:
        return cls(Cells(items=items), mutable)

    @property
    def items(self) -> tuple[Value, ...]:
        items: tuple[Value, ...] = self.cells["items"]
        return items

    @property
    def exact(self) -> bool:
        """Whether the number of items is known."""
        return not any(isinstance(each, (Several, Maybe)) for each in self.items)


@dataclass(eq=False)
class Entries:
    """A dict; the key `OPEN` says that there may be further keys."""

    cells: Cells

    @classmethod
    def of(cls, entries: Mapping[str, Value]) -> Entries:
        return cls(Cells(entries))


@dataclass(eq=False)
class Namespace(Entries):
    """An object whose entries are attributes too: parsed options, `SimpleNamespace`, hyperparameters."""


@dataclass(eq=False)
class OptionParser:
    """A parser of command-line options; `options` holds the value of each option by its attribute."""

    options: Cells


OPEN = "**"


@dataclass(eq=False)
class Function:
    """A function or lambda of the scanned files; `outer` holds the locals of the function that defines it.

    `bare` is the function that its decorators receive.
    """

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    source: Source
    name: str
    outer: Cells | None = None
    owner: ClassDefinition | None = None
    instance: Value | None = None
    bare: bool = False


@dataclass(eq=False)
class Module:
    """Any `nn.Module`; `cells["training"]` holds its mode once the program sets it."""

    place: Place | None
    cells: Cells = field(default_factory=Cells)

    @property
    def is_module(self) -> bool:
        """Whether this is an `nn.Module`; an `Instance` may be an object of any class."""
        return True

    def children(self) -> list[tuple[str, Module]]:
        """Registered submodules with their names; `*` for a name that is not known."""
        return []


@dataclass(eq=False)
class LayerValue(Module):
    """A layer of torch.nn with its constructor's arguments; `call` is the call that constructs it, if there is one."""

    name: str = ""
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)
    call: ast.Call | None = None

    def argument(self, position: int, name: str, default: Any = None) -> Value:
        return argument(self.args, self.kwargs, position, name, default)


@dataclass(eq=False)
class Container(Module):
    """`nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict`; a key that begins with `*` is not known."""

    name: str = ""
    entries: Cells = field(default_factory=Cells)

    def children(self) -> list[tuple[str, Module]]:
        entries = self.entries.items()
        return [("*" if name[:1] == "*" else name, module) for name, value in entries for module in modules_in(value)]


@dataclass(eq=False)
class Instance(Module):
    """An object of a scanned class, a module or not; its attributes are its cells.

    `optimizer_arguments` are those that the class of an optimizer passes to its base in torch.optim.
    """

    definition: ClassDefinition = field(kw_only=True)
    base: Container | LayerValue | None = None
    optimizer_arguments: tuple[tuple[Value, ...], Mapping[str, Value]] | None = None

    @property
    def is_module(self) -> bool:
        return self.definition.is_module

    def children(self) -> list[tuple[str, Module]]:
        own: list[tuple[str, Module]] = []
        for name, value in self.cells.items():
            if isinstance(value, Module):
                if value.is_module:
                    own.append((name, value))
            elif isinstance(value, _ALTERNATIVES):
                own += [(name, module) for module in modules_in(value)]
        return own if self.base is None else self.base.children() + own


@dataclass(eq=False)
class UnknownModel(Module):
    """A module of an unknown class: only its mode is followed, once the program sets it. `name` is its source."""

    name: str = "model"


@dataclass(frozen=True, eq=False)
class UnknownObject(Unknown):
    """An object of an unknown class, distinct from other ones.

    Attributes:
        model: the mode of the object, if it is a model.
        owner: the object that this one is an attribute or an item of, by its `name`.
        origins: the unknown objects that it was built from, any of which it may contain.
        parts: its attributes and items by name, as far as the program has read them.
    """

    model: UnknownModel = field(default_factory=lambda: UnknownModel(None))
    owner: UnknownObject | None = None
    name: str = ""
    origins: tuple[UnknownObject, ...] = ()
    parts: dict[str, UnknownObject] = field(default_factory=dict)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def part(self, name: str) -> UnknownObject:
        """An attribute or an item; `module` of a wrapper around a model is the model."""
        if name == "module":
            return self
        if name not in self.parts:
            part = self.parts[name] = UnknownObject(self.varies, owner=self, name=name)
            part.model.cells.born = self.model.cells.born  # a branch that reads it first does not create it
        return self.parts[name]

    def within(self) -> Iterator[UnknownObject]:
        """The object and its parts, at any depth."""
        yield self
        for each in self.parts.values():
            yield from each.within()


@dataclass(eq=False)
class ParameterGroup(Entries):
    """A parameter group of an optimizer, with the weight decay that it is constructed with."""

    constructed_with: Value


@dataclass(eq=False)
class OptimizerValue:
    """An optimizer of torch.optim; `described` has no groups, which `groups` holds."""

    described: usage.OptimizerInfo
    defaults: Mapping[str, Value]
    groups: Items


Value = (
    Constant
    | Unknown
    | TensorRef
    | External
    | Weight
    | Either
    | Several
    | Maybe
    | Bound
    | Partial
    | Super
    | Items
    | Entries
    | OptionParser
    | Function
    | LayerValue
    | Container
    | Instance
    | Module
    | OptimizerValue
    | ClassDefinition
)


_SEQUENCES: dict[type, Callable[[Any], Iterable[Any]]] = {
    Items: lambda value: value.items,
    Maybe: lambda value: value.items,
    Several: lambda value: (value.item,),
    Either: lambda value: value.options,
}
_CONTAINERS: dict[type, Callable[[Any], Iterable[Any]]] = {
    **_SEQUENCES,
    Entries: lambda value: value.cells.values(),
    Namespace: lambda value: value.cells.values(),
}


_ALTERNATIVES = (Either, Maybe, Several)
"""The values other than lists that may be one of several modules."""


def leaves(*values: Any, dicts: bool = True) -> Sequence[Any]:
    """The values in sequences, dicts and alternatives, at any depth.

    Each container is visited once: a list that contains another one twice, sixty times over, has 2^60 paths.
    """
    containers = _CONTAINERS if dicts else _SEQUENCES
    for value in values:
        if type(value) in containers:
            break
    else:
        return values
    todo, seen = [*reversed(values)], set[int]()
    values_inside: list[Any] = []
    while todo:
        each = todo.pop()
        contents = containers.get(type(each))
        if contents is None:
            values_inside.append(each)
        elif id(each) not in seen:
            seen.add(id(each))
            inner = [*contents(each)]
            if containers.keys().isdisjoint(map(type, inner)):
                values_inside += inner
            else:
                todo += inner[::-1]
    return values_inside


def modules_in(value: Any) -> Sequence[Module]:
    """The modules that a value, or an item of a sequence, may be."""
    if isinstance(value, Module):
        return (value,) if value.is_module else ()
    if type(value) not in _SEQUENCES:
        return ()
    return [each for each in leaves(value, dicts=False) if isinstance(each, Module) and each.is_module]


def descendants(module: Module) -> Iterator[tuple[str, Module]]:
    """A module and its registered submodules with their dotted paths, each once."""
    seen: set[int] = set()
    todo = [("", module)]
    while todo:  # modules may be nested deeper than calls can be
        path, each = todo.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield path, each
            children = each.children()
            if children:
                todo += [(f"{path}.{name}" if path else name, child) for name, child in reversed(children)]


def argument(
    args: tuple[Value, ...], kwargs: Mapping[str, Value], position: int, name: str, default: Any = None
) -> Value:
    """The argument at a position or with a name; unknown if a starred argument may hold it."""
    if name in kwargs:
        return kwargs[name]
    for index, each in enumerate(args):
        if type(each) is Several or type(each) is Maybe:
            return Unknown(varies=True)
        if index == position:
            return each
    return Unknown(varies=True) if OPEN in kwargs else Constant(default)


def as_default(value: Value) -> Value:
    """A default value as a setting: the number zero is marked, because a caller may pass another."""
    number = isinstance(value, Constant) and isinstance(value.value, (int, float)) and not isinstance(value.value, bool)
    return Constant(value.value, True) if isinstance(value, Constant) and number and value.value == 0 else value


def by_default(value: Value) -> Value:
    """The value unless the user of the program chooses another."""
    default: Value = value.default if isinstance(value, Setting) else value
    return default


def clause_of(*values: Value | None) -> str:
    """The clause of a message that says which default the values rest on; empty if they rest on none."""
    return next((str(each.origin) for each in values if isinstance(each, Setting)), "")


def computed_from(operands: Iterable[Value], result: Value) -> Value:
    """The result of an operation on the defaults of its operands: a setting if one of them is."""
    first = next((each for each in operands if isinstance(each, Setting)), None)
    return replace(first, default=result) if first is not None and is_atom(result) else result


def attributes_as_dict(value: Value) -> Entries | None:
    """`vars(value)`, for an object whose attributes are followed and that is no model; it shares them."""
    is_object = isinstance(value, Namespace) or (isinstance(value, Instance) and not value.is_module)
    return Entries(value.cells) if is_object and isinstance(value, (Namespace, Instance)) else None


def is_atom(value: object) -> bool:
    """Whether a value is a constant, a function or a class."""
    return isinstance(value, (Constant, External, Function, Partial)) or hasattr(value, "mro")


def truth(value: Value) -> bool | None:
    """Whether a value is true; None if that is not known."""
    if isinstance(value, Constant):
        try:
            return bool(value.value)
        except Exception:
            return None
    if isinstance(value, Either):
        results = {truth(each) for each in value.options}
        return results.pop() if len(results) == 1 else None
    if isinstance(value, Items):
        return bool(value.items) if value.exact else None
    if isinstance(value, Entries):
        return bool(value.cells) if OPEN not in value.cells else None
    if isinstance(value, Container) and not value.entries:
        return False
    if isinstance(value, Bound):
        return is_mode_setter(value) or None
    if isinstance(value, (Unknown, TensorRef, Weight, Several, Maybe)):
        return None
    return True


def is_mode_setter(value: Value) -> TypeGuard[Bound]:
    """Whether a value is the method `train` or `eval` of a module, which the program has not called."""
    return isinstance(value, Bound) and isinstance(value.receiver, Module) and value.name in ("train", "eval")


def options_of(value: Either) -> list[Value]:
    """The alternatives of a value except None: code that uses the value has checked for it."""
    return [each for each in value.options if each != NONE]


def element(item: Value) -> Value:
    """The value that an item of a sequence stands for."""
    if isinstance(item, Several):
        return item.item
    return item.items[0] if isinstance(item, Maybe) else item


NONE = Constant(None)
FIXED, VARYING = Unknown(), Unknown(varies=True)
SIZES = Unknown(varies=True, sizes=True)
ANY_ITEMS: tuple[Value, ...] = (Several(VARYING),)
"""The items of a sequence of which nothing is known."""


def unknown_from(values: Iterable[Value]) -> Unknown:
    """An unknown value computed from these: it varies if one of them does."""
    for each in values:
        if isinstance(each, Unknown) and each.varies:
            return VARYING
    return FIXED
