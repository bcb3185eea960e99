"""Lists, dicts and containers of modules: their items, their methods, and what builds them."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterable, Sequence

from .constant_folding import LARGEST
from .domain import Args, Kwargs
from .part import Part
from .values import (
    ANY_ITEMS,
    FIXED,
    NONE,
    OPEN,
    VARYING,
    Constant,
    Container,
    Entries,
    Instance,
    Items,
    Maybe,
    Module,
    Origin,
    ParameterOf,
    Parameters,
    Setting,
    Several,
    TensorRef,
    Unknown,
    Value,
    by_default,
    computed_from,
    element,
)

_LONGEST_REPEAT = 200
"""A constant of more items, or a list repeated to more, is not taken apart."""


class Containers(Part):
    """Reads and changes values that contain other values."""

    def limited(self, items: tuple[Value, ...]) -> tuple[Value, ...]:
        """The items of a new list; of more than `LARGEST` nothing is known."""
        self.state.spend(len(items))
        return items if len(items) <= LARGEST else ANY_ITEMS

    def items_of(self, value: Value) -> tuple[Value, ...]:
        """The items that iterating a value gives; a module's parameters are followed as one of them."""
        if isinstance(value, Items):
            return value.items
        if isinstance(value, Instance) and isinstance(value.base, Container):
            value = value.base
        if isinstance(value, Container):
            if value.name == "ModuleDict":
                return tuple([Constant(name) for name in value.entries])
            return tuple(value.entries.values())
        if isinstance(value, Entries):
            keys = [Constant(key) for key in value.cells if key != OPEN]
            return (*keys, *ANY_ITEMS) if OPEN in value.cells else tuple(keys)
        if isinstance(value, Constant) and isinstance(value.value, (str, range, tuple, list)):
            return tuple(map(Constant, value.value)) if len(value.value) < _LONGEST_REPEAT else (Several(FIXED),)
        if isinstance(value, TensorRef):
            return (Several(value),)
        items = self.domain.items_of(value)
        if items is None and isinstance(value, Parameters):
            return (ParameterOf(True, value.owner),)
        return items if items is not None else (Several(Unknown(isinstance(value, Unknown) and value.varies)),)

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        """`owner[key]`."""
        if isinstance(key, Setting) and isinstance(owner, (Entries, Items, Constant)):
            value = self.item(owner, key.default, node)
            if not isinstance(value, Module) and value != FIXED:
                return computed_from((key,), value)
        if isinstance(owner, Instance) and isinstance(owner.base, Container):
            owner = owner.base
        if isinstance(owner, Container):
            return self._entry(owner, key)
        if isinstance(owner, Items):
            items = owner.items
            if isinstance(key, Constant) and isinstance(key.value, int) and owner.exact:
                return items[key.value] if -len(items) <= key.value < len(items) else FIXED
            return self.any_of(items)
        if isinstance(owner, Entries) and isinstance(key, Constant):
            entry: Value = owner.cells.get(str(key.value), FIXED)
            return entry
        if isinstance(owner, Entries) and owner.cells:
            return self.state.join([*owner.cells.values()])
        if isinstance(owner, Constant) and isinstance(key, Constant):
            return self.state.compute(operator.getitem, owner.value, key.value)
        return self.domain.item(owner, key, node)

    def _entry(self, container: Container, key: Value) -> Value:
        """The module, or one of the modules, that a key selects."""
        entries = container.entries
        if isinstance(key, Constant):
            name, names = key.value, [*entries]
            are_exact = not any(each.startswith("*") for each in names)
            if isinstance(name, int) and are_exact and -len(names) <= name < len(names):
                name = names[name]
            if name in entries:
                entry: Value = entries[name]
                return entry
        return self.any_of(entries.values())

    def any_of(self, items: Iterable[Value]) -> Value:
        """The join of all items."""
        return self.state.join([element(each) for each in items] or [FIXED])

    def slice_of(self, owner: Items, bounds: Sequence[Value]) -> Value:
        """`owner[lower:upper:step]`."""
        numbers = [each.value for each in bounds if isinstance(each, Constant)]
        if not owner.exact or len(numbers) < len(bounds):
            return Items.of((Several(self.any_of(owner.items)),))
        try:
            return Items.of(self.limited(owner.items[slice(*numbers)]))
        except (TypeError, ValueError):
            return VARYING

    def repeat(self, items: Items, times: Value) -> Items:
        """`items * times`."""
        number = times.value if isinstance(times, Constant) and isinstance(times.value, int) else None
        if number is not None and number * len(items.items) <= _LONGEST_REPEAT:
            return Items.of(items.items * max(min(number, _LONGEST_REPEAT), 0))
        return Items.of(tuple([each if isinstance(each, Several) else Several(each) for each in items.items]))

    def fill(self, container: Container, args: Args) -> None:
        """Gives a new container its entries from its constructor's arguments."""
        if args and (container.name != "Sequential" or isinstance(args[0], Entries)):
            first = args[0]
            if isinstance(first, Entries):
                for name, value in first.cells.items():
                    if name != OPEN:
                        self.state.set(container.entries, name, value)
                return
            args = self.items_of(first)
            pairs = [
                each.items for each in args if isinstance(each, Items) and not each.mutable and len(each.items) == 2
            ]
            if pairs and len(pairs) == len(args):
                for key, value in pairs:
                    self.state.set(container.entries, str(key.value) if isinstance(key, Constant) else "*", value)
                return
        self.extend(container, args)

    def extend(self, container: Container, values: Sequence[Value]) -> None:
        """Adds modules to a container; beyond `LARGEST` entries it only notes that there are more."""
        state, entries = self.state, container.entries
        if len(entries) + len(values) > LARGEST:
            values = ANY_ITEMS if len(entries) <= LARGEST else ()
        state.spend(len(entries))
        state.steps += len(values)
        is_exact = not state.doubts and not any(name.startswith("*") for name in entries)
        for each in values:
            is_exact = is_exact and not isinstance(each, (Several, Maybe))
            state.set(entries, f"{'' if is_exact else '*'}{len(entries)}", each)

    def zipped(self, values: Args) -> Value:
        """`zip(*values)`: as many rows as the shortest value has items, of those whose number of items is certain."""
        columns = [self.items_of(each) for each in values]
        are_open = [len(each) == 1 and isinstance(each[0], Several) for each in columns]
        lengths = [len(each) for each, is_open in zip(columns, are_open, strict=True) if not is_open]
        certain = [
            len(each)
            for value, each, is_open in zip(values, columns, are_open, strict=True)
            if not is_open and is_of_certain_length(value)
        ]
        length = min(certain) if certain else max(lengths, default=1)
        self.state.steps += length
        rows = []
        for index in range(length):
            row = [each[min(index, len(each) - 1)] if each else FIXED for each in columns]
            rows.append(
                Items.of(tuple([each.item if isinstance(each, Several) else each for each in row]), mutable=False)
            )
        return Items.of((Several(rows[0]),) if all(are_open) else tuple(rows))

    def enumerate_items(self, items: tuple[Value, ...]) -> Value:
        """`enumerate(items)`."""
        self.state.steps += len(items)
        pairs: list[Value] = []
        for index, each in enumerate(items):
            if isinstance(each, (Several, Maybe)):
                pairs.append(Several(Items.of((VARYING, element(each)), mutable=False)))
            else:
                pairs.append(Items.of((Constant(index), each), mutable=False))
        return Items.of(tuple(pairs))

    def dictionary(self, args: Args, kwargs: Kwargs) -> Value:
        """`dict(*args, **kwargs)`."""
        cells: dict[str, Value] = {}
        if args and isinstance(args[0], Entries):
            cells.update(args[0].cells)
        elif args:
            for each in self.items_of(args[0]):
                key, value = each.items if isinstance(each, Items) and len(each.items) == 2 else (FIXED, FIXED)
                cells[str(key.value) if isinstance(key, Constant) else OPEN] = value
        return Entries.of({**cells, **kwargs})

    def container_method(self, container: Container, name: str, args: Args) -> Value | None:
        """A method of a container of modules; None for one that every module has."""
        entries = container.entries
        if name in ("append", "extend") and args:
            self.extend(container, args[:1] if name == "append" else self.items_of(args[0]))
            return container
        if name in ("values", "children"):
            return Items.of(tuple(entries.values()))
        if name == "keys":
            return Items.of(tuple([Constant(key) for key in entries]))
        if name in ("items", "named_children"):
            return Items.of(tuple([Items.of((Constant(key), entries[key]), mutable=False) for key in entries]))
        return None

    def setting_of(self, owner: Value, name: Value, default: Value, node: ast.AST) -> Setting | None:
        """What `getattr` or `get` returns for an unknown object and a default; None if the default tells little."""
        telling = isinstance(default, Constant) and type(default.value) in (int, float, str)
        if not isinstance(owner, Unknown) or not isinstance(name, Constant) or not telling:
            return None
        return Setting(default=default, origin=Origin(str(name.value), self.state.place(node)))

    def list_method(self, owner: Items, name: str, args: Args, node: ast.AST) -> Value:
        items = owner.items
        if name == "append" and len(args) == 1:
            changed = self.limited((*items, args[0]))
        elif name == "extend" and len(args) == 1:
            changed = self.limited((*items, *self.items_of(args[0])))
        elif name == "insert" and len(args) == 2 and args[0] == Constant(0):
            changed = self.limited((args[1], *items))
        elif name == "pop" and items and owner.exact and args in ((), (Constant(0),), (Constant(-1),)):
            is_first = args == (Constant(0),)
            self.state.set(owner.cells, "items", self.limited(items[1:] if is_first else items[:-1]))
            return items[0 if is_first else -1]
        elif name == "copy":
            return Items.of(items)
        elif name in ("index", "count"):
            return VARYING
        else:
            self.state.set(owner.cells, "items", (Several(self.domain.opaque(items, node)),))
            return self.domain.opaque((*owner.items, *args), node)
        self.state.set(owner.cells, "items", changed)
        return NONE

    def dict_method(self, owner: Entries, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        cells, state = owner.cells, self.state
        state.spend(len(cells))
        entries = {key: value for key, value in cells.items() if key != OPEN}
        is_open = OPEN in cells
        if name == "items":
            pairs = [Items.of((Constant(key), value), mutable=False) for key, value in entries.items()]
            others = (Several(Items.of((FIXED, FIXED), mutable=False)),) if is_open else ()
            return Items.of((*pairs, *others))
        if name == "keys":
            return Items.of((*map(Constant, entries), *(ANY_ITEMS if is_open else ())))
        if name == "values":
            return Items.of((*entries.values(), *(ANY_ITEMS if is_open else ())))
        if name in ("get", "pop", "setdefault") and args and isinstance(by_default(args[0]), Constant):
            asked = by_default(args[0])
            key = str(asked.value) if isinstance(asked, Constant) else ""
            default = args[1] if len(args) > 1 else NONE
            value: Value
            if key in cells or not is_open:
                value = computed_from((args[0],), cells.get(key, default))
            else:
                value = self.setting_of(FIXED, asked, default, node) or FIXED
            if name == "setdefault":
                state.set(cells, key, value)
            return value
        if name == "update":
            if not all(isinstance(each, Entries) and OPEN not in each.cells for each in args) or OPEN in kwargs:
                self.options.forget(cells)
            for each in args:
                for key, value in (each.cells if isinstance(each, Entries) else {OPEN: FIXED}).items():
                    state.set(cells, key, value)
            for key, value in kwargs.items():
                state.set(cells, key, value)
            return NONE
        if name == "copy":
            return Entries.of(dict(cells))
        return self.domain.opaque((*cells.values(), *args), node)


def is_of_certain_length(value: Value) -> bool:
    """Whether as many items are known of a sequence as it has."""
    value = by_default(value)
    if isinstance(value, Container):
        return not any(name.startswith("*") for name in value.entries)
    return isinstance(value, Constant) or (isinstance(value, Items) and value.exact)
