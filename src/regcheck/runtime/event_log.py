"""The ordered events of a program, without the repetitions that tell nothing new."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from regcheck.core.usage import Backward, Called, Event, ModeSet, Stepped


class Log:
    """Keeps events such that every question that `Usage` answers has the same answer as with all of them.

    A call without gradients is kept when it is new, or when the mode asked for just before it is, and one that finds
    thawed parts when it is new. Everything else is context: of equal events between two calls that are kept, the latest
    is. Events are told apart by identity, which is quick: `once` makes equal ones the same.
    """

    def __init__(self) -> None:
        self._kept: list[Event] = []
        self._context: dict[int, Event] = {}
        self._met: set[tuple[int, bool | None]] = set()
        self._asked: dict[str, bool] = {}
        self._made: dict[Hashable, Event] = {}

    def __bool__(self) -> bool:
        return bool(self._kept or self._context)

    def once(self, key: Hashable, make: Callable[[], Event]) -> Event:
        """The event that was made under this key, or a new one."""
        event = self._made.get(key)
        if event is None:
            made = make()
            event = self._made[key] = self._made.setdefault(made, made)
        return event

    def add(self, event: Event) -> None:
        """Write down an event that `once` gave."""
        if isinstance(event, Called) and (not event.grad or event.unpinned):
            met = (id(event), None if event.grad else self._asked.get(event.model.key))
            if met not in self._met:
                self._met.add(met)
                self._kept += (*self._context.values(), event)
                self._context.clear()
            if not event.grad:
                return
        if isinstance(event, ModeSet):
            self._asked[event.model.key] = event.training
        elif isinstance(event, (Backward, Stepped, Called)):
            self._asked.clear()
        self._context.pop(id(event), None)
        self._context[id(event)] = event

    def events(self) -> tuple[Event, ...]:
        """All that was kept."""
        return (*self._kept, *self._context.values())
