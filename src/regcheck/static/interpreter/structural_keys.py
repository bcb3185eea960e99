"""Cache keys of calls, and copies of cached results.

Code cannot tell apart two values with the same key, so a call whose arguments have the key of an earlier call gives a
copy of its result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

from regcheck.static.project.names import Definition

from .calls import SELF_RETURNING
from .mode_values import ByMode
from .values import (
    Bound,
    Cells,
    Configuration,
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
    Namespace,
    Partial,
    Setting,
    Several,
    TensorRef,
    Unknown,
    UnknownObject,
    Value,
    Weight,
)

_OF_ALL_MODULES = SELF_RETURNING | frozenset(
    "train eval forward __call__ training add_module register_module register_parameter register_buffer".split()
)
"""The members of every module."""

LARGEST = 20_000
"""The key of a value with more parts than this costs more than it can save."""

_HASHABLE = frozenset((int, str, bytes, bool, type(None), type(...)))
_SHARED = frozenset((Constant, Unknown, Setting, Configuration, External, Weight, Definition))
"""Values that a copy shares with its original."""


class Incomparable(Exception):
    """A value has no key, or cannot be copied."""


class KeyInterner(dict[Hashable, int]):
    """Short names of keys, of which larger keys are composed.

    `referenced` keeps alive the objects whose ids are parts of keys: another object must not get the same id.
    """

    def __init__(self) -> None:
        super().__init__()
        self.referenced: list[object] = []

    def intern(self, key: Hashable, referenced: object = None) -> Hashable:
        if key not in self:
            self[key] = len(self)
            self.referenced.append(referenced)
        return (self[key],)


class StructuralKey:
    """The key of one call's arguments. It numbers ops and objects in the order in which they first occur.

    `module_key` tells apart modules by what is not part of them; `op_sets` tell apart ops by the sets that they are in.
    Afterwards `ids` holds the ops, `objects` the values with an identity, and `receivers` the modules that enter
    the key by their identity alone.
    """

    def __init__(self, interner: KeyInterner, module_key: Callable[[Module], Hashable], *op_sets: set[str]) -> None:
        self.interner = interner
        self.module_key = module_key
        self.op_sets = op_sets
        self.ids: dict[str, int] = {}
        self.objects: list[object] = []
        self.receivers: list[Instance] = []
        self._numbers: dict[int, int] = {}
        self._parts = 0

    def of_call(self, args: tuple[Value, ...], kwargs: Mapping[str, Value]) -> Hashable:
        """The key of a call's arguments.

        Raises:
            Incomparable: an argument has no key.
        """
        return tuple([self.of(each) for each in args]), self._named(kwargs)

    def of(self, value: Any) -> Hashable:
        """The key of a value.

        Raises:
            Incomparable: it has none.
        """
        self._parts += 1
        if self._parts > LARGEST:
            raise Incomparable
        kind: Any = type(value)
        if kind is Constant:
            return self._constant(value.value), value.default
        if kind is TensorRef:
            return tuple([self._op(name) for name in value.ids])
        if kind is Unknown or kind is UnknownObject:
            return bool(value.varies), bool(value.sizes)
        if kind is Setting:
            return kind, value.varies, self.of(value.default), value.origin
        if kind is Configuration:
            return kind, id(value)  # a project keeps its configurations
        if kind is External:
            return str(value.name)
        if kind is Weight:
            return Weight, value.requires_grad
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
        """The key of the object that a method belongs to.

        A module without such a method enters the key by its identity alone: no code can do anything with the method
        that depends on the module's contents. So a part does not depend on its whole model only because the model
        hands it a method of an inherited configuration.
        """
        receiver = value.receiver
        if type(receiver) is not Instance or receiver.base is not None or value.name in _OF_ALL_MODULES:
            return self.of(receiver)
        number = next((number for number, each in enumerate(self.receivers) if each is receiver), None)
        if number is None:
            self.receivers.append(receiver)
            return len(self.receivers) - 1
        return number

    def _object(self, value: Any, kind: type) -> Hashable:
        number = self._numbers.setdefault(id(value), len(self.objects))
        if number < len(self.objects):
            return kind, number
        self.objects.append(value)
        contents: Hashable
        if kind is Items:
            return kind, value.mutable, *map(self.of, value.items)
        if kind is Entries or kind is Namespace:
            return kind, self._named(value.cells)
        if kind is LayerValue:
            contents = value.name, *map(self.of, value.args), self._named(value.kwargs)
        elif kind is Container:
            contents = value.name, self._named(value.entries)
        elif kind is Instance:
            contents = id(value.definition), value.base and self.of(value.base)
        elif kind is Function:
            instance = value.instance and self.of(value.instance)
            return self.interner.intern((kind, value.node, id(value.outer), value.owner, instance), value.outer)
        else:
            raise Incomparable
        place = value.place
        key = kind, id(place), self.module_key(value), contents, self._named(value.cells)
        return self.interner.intern(key, place)

    def _named(self, values: Mapping[str, Value]) -> Hashable:
        of = self.of
        return tuple([(name, of(each)) for name, each in values.items()])

    def _op(self, name: str) -> Hashable:
        return self.ids.setdefault(name, len(self.ids)), *[name in each for each in self.op_sets]

    def _constant(self, value: Any) -> Hashable:
        kind: type = type(value)
        if kind in _HASHABLE:
            return kind, value
        if kind is float:
            return repr(value)  # tells -0.0 from 0.0, and is the same for every nan
        if kind is range:
            return kind, value.start, value.stop, value.step
        if kind is tuple or kind is list:
            return kind, tuple([self._constant(each) for each in value])
        raise Incomparable


def rebuild(value: Any, objects: dict[int, Any], ids: Mapping[str, str] | None = None) -> Any:
    """A copy of a value in which `objects`, by the ids of the originals, and the ops `ids` are replaced.

    Without `ids` the value comes from a constructor: it contains no ops, and its modules are copied. With `ids` it
    comes from a forward: a module in it must be one of the `objects`. `objects` receives the copies.

    Raises:
        Incomparable: the value contains something that cannot be copied, because other code may refer to it.
    """
    kind = type(value)
    if kind in _SHARED:
        return value
    if kind is TensorRef:
        if ids is None:
            raise Incomparable
        try:
            return TensorRef(tuple([ids[name] for name in value.ids]))
        except KeyError:
            raise Incomparable from None
    if id(value) in objects:
        return objects[id(value)]
    if kind is Either:
        return Either(_all(value.options, objects, ids))
    if kind is Several:
        return Several(rebuild(value.item, objects, ids))
    if kind is Maybe:
        return Maybe(_all(value.items, objects, ids))
    if kind is Bound:
        return Bound(rebuild(value.receiver, objects, ids), value.name)
    copy: Any
    if kind is Items:
        copy = objects[id(value)] = Items(Cells(items=()), value.mutable)
        copy.cells["items"] = _all(value.items, objects, ids)
        return copy
    is_module = kind in (LayerValue, Container, Function, Partial) or (
        kind is Instance and (value.is_module or value.base is not None)
    )
    if (is_module and ids is not None) or (not is_module and kind not in (Entries, Namespace, Instance)):
        raise Incomparable
    if kind is Partial:
        callee, args = rebuild(value.callee, objects, ids), _all(value.args, objects, ids)
        return Partial(callee, args, {name: rebuild(each, objects, ids) for name, each in value.kwargs.items()})
    if kind is Function and value.outer is not None:
        raise Incomparable
    if kind is Function and value.owner is None:
        return value
    copy = objects[id(value)] = object.__new__(kind)
    copy.__dict__.update(value.__dict__)
    if kind is Function:
        copy.instance = value.instance and rebuild(value.instance, objects, ids)
        return copy
    copy.cells = _cells(value.cells, objects, ids)
    if kind is LayerValue:
        copy.args = _all(value.args, objects, ids)
        copy.kwargs = {name: rebuild(each, objects, ids) for name, each in value.kwargs.items()}
    elif kind is Container:
        copy.entries = _cells(value.entries, objects, ids)
    elif kind is Instance and value.base is not None:
        copy.base = rebuild(value.base, objects, ids)
    return copy


def _all(values: tuple[Value, ...], objects: dict[int, Any], ids: Mapping[str, str] | None) -> tuple[Value, ...]:
    return tuple([rebuild(each, objects, ids) for each in values])


def _cells(cells: Cells, objects: dict[int, Any], ids: Mapping[str, str] | None) -> Cells:
    copy = Cells({name: rebuild(each, objects, ids) for name, each in cells.items()})
    copy.doubtful = cells.doubtful
    return copy
