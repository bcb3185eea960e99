"""Objects that a program may let go of before they are looked at."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RevivableRef(Generic[T]):
    """Keeps what an object consists of, not the object: to the program it is gone when the program lets go of it.

    What has a finalizer, or is `light`, is not kept at all.
    """

    def __init__(self, it: T, light: bool = False) -> None:
        self._it = weakref.ref(it)
        self._class = type(it)
        self._state: dict[str, Any] | None = None if light or hasattr(self._class, "__del__") else vars(it)

    @property
    def name(self) -> str:
        """The name of the object's class."""
        return self._class.__name__

    def get(self) -> T | None:
        """The object, or another one of the same class and state; None where it is gone."""
        it = self._it()
        if it is None and self._state is not None:
            it = object.__new__(self._class)
            object.__setattr__(it, "__dict__", self._state)
        return it
