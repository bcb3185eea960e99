"""Names the outputs of a model."""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.static.interpreter.values import Either, Entries, Instance, Items, Maybe, Several, TensorRef, Value


def named_outputs(value: Value, name: str, depth: int = 0, seen: set[int] | None = None) -> Iterator[tuple[str, str]]:
    """The ops of a result, each with the name of its part of the result; a value that occurs twice is named once."""
    seen = set() if seen is None else seen
    if isinstance(value, TensorRef):
        yield from ((name, each) for each in value.ids)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Items):
        for index, each in enumerate(value.items):
            yield from named_outputs(each, f"{name}[{index}]", depth + 1, seen)
    elif isinstance(value, Entries):
        for key, each in value.cells.items():
            yield from named_outputs(each, key if depth == 0 else f"{name}[{key!r}]", depth + 1, seen)
    elif isinstance(value, Instance) and depth < 4:
        for key, each in value.cells.items():
            yield from named_outputs(each, key, depth + 1, seen)
    elif isinstance(value, (Several, Either, Maybe)):
        options = (
            (value.item,) if isinstance(value, Several) else value.options if isinstance(value, Either) else value.items
        )
        for each in options:
            yield from named_outputs(each, name, depth + 1, seen)
