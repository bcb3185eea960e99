"""What a value is, in full: two values of the same portrait cannot be told apart by code that is given them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from regcheck.static.project.names import Definition

from .calls import SELF_RETURNING
from .mode_values import ByMode
from .values import (
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
    Several,
    TensorRef,
    Unknown,
    Value,
    Weight,
)

OF_ALL_MODULES = SELF_RETURNING | frozenset(
    "train eval forward __call__ training add_module register_module register_parameter register_buffer".split()
)
"""What every module has, whatever its class."""

LARGEST = 20_000
"""A value with more parts than this takes longer to compare than that can save."""

_ATOMS = frozenset((int, str, bytes, bool, type(None), type(...)))


class Incomparable(Exception):
    """Of this value it cannot be told whether another one is exactly like it."""


class KeyInterner(dict[Hashable, int]):
    """Portraits by number, so that a large one can be made of small ones; `held` lives as long as they do."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[object] = []

    def number(self, portrait: Hashable, held: object = None) -> Hashable:
        if portrait not in self:
            self[portrait] = len(self)
            self.held.append(held)
        return (self[portrait],)


class StructuralKey:
    """Portraits of the values that one call is given, which name shared ops and objects by the order they are met in.

    `mark` says what else tells modules apart, `told` which ops differ from others. `ids` are the ops, `objects`
    whatever has an identity, `receivers` the modules of which nothing is told.
    """

    def __init__(self, gallery: KeyInterner, mark: Callable[[Module], Hashable], *told: set[str]) -> None:
        self.gallery = gallery
        self.mark = mark
        self.told = told
        self.ids: dict[str, int] = {}
        self.objects: list[object] = []
        self.receivers: list[Instance] = []
        self._numbers: dict[int, int] = {}
        self._parts = 0

    def of(self, value: Any) -> Hashable:
        """The portrait of a value.

        Raises:
            Incomparable: there is none.
        """
        self._parts += 1
        if self._parts > LARGEST:
            raise Incomparable
        kind: Any = type(value)
        if kind is Constant:
            return self._constant(value.value), value.default
        if kind is TensorRef:
            return tuple([self._op(name) for name in value.ids])
        if kind is Unknown:
            return bool(value.varies)
        if kind is External:
            return str(value.name)
        if kind is Weight:
            return Weight
        if kind is ByMode:
            return kind, self.of(value.train), self.of(value.evaluation)
        if kind is Definition:
            return Definition, id(value)  # a project keeps its definitions
        if kind is Either:
            return kind, *map(self.of, value.options)
        if kind is Several:
            return kind, self.of(value.item)
        if kind is Maybe:
            return kind, *map(self.of, value.items)
        if kind is Bound:
            return kind, self._receiver(value), value.name
        if kind is Partial:
            return kind, self.of(value.callee), *map(self.of, value.args), self._named(value.kwargs)
        return self._object(value, kind)

    def _receiver(self, value: Bound) -> Hashable:
        """The portrait of what an attribute was asked of.

        Of a module that does not have it no more is told than which one it is: code can do nothing with it that
        depends on what the module is made of. So what a model hands its parts of a configuration that it inherits
        does not make the model a part of each of them.
        """
        receiver = value.receiver
        if type(receiver) is not Instance or receiver.base is not None or value.name in OF_ALL_MODULES:
            return self.of(receiver)
        known = next((number for number, each in enumerate(self.receivers) if each is receiver), None)
        if known is None:
            self.receivers.append(receiver)
            return len(self.receivers) - 1
        return known

    def _object(self, value: Any, kind: type) -> Hashable:
        known = id(value)
        if known in self._numbers:
            return kind, self._numbers[known]
        self._numbers[known] = len(self.objects)
        self.objects.append(value)
        told: Hashable
        if kind is Items:
            return kind, value.mutable, *map(self.of, value.items)
        if kind is Entries:
            return kind, self._named(value.cells)
        if kind is LayerValue:
            told = value.name, *map(self.of, value.args), self._named(value.kwargs)
        elif kind is Container:
            told = value.name, self._named(value.entries)
        elif kind is Instance:
            told = id(value.definition), value.base and self.of(value.base)
        elif kind is Function:
            own = value.instance and self.of(value.instance)
            return self.gallery.number((kind, value.node, id(value.outer), value.owner, own), value.outer)
        else:
            raise Incomparable
        place = value.place
        return self.gallery.number((kind, id(place), self.mark(value), told, self._named(value.cells)), place)

    def _named(self, values: Mapping[str, Value]) -> Hashable:
        of = self.of
        return tuple([(name, of(each)) for name, each in values.items()])

    def _op(self, name: str) -> Hashable:
        return self.ids.setdefault(name, len(self.ids)), *[name in each for each in self.told]

    def _constant(self, value: Any) -> Hashable:
        kind: type = type(value)
        if kind in _ATOMS:
            return kind, value
        if kind is float:
            return repr(value)  # which tells zeros by their sign, and is the same for all that are not a number
        if kind is range:
            return kind, value.start, value.stop, value.step
        if kind is tuple or kind is list:
            return kind, tuple([self._constant(each) for each in value])
        raise Incomparable


def like(value: Any, ids: Mapping[str, str], objects: dict[int, Any]) -> Any:
    """A value like this one, made of other ops and objects.

    Raises:
        Incomparable: it is made of more than those.
    """
    kind = type(value)
    if kind is TensorRef:
        try:
            return TensorRef(tuple([ids[name] for name in value.ids]))
        except KeyError:
            raise Incomparable from None
    if kind in (Constant, Unknown, External, Weight, Definition):
        return value
    if kind is Either:
        return Either(tuple([like(each, ids, objects) for each in value.options]))
    if kind is Several:
        return Several(like(value.item, ids, objects))
    if kind is Maybe:
        return Maybe(tuple([like(each, ids, objects) for each in value.items]))
    if id(value) in objects:
        return objects[id(value)]
    if kind is Bound:
        return Bound(like(value.receiver, ids, objects), value.name)
    made: Any
    if kind is Items:
        made = objects[id(value)] = Items(Cells(items=()), value.mutable)
        made.cells["items"] = tuple([like(each, ids, objects) for each in value.items])
    elif kind is Entries or (kind is Instance and not value.is_module and value.base is None):
        made = Entries(Cells()) if kind is Entries else Instance(value.place, definition=value.definition)
        objects[id(value)] = made
        made.cells.update({name: like(each, ids, objects) for name, each in value.cells.items()})
    else:
        raise Incomparable
    return made


def twin(value: Any, objects: dict[int, Any]) -> Any:
    """A copy of a value and of all that it holds, but for those of `objects` that have a copy.

    Raises:
        Incomparable: it holds something that may belong to others.
    """
    kind = type(value)
    if kind in (Constant, Unknown, External, Weight, Definition):
        return value
    if id(value) in objects:
        return objects[id(value)]
    if kind is Either:
        return Either(tuple([twin(each, objects) for each in value.options]))
    if kind is Several:
        return Several(twin(value.item, objects))
    if kind is Maybe:
        return Maybe(tuple([twin(each, objects) for each in value.items]))
    if kind is Bound:
        return Bound(twin(value.receiver, objects), value.name)
    if kind is Partial:
        args = tuple([twin(each, objects) for each in value.args])
        made = objects[id(value)] = Partial(
            twin(value.callee, objects), args, {name: twin(value.kwargs[name], objects) for name in value.kwargs}
        )
        return made
    if kind is Function and value.outer is None and value.owner is None:
        return value
    if (
        kind not in (Items, Entries, Instance, LayerValue, Container, Function)
        or getattr(value, "outer", None) is not None
    ):
        raise Incomparable
    made = objects[id(value)] = object.__new__(kind)
    made.__dict__.update(value.__dict__)
    if kind is Function:
        made.instance = value.instance and twin(value.instance, objects)
        return made
    made.cells = _twins(value.cells, objects)
    if kind is Items:
        made.cells["items"] = tuple([twin(each, objects) for each in value.items])
    elif kind is LayerValue:
        made.args = tuple([twin(each, objects) for each in value.args])
        made.kwargs = {name: twin(value.kwargs[name], objects) for name in value.kwargs}
    elif kind is Container:
        made.entries = _twins(value.entries, objects)
    elif kind is Instance and value.base is not None:
        made.base = twin(value.base, objects)
    return made


def _twins(cells: Cells, objects: dict[int, Any]) -> Cells:
    found = Cells({name: twin(each, objects) for name, each in cells.items() if not isinstance(each, tuple)})
    found.doubtful = cells.doubtful
    return found
