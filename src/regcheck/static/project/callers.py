"""Finds the files whose text calls a function or a class, by the name under which they call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from .files import Source


class Callers:
    """The files of a project by the names that they call. All copies of a project share one."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)

    def of(self, name: str) -> Sequence[Source]:
        """The files that call a name, in the order of the project."""
        return self._by_name.get(name.encode(), ())

    @cached_property
    def _by_name(self) -> Mapping[bytes, Sequence[Source]]:
        by_name: dict[bytes, list[Source]] = {}
        for source in self._sources:
            for name in source.called:
                by_name.setdefault(name, []).append(source)
        return by_name
