"""Run a callback after a module's import by other code; never import the module itself."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportHook:
    """A meta path finder that runs `act` after the import of the named module, or at once if it is imported already."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._name, self._act = name, act

    def install(self) -> None:
        """Run the callback if the module is imported already, or wait for its import."""
        if self._name in sys.modules:
            self._act()
        else:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Stop waiting."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns the other finders' spec, with a loader that runs the callback after the module."""
        if name != self._name:
            return None
        others = (each for each in sys.meta_path if each is not self)
        spec = next(filter(None, (each.find_spec(name, path, target) for each in others)), None)
        loader: Any = spec and spec.loader
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                # The module keeps its loader, so remove the wrapper from it.
                vars(loader).pop("exec_module", None)
                load(module)
                if self in sys.meta_path:
                    self.remove()
                    self._act()

            with contextlib.suppress(AttributeError):
                loader.exec_module = exec_module
        return spec
