"""References to objects that the program may release before regcheck examines them."""

from __future__ import annotations

import weakref
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class RevivableRef(Generic[T]):
    """A weak reference that can rebuild its object from the object's attributes.

    The program sees the object die when it releases the last reference. With `weak_only`, or where the object has a
    finalizer, the attributes are not held, and the object cannot be rebuilt.
    """

    def __init__(self, it: T, weak_only: bool = False) -> None:
        self._it = weakref.ref(it)
        self._class = type(it)
        self._state: dict[str, Any] | None = None if weak_only or hasattr(self._class, "__del__") else vars(it)

    @property
    def name(self) -> str:
        """The name of the object's class."""
        return self._class.__name__

    def get(self) -> T | None:
        """The object, or a new one of the same class and attributes; None where neither is available."""
        it = self._it()
        if it is None and self._state is not None:
            it = object.__new__(self._class)
            object.__setattr__(it, "__dict__", self._state)
        return it
