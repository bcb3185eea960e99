"""Model calls that alternate with the training steps of a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regcheck.core.usage import Backward, Called, Event


def mark_alternating_calls(events: Sequence[Event]) -> tuple[Event, ...]:
    """Marks calls without gradients as alternating, if exactly one training step follows each of them."""
    marked_events = list(events)
    calls: dict[object, list[tuple[int, Called]]] = {}
    for index, each in enumerate(events):
        if isinstance(each, Called) and not each.grad:
            calls.setdefault((each.place, each.model.key), []).append((index, each))
    for group in calls.values():
        ends = [*(index for index, _ in group[1:]), None]
        if len(group) > 1 and all(_is_one_step(events[index:end]) for (index, _), end in zip(group, ends, strict=True)):
            for index, call in group:
                marked_events[index] = replace(call, alternating=True)
    return tuple(marked_events)


def _is_one_step(events: Sequence[Event]) -> bool:
    """Whether the events contain one training step: loops run twice, so a second step repeats a backward pass."""
    places = [each.place for each in events if isinstance(each, Backward)]
    return 0 < len(places) == len(set(places))
