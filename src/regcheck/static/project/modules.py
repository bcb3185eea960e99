"""Finds the files that import statements name."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from copy import copy
from pathlib import Path

from .files import Source


class Modules:
    """The files of a project by their dotted names and by their places; `reached` are those that were asked for."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.reached: set[Source] = set()
        self._by_file: dict[str, Source] = {}
        self._by_tail: dict[str, list[Source]] = {}
        self._by_folder: dict[Path, list[Source]] = {}
        self._relative: dict[tuple[str, int, str], Source | str] = {}
        """What relative imports name, memoized by the folder of the file, the dots and the name."""
        self._named: dict[tuple[str, Source | None], Source | None] = {}
        for source in sources:
            self._by_file[str(source.file)] = source
            self._by_tail.setdefault(source.tail, []).append(source)
            home = source.file.parent
            self._by_folder.setdefault(home.parent if source.is_package else home, []).append(source)

    def named(self, dotted: str, near: Source | None = None) -> Source | None:
        """The file with a dotted name; of several, the one that shares the most folders with `near`."""
        key = dotted, near
        if key not in self._named:
            self._named[key] = self._find(dotted, near)
        module = self._named[key]
        if module is not None:
            self.reached.add(module)
        return module

    def recording(self) -> Modules:
        """The same files; `reached` begins empty."""
        recording = copy(self)
        recording.reached = set()
        return recording

    def _find(self, dotted: str, near: Source | None) -> Source | None:
        parts = dotted.split(".")
        if parts[0] == "torch":
            return None
        matching = []
        for source in self._by_tail.get(parts[-1], ()):
            file = source.file
            tail = file.parent.parts if source.is_package else (*file.parent.parts, file.stem)
            loose = len(parts) > 1 or "." not in source.module
            if source.module == dotted or (loose and tail[-len(parts) :] == tuple(parts)):
                matching.append((_common(near, source), source))
        return max(matching, key=lambda pair: pair[0])[1] if matching else None

    def below(self, package: Source) -> Iterator[Source]:
        """The files and the packages in the folder of a package."""
        return iter(self._by_folder.get(package.file.parent, ()))

    def imported(self, source: Source, level: int, module: str) -> Source | str:
        """The file that `from … import` names in a file, or else its dotted name; `level` counts the leading dots."""
        if not level:
            return self.named(module, source) or module
        key = source.folder, level, module
        if key not in self._relative:
            self._relative[key] = self._find_relative(source, level, module)
        imported = self._relative[key]
        if isinstance(imported, Source):
            self.reached.add(imported)
        return imported

    def _find_relative(self, source: Source, level: int, module: str) -> Source | str:
        package = source.module.split(".") if source.is_package else source.module.split(".")[:-1]
        package = package[: len(package) - level + 1]
        dotted = ".".join((*package, *filter(None, [module])))
        if dotted.split(".")[0] == "torch":
            return dotted
        folder = source.folder
        for _ in range(level - 1):
            folder = os.path.dirname(folder)
        target = os.path.join(folder, *module.split(".")) if module else folder
        file = self._by_file.get(f"{target}.py") or self._by_file.get(os.path.join(target, "__init__.py"))
        return dotted if file is None else file


def _common(near: Source | None, source: Source) -> int:
    if near is None:
        return 0
    pairs = zip(near.file.parts, source.file.parts, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), 99)
