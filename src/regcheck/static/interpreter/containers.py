"""Lists, dicts and containers of modules: filling them, and their methods."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from .constant_folding import LARGEST
from .expressions import Expressions
from .values import OPEN, Constant, Container, Entries, Items, Maybe, Several, Unknown, Value

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]


class Sequences(Expressions):
    """The evaluator of what holds other values."""

    def fill(self, container: Container, args: Args) -> None:
        """Give a container its first items."""
        if args and (container.name != "Sequential" or isinstance(args[0], Entries)):
            given = args[0]
            if isinstance(given, Entries):
                for name, value in given.cells.items():
                    if name != OPEN:
                        self.set(container.entries, name, value)
                return
            args = self.iterated(given)
            named = [
                each.items for each in args if isinstance(each, Items) and not each.mutable and len(each.items) == 2
            ]
            if named and len(named) == len(args):
                for key, value in named:
                    self.set(container.entries, str(key.value) if isinstance(key, Constant) else "*", value)
                return
        self.extend(container, args)

    def extend(self, container: Container, values: Sequence[Value]) -> None:
        """Add to a container; of more than `LARGEST` entries no more is known than that there are some."""
        if len(container.entries) + len(values) > LARGEST:
            values = (Several(Unknown(varies=True)),) if len(container.entries) <= LARGEST else ()
        self.spend(len(container.entries))
        exact = not self.doubts and not any(name.startswith("*") for name in container.entries)
        for each in values:
            self.steps += 1
            exact = exact and not isinstance(each, (Several, Maybe))
            self.set(container.entries, f"{'' if exact else '*'}{len(container.entries)}", each)

    def zipped(self, columns: Sequence[tuple[Value, ...]]) -> Value:
        length = max((len(each) for each in columns if not _is_open(each)), default=1)
        self.steps += length
        rows = []
        for index in range(length):
            row = [each[min(index, len(each) - 1)] if each else Unknown() for each in columns]
            rows.append(
                Items.of(tuple(each.item if isinstance(each, Several) else each for each in row), mutable=False)
            )
        return Items.of(tuple(rows) if not all(map(_is_open, columns)) else (Several(rows[0]),))

    def dictionary(self, args: Args, kwargs: Kwargs) -> Value:
        cells: dict[str, Value] = {}
        if args and isinstance(args[0], Entries):
            cells.update(args[0].cells)
        elif args:
            for each in self.iterated(args[0]):
                pair = each.items if isinstance(each, Items) and len(each.items) == 2 else (Unknown(), Unknown())
                key = pair[0]
                cells[str(key.value) if isinstance(key, Constant) else OPEN] = pair[1]
        return Entries.of({**cells, **kwargs})

    def container_method(self, container: Container, name: str, args: Args) -> Value | None:
        entries = container.entries
        if name == "append" and args:
            self.extend(container, args[:1])
            return container
        if name == "extend" and args:
            self.extend(container, self.iterated(args[0]))
            return container
        if name in ("values", "children"):
            return Items.of(tuple(entries.values()))
        if name == "keys":
            return Items.of(tuple(Constant(key) for key in entries))
        if name in ("items", "named_children"):
            return Items.of(tuple(Items.of((Constant(key), value), mutable=False) for key, value in entries.items()))
        return None

    def list_method(self, owner: Items, name: str, args: Args, node: ast.AST) -> Value:
        changed: tuple[Value, ...] | None = None
        if name == "append" and len(args) == 1:
            changed = self.bounded((*owner.items, args[0]))
        elif name == "extend" and len(args) == 1:
            changed = self.bounded((*owner.items, *self.iterated(args[0])))
        elif name == "insert" and len(args) == 2 and args[0] == Constant(0):
            changed = self.bounded((args[1], *owner.items))
        elif name == "pop" and owner.items and owner.exact and args in ((), (Constant(0),), (Constant(-1),)):
            index = 0 if args == (Constant(0),) else -1
            found = owner.items[index]
            self.set(owner.cells, "items", self.bounded(owner.items[1:] if index == 0 else owner.items[:-1]))
            return found
        elif name == "copy":
            return Items.of(owner.items)
        elif name in ("index", "count"):
            return Unknown(varies=True)
        else:
            self.set(owner.cells, "items", (Several(self.opaque(owner.items, node)),))
            return self.opaque((*owner.items, *args), node)
        self.set(owner.cells, "items", changed)
        return Constant(None)

    def dict_method(self, owner: Entries, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        cells = owner.cells
        self.spend(len(cells))
        known = {key: value for key, value in cells.items() if key != OPEN}
        more: tuple[Value, ...] = (Several(Unknown(varies=True)),) if OPEN in cells else ()
        if name == "items":
            pairs = tuple(Items.of((Constant(key), value), mutable=False) for key, value in known.items())
            return Items.of((*pairs, *(Several(Items.of((Unknown(), Unknown()), mutable=False)) for _ in more)))
        if name == "keys":
            return Items.of((*(Constant(key) for key in known), *more))
        if name == "values":
            return Items.of((*known.values(), *more))
        if name in ("get", "pop", "setdefault") and args and isinstance(args[0], Constant):
            key = str(args[0].value)
            default = args[1] if len(args) > 1 else Constant(None)
            found: Value = cells.get(key, Unknown() if OPEN in cells else default)
            if name == "setdefault":
                self.set(cells, key, found)
            return found
        if name == "update":
            for each in args:
                for key, value in (each.cells if isinstance(each, Entries) else {OPEN: Unknown()}).items():
                    self.set(cells, key, value)
            for key, value in kwargs.items():
                self.set(cells, key, value)
            return Constant(None)
        if name == "copy":
            return Entries.of(dict(cells))
        return self.opaque((*cells.values(), *args), node)


def paired(index: int, value: Value) -> Value:
    if isinstance(value, (Several, Maybe)):
        inner = value.item if isinstance(value, Several) else value.items[0]
        return Several(Items.of((Unknown(varies=True), inner), mutable=False))
    return Items.of((Constant(index), value), mutable=False)


def _is_open(column: tuple[Value, ...]) -> bool:
    return len(column) == 1 and isinstance(column[0], Several)
