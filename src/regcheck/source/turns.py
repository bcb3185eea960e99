"""Which events of a program belong to one training step, and which calls take turns with such steps.

Loops are followed twice. So what stands in a loop within some events is among them twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from regcheck.core.usage import Backward, Called, Event


def only_step(events: Sequence[Event]) -> Backward | None:
    """The first backward pass, where the events hold no more than one training step: it has no pass twice."""
    passes = [each for each in events if isinstance(each, Backward)]
    return passes[0] if passes and len({each.place for each in passes}) == len(passes) else None


def with_turns(events: Sequence[Event]) -> tuple[Event, ...]:
    """The events, with those calls without gradients marked as alternating that one training step follows each time."""
    found = list(events)
    calls: dict[object, list[tuple[int, Called]]] = {}
    for index, each in enumerate(events):
        if isinstance(each, Called) and not each.grad:
            calls.setdefault((each.place, each.model.key), []).append((index, each))
    for made in calls.values():
        ends = [*(index for index, _ in made[1:]), None]
        if len(made) > 1 and all(only_step(events[index:end]) for (index, _), end in zip(made, ends, strict=True)):
            for index, call in made:
                found[index] = replace(call, alternating=True)
    return tuple(found)
