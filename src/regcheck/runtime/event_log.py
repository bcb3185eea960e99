"""The ordered events of a program, without repetitions that add no information."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from regcheck.core.usage import Backward, Called, Event, ModeSet, Stepped


class UsageLog:
    """Stores a subset of the events for which every question of `Usage` has the same answer as for all events.

    A call without gradients is stored when the call, or the mode requested before it, is new; a call with unpinned
    parts when the call is new. Other events are context: of equal ones between two stored calls, only the latest is
    stored. Events are compared by identity, which is fast; `intern` makes equal events identical.
    """

    def __init__(self) -> None:
        self._stored: list[Event] = []
        self._context: dict[int, Event] = {}
        self._calls: set[tuple[int, bool | None]] = set()
        self._requested_modes: dict[str, bool] = {}
        self._interned: dict[Hashable, Event] = {}

    def __bool__(self) -> bool:
        return bool(self._stored or self._context)

    def intern(self, key: Hashable, make: Callable[[], Event]) -> Event:
        """The event interned under this key, else the one that `make` returns."""
        event = self._interned.get(key)
        if event is None:
            new = make()
            event = self._interned[key] = self._interned.setdefault(new, new)
        return event

    def add(self, event: Event) -> None:
        """Append an event that `intern` returned."""
        if isinstance(event, Called) and (not event.grad or event.unpinned):
            call = (id(event), None if event.grad else self._requested_modes.get(event.model.key))
            if call not in self._calls:
                self._calls.add(call)
                self._stored += (*self._context.values(), event)
                self._context.clear()
            if not event.grad:
                return
        if isinstance(event, ModeSet):
            self._requested_modes[event.model.key] = event.training
        elif isinstance(event, (Backward, Stepped, Called)):
            self._requested_modes.clear()
        self._context.pop(id(event), None)
        self._context[id(event)] = event

    def events(self) -> tuple[Event, ...]:
        """All stored events, in order."""
        return (*self._stored, *self._context.values())
