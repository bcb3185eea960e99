"""Values of which train mode shows one side and eval mode another, so that one run of a forward can stand for both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from regcheck.core.graph import Mode

from .values import Value


class ModeTracker:
    """The mode that a forward is run in, and whether anything that it did may have depended on that."""

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.looked = False

    @property
    def other(self) -> Mode:
        return Mode.EVAL if self.mode is Mode.TRAIN else Mode.TRAIN

    @contextmanager
    def turned(self) -> Iterator[None]:
        """Show the other side of everything."""
        self.mode = self.other
        try:
            yield
        finally:
            self.mode = self.other


class ByMode:
    """A value of two sides. Whoever asks what it is, or anything of it, is shown one of them, and that is noted.

    So it may be handed on as it is; code that knows nothing of sides takes it for the value of the mode at hand.
    """

    __slots__ = ("evaluation", "sight", "train")

    def __init__(self, sight: ModeTracker, train: Value, evaluation: Value) -> None:
        self.sight, self.train, self.evaluation = sight, train, evaluation

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._shown())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown(), name)

    def __eq__(self, other: object) -> bool:
        return self._shown() == other

    def __hash__(self) -> int:
        return hash(self._shown())

    def _shown(self) -> Value:
        self.sight.looked = True
        return self.train if self.sight.mode is Mode.TRAIN else self.evaluation


def side(value: Any, mode: Mode) -> Any:
    """What a value is in that mode."""
    if type(value) is not ByMode:
        return value
    return value.train if mode is Mode.TRAIN else value.evaluation
