"""The ordered events of a program, without the repetitions that tell nothing new."""

from __future__ import annotations

from regcheck.core.usage import Backward, Called, Event, ModeSet, Stepped


class Log:
    """Keeps events such that every question that `Usage` answers has the same answer as with all of them.

    A call without gradients is kept when it is new, or when the mode asked for just before it is. Everything else is
    context: of equal events between two calls that are kept, the latest is.
    """

    def __init__(self) -> None:
        self._kept: list[Event] = []
        self._context: dict[Event, None] = {}
        self._met: set[tuple[Called, bool | None]] = set()
        self._asked: dict[str, bool] = {}

    def add(self, event: Event) -> None:
        """Write an event down."""
        if isinstance(event, Called) and not event.grad:
            met = (event, self._asked.get(event.model.key))
            if met not in self._met:
                self._met.add(met)
                self._kept += (*self._context, event)
                self._context.clear()
            return
        if isinstance(event, ModeSet):
            self._asked[event.model.key] = event.training
        elif isinstance(event, (Backward, Stepped, Called)):
            self._asked.clear()
        self._context.pop(event, None)
        self._context[event] = None

    def events(self) -> tuple[Event, ...]:
        """All that was kept."""
        return (*self._kept, *self._context)
