"""Import regcheck's modules without pytest, which rewrites the assertions of a plugin's whole distribution."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import pytest


class PlainImports:
    """A meta path finder that imports regcheck's modules as Python does, from the bytecode that an installer writes.

    Rewriting takes 5 ms a module in every session that finds no bytecode of pytest's own, as in CI. `regcheck.testing`
    stays with pytest: its assertions are for a test's author.
    """

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec of a module of regcheck; None for any other, which leaves it to the other finders."""
        if name.startswith("regcheck.") and name != "regcheck.testing":
            return PathFinder.find_spec(name, path, target)
        return None


def begin(config: pytest.Config) -> None:
    """Import plainly until the session ends."""
    finder = PlainImports()
    sys.meta_path.insert(0, finder)
    config.add_cleanup(lambda: sys.meta_path.remove(finder))
