"""The terms of the losses that a watched program back-propagates.

The autograd graph of a loss shows that a summand has no gradient, and not where it comes from; source shows that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from regcheck.core.rule import Rule
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import Backward, Event, PenaltyWithoutGradient, Usage
from regcheck.engine.scan import in_project
from regcheck.static.analyze import analyze
from regcheck.static.project.discovery import read
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project


def with_penalties(usage: Usage, rules: Iterable[Rule]) -> Usage:
    """The usage of a watched program, with the penalties among the summands without a gradient of its losses."""
    if not any(PenaltyWithoutGradient in rule.begins_at for rule in rules):
        return usage
    events: list[Event] = []
    for event in usage.events:
        if isinstance(event, Backward) and event.constants and event.place:
            terms = _penalties_in(event.place.path).get(event.place.line, ())
            events += [replace(each, constants=event.constants, intended=event.intended) for each in terms]
        events.append(event)
    return replace(usage, events=tuple(events))


@lru_cache(maxsize=64)
def _penalties_in(path: str) -> Mapping[int, tuple[PenaltyWithoutGradient, ...]]:
    """The penalties without a gradient in the losses that a file back-propagates, by the line of the backward pass."""
    content = read(Path(path)) if path.endswith(".py") else None
    if not isinstance(content, bytes):
        return {}
    sources, _ = in_project([Source(path, content, True)])
    reading = analyze(Project(sources, StartingPoints.of([(PenaltyWithoutGradient,)])))
    found: dict[int, dict[PenaltyWithoutGradient, None]] = {}
    for usage in reading.usages:
        terms: list[PenaltyWithoutGradient] = []
        for event in usage.events:
            if isinstance(event, PenaltyWithoutGradient) and event.place is not None:
                place = replace(event.place, path=os.path.abspath(event.place.path))
                terms.append(replace(event, place=place))
            elif isinstance(event, Backward):
                if event.place is not None and event.place.path == path:
                    found.setdefault(event.place.line, {}).update(dict.fromkeys(terms))
                terms = []
    return {line: tuple(each) for line, each in found.items()}
