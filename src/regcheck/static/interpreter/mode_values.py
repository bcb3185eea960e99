"""Values that differ between train and eval mode, so that one run of a forward can stand for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from regcheck.core.graph import Mode

from .values import Value


class ModeTracker:
    """The mode that a forward runs in; `observed` says whether anything that it did may depend on the mode."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.observed = False

    @property
    def other(self) -> Mode:
        return Mode.EVAL if self.mode is Mode.TRAIN else Mode.TRAIN

    @contextmanager
    def switched(self) -> Iterator[None]:
        """Runs the block in the other mode."""
        self.mode = self.other
        try:
            yield
        finally:
            self.mode = self.other


class ByMode:
    """A proxy of one value in train mode and of another in eval mode.

    Reading its class or an attribute returns the current mode's, and records that the reader depends on the mode. A
    value that is only passed on records nothing, and code that knows nothing of modes takes it for an ordinary value.
    """

    __slots__ = ("evaluation", "tracker", "train")

    def __init__(self, tracker: ModeTracker, train: Value, evaluation: Value) -> None:
        self.tracker, self.train, self.evaluation = tracker, train, evaluation

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._current())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._current(), name)

    def __eq__(self, other: object) -> bool:
        return self._current() == other

    def __hash__(self) -> int:
        return hash(self._current())

    def _current(self) -> Value:
        self.tracker.observed = True
        return self.train if self.tracker.mode is Mode.TRAIN else self.evaluation


def in_mode(value: Any, mode: Mode) -> Any:
    """A value as it is in a mode; this records nothing."""
    if type(value) is not ByMode:
        return value
    return value.train if mode is Mode.TRAIN else value.evaluation
