"""Act once a module has been imported, by whomever: the module itself is never imported from here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportHook:
    """Finds modules as always, and acts once the one of that name has been imported: at once where it has been."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._name, self._act = name, act

    def install(self) -> None:
        """Act, or begin to wait."""
        if self._name in sys.modules:
            self._act()
        else:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the others find; its loader acts after it has executed the module."""
        if name != self._name:
            return None
        others = (each for each in sys.meta_path if each is not self)
        spec = next(filter(None, (each.find_spec(name, path, target) for each in others)), None)
        loader: Any = spec and spec.loader
        if loader is not None:
            load = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                # The loader is the module's for good, so it keeps no trace.
                vars(loader).pop("exec_module", None)
                load(module)
                if self in sys.meta_path:
                    self.remove()
                    self._act()

            with contextlib.suppress(AttributeError):
                loader.exec_module = exec_module
        return spec
