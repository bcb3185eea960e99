"""What the interpreter knows of a value: a constant, a tensor's origin, a layer, a function, or nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Union

from regcheck.core import usage
from regcheck.files.place import Place

if TYPE_CHECKING:
    from regcheck.static.project.files import Source
    from regcheck.static.project.names import Definition


@dataclass(frozen=True)
class Constant:
    """A constant. `default` marks a zero that a constructor or a configuration falls back on: others may be given."""

    value: Any
    default: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and type(self.value) is type(other.value) and self.value == other.value

    __hash__ = object.__hash__


@dataclass(frozen=True)
class Unknown:
    """A value that cannot be told. `varies` says that it may differ from call to call (a choice, a size, an input)."""

    varies: bool = False


@dataclass(frozen=True)
class Parameters(Unknown):
    """All parameters of a model, and of what kinds there are certain to be some (see `usage.Group`)."""

    holds: tuple[str, ...] = ()
    model: usage.Model | None = None


@dataclass(frozen=True)
class UnknownSetting(Unknown):
    """A number of a configuration that nobody knows: zero by default, and others may be given."""


@dataclass(frozen=True)
class Configuration(Unknown):
    """A configuration of which is known which settings it has, and which of these are zero by default."""

    zeros: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()


@dataclass(frozen=True)
class TensorRef:
    """A value computed from the ops (or, in a program, from the model calls) of these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class External:
    """Something that is not defined in the scanned files, by its canonical dotted name (`torch.nn.Dropout`)."""

    name: str


@dataclass(frozen=True)
class Weight:
    """A learned parameter."""


@dataclass(frozen=True)
class Either:
    """One of several values, depending on something unknown."""

    options: tuple[Value, ...]


@dataclass(frozen=True)
class Several:
    """An unknown number of values like this one; stands among the items of a sequence."""

    item: Value


@dataclass(frozen=True)
class Maybe:
    """Items that may or may not be there; stands at the end of a sequence's known beginning."""

    items: tuple[Value, ...]


@dataclass(frozen=True)
class Bound:
    """A method, by name, of a value that has no scanned class."""

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
    after: Definition


_clock = count()


class Cells(dict[str, Any]):
    """A mutable place of the interpreted program; written through the trail, so that branches can be undone.

    `born` orders places by when they were made: what a branch made itself need not be undone. `doubtful` are the keys
    that only some of the branches taken have written: they may not be there at all.
    """

    __slots__ = ("born", "doubtful")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.born = next(_clock)
        self.doubtful: frozenset[str] = frozenset()


def now() -> int:
    """The time that `Cells.born` is told in."""
    return next(_clock)


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
        found: tuple[Value, ...] = self.cells["items"]
        return found

    @property
    def exact(self) -> bool:
        """Whether every item is known to be there, in its place."""
        return not any(isinstance(each, (Several, Maybe)) for each in self.items)


@dataclass(eq=False)
class Entries:
    """A dict; `OPEN` among its keys says that there may be others."""

    cells: Cells

    @classmethod
    def of(cls, entries: Mapping[str, Value]) -> Entries:
        return cls(Cells(entries))


OPEN = "**"


@dataclass(eq=False)
class Function:
    """A function or a lambda of the scanned files, with the locals of the function it was made in."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    source: Source
    name: str
    outer: Cells | None = None
    owner: Definition | None = None
    instance: Value | None = None


@dataclass(eq=False)
class Module:
    """Any `nn.Module`: `cells["training"]` holds its mode where the program has set it."""

    place: Place | None
    cells: Cells = field(default_factory=Cells)

    @property
    def is_module(self) -> bool:
        """Whether it is an `nn.Module` after all, and not an object of any other class."""
        return True

    def children(self) -> Iterator[tuple[str, Module]]:
        """Registered submodules with their names; `*` where the name cannot be told."""
        yield from ()


@dataclass(eq=False)
class LayerValue(Module):
    """A layer of torch.nn, with the arguments it was built with."""

    name: str = ""
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)

    def argument(self, position: int, name: str, default: Any = None) -> Value:
        return argument(self.args, self.kwargs, position, name, default)


@dataclass(eq=False)
class Container(Module):
    """`nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict`; a name that begins with `*` cannot be told."""

    name: str = ""
    entries: Cells = field(default_factory=Cells)

    def children(self) -> Iterator[tuple[str, Module]]:
        for name, value in list(self.entries.items()):
            yield from (("*" if name.startswith("*") else name, module) for module in modules_in(value))


@dataclass(eq=False)
class Instance(Module):
    """An object of a scanned class, a module or not; its attributes are its cells."""

    definition: Definition = field(kw_only=True)
    base: Container | LayerValue | None = None

    @property
    def is_module(self) -> bool:
        return self.definition.is_module

    def children(self) -> Iterator[tuple[str, Module]]:
        if self.base is not None:
            yield from self.base.children()
        for name, value in list(self.cells.items()):
            yield from ((name, module) for module in modules_in(value) if not isinstance(value, Items))


@dataclass(eq=False)
class OptimizerValue:
    """An optimizer of torch.optim."""

    described: usage.OptimizerInfo


Value = Union[
    Constant,
    Unknown,
    TensorRef,
    External,
    Weight,
    Either,
    Several,
    Maybe,
    Bound,
    Partial,
    Super,
    Items,
    Entries,
    Function,
    LayerValue,
    Container,
    Instance,
    Module,
    OptimizerValue,
    "Definition",
]


_SEQUENCES: dict[type, Callable[[Any], Iterable[Any]]] = {
    Items: lambda value: value.items,
    Maybe: lambda value: value.items,
    Several: lambda value: (value.item,),
    Either: lambda value: value.options,
}
_HOLDERS = {**_SEQUENCES, Entries: lambda value: value.cells.values()}


def inside(*values: Any, dicts: bool = True) -> Iterator[Any]:
    """The values that are held by sequences, dicts and alternatives, however deep.

    Each holder is looked through once: a list that holds another one twice, sixty times over, is not walked 2^60 times.
    """
    holders = _HOLDERS if dicts else _SEQUENCES
    todo, seen = [*reversed(values)], set[int]()
    while todo:
        each = todo.pop()
        held = holders.get(type(each))
        if held is None:
            yield each
        elif id(each) not in seen:
            seen.add(id(each))
            todo += [*held(each)][::-1]


def modules_in(value: Any) -> Iterator[Module]:
    """The modules that a value may be."""
    return (each for each in inside(value, dicts=False) if isinstance(each, Module) and each.is_module)


def descendants(module: Module) -> Iterator[tuple[str, Module]]:
    """A module and its registered submodules with their dotted paths, each once."""
    seen = {id(module)}
    yield "", module
    todo = [("", module.children())]
    while todo:  # modules may be nested deeper than calls can be
        path, children = todo[-1]
        for name, child in children:
            if id(child) not in seen:
                seen.add(id(child))
                where = f"{path}.{name}" if path else name
                yield where, child
                todo.append((where, child.children()))
                break
        else:
            todo.pop()


_OPEN_ENDED = (Several, Maybe)


def argument(
    args: tuple[Value, ...], kwargs: Mapping[str, Value], position: int, name: str, default: Any = None
) -> Value:
    """The argument at a position or of a name; unknown where a star may hide it."""
    if name in kwargs:
        return kwargs[name]
    for index, each in enumerate(args):
        if type(each) in _OPEN_ENDED:
            return Unknown(varies=True)
        if index == position:
            return each
    return Unknown(varies=True) if OPEN in kwargs else Constant(default)


def fallen_back_on(value: Value) -> Value:
    """The value of a setting that nobody gave."""
    number = isinstance(value, Constant) and isinstance(value.value, (int, float)) and not isinstance(value.value, bool)
    return Constant(value.value, True) if isinstance(value, Constant) and number and value.value == 0 else value


def looked_up(owner: Value, name: Value, default: Value) -> Value | None:
    """What `getattr` or `get` with a default of zero gives for a configuration; None where that is anything else."""
    if not isinstance(owner, Unknown) or not isinstance(name, Constant) or not isinstance(default, Constant):
        return None
    zero = fallen_back_on(default)
    known = isinstance(owner, Configuration) and name.value in owner.others
    return UnknownSetting() if isinstance(zero, Constant) and zero.default and not known else None


def truth(value: Value) -> bool | None:
    """Whether a value is true; None where that cannot be told."""
    if isinstance(value, Constant):
        try:
            return bool(value.value)
        except Exception:
            return None
    if isinstance(value, Either):
        found = {truth(each) for each in value.options}
        return found.pop() if len(found) == 1 else None
    if isinstance(value, Items):
        return bool(value.items) if value.exact else None
    if isinstance(value, Entries):
        return bool(value.cells) if OPEN not in value.cells else None
    if isinstance(value, Container) and not value.entries:
        return False
    if isinstance(value, (Unknown, TensorRef, Weight, Several, Maybe, Bound)):
        return None
    return True


def inner(value: Value) -> Value:
    """The value that an item of a sequence stands for."""
    if isinstance(value, Several):
        return value.item
    return value.items[0] if isinstance(value, Maybe) else value
