"""The events of a program, each once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from regcheck.core.usage import Backward, Called, Event, ModeSet, Stepped

_Request = tuple[bool, frozenset[int]]
"""The mode that the program last set, and the ids of the calls with gradients since."""


class UsageLog:
    """Keeps each event once, in the order in which they first came.

    What depends on the order is noted as it happens: which mode the program had requested before a call, and which
    calls one training step follows. A call is kept once for each answer. Events are told apart by identity, which is
    quick: `intern` makes equal ones the same.
    """

    def __init__(self) -> None:
        self._events: dict[tuple[int, _Request | None], tuple[Event, _Request | None]] = {}
        self._modes: dict[str, tuple[bool, int]] = {}
        """For each model, the mode that the program last set since it trained, and how many events came before."""
        self._latest: dict[int, int] = {}
        """The calls with gradients since the program trained, by id: how many events came before the latest of each."""
        self._calls: dict[int, Called] = {}
        self._step: dict[int, tuple[Called, bool]] = {}
        """The calls with gradients since the last training step, by id, and whether they came more than once."""
        self._steps: dict[frozenset[tuple[int, bool]], list[tuple[Called, bool]]] = {}
        """The calls before each training step: once for all steps that follow the same calls."""
        self._count = 0
        self._interned: dict[Hashable, Event] = {}

    def __bool__(self) -> bool:
        return bool(self._events)

    def intern(self, key: Hashable, make: Callable[[], Event]) -> Event:
        """The event interned under this key, else the one that `make` returns."""
        event = self._interned.get(key)
        if event is None:
            new = make()
            event = self._interned[key] = self._interned.setdefault(new, new)
        return event

    def add(self, event: Event) -> None:
        """Append an event that `intern` returned."""
        request = self._request(event.model.key) if isinstance(event, Called) else None
        key = id(event), request
        if key not in self._events:
            self._events[key] = event, request
        self._count += 1
        if isinstance(event, Called) and event.grad:
            self._step[id(event)] = event, id(event) in self._step
        elif isinstance(event, (Backward, Stepped)):
            self._end_step()
        if isinstance(event, ModeSet):
            self._modes[event.model.key] = event.training, self._count
        elif isinstance(event, Called) and event.only_updates:
            self._modes.pop(event.model.key, None)
        elif isinstance(event, (Backward, Stepped)):
            self._modes.clear()
            self._latest.clear()
        elif isinstance(event, Called) and event.grad and self._modes:
            self._calls[id(event)] = event
            self._latest[id(event)] = self._count

    def _end_step(self) -> None:
        if self._step:
            self._steps.setdefault(
                frozenset((key, again) for key, (_, again) in self._step.items()), [*self._step.values()]
            )
            self._step = {}

    def _request(self, model: str) -> _Request | None:
        mode = self._modes.get(model)
        if mode is None:
            return None
        training, since = mode
        return training, frozenset(call for call, count in self._latest.items() if count > since)

    def events(self, trains: Callable[[Called], bool]) -> tuple[Event, ...]:
        """All events; a call between setting a mode and another call ends the request if it `trains`."""
        beside: set[str] = set()
        in_pairs: set[str] = set()
        for step in (*self._steps.values(), [*self._step.values()]):
            models = [each.model.key for each, again in step if trains(each) for _ in range(1 + again)]
            beside |= {*models} if len({*models}) > 1 else set()
            in_pairs |= {key for key in models if models.count(key) > 1}

        def answered(event: Event, request: _Request | None) -> Event:
            if not isinstance(event, Called):
                return event
            requested = None
            if request is not None and not any(trains(self._calls[each]) for each in request[1]):
                requested = request[0]
            if not event.grad:
                return replace(event, requested=requested)
            key = event.model.key
            return replace(event, requested=requested, trained_beside=key in beside, trained_in_pairs=key in in_pairs)

        return tuple(dict.fromkeys(answered(*each) for each in self._events.values()))
