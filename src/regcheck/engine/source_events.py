"""What source says about a watched program that a run alone does not show: what a term of a loss is, what a limit is.

The autograd graph of a loss shows that a summand has no gradient, and not where it comes from. The weights of a model
show that they left a limit, and not who meant it to hold.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from regcheck.core.rule import Rule
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import (
    Backward,
    ConstraintNotKept,
    Event,
    PenaltyWithoutGradient,
    Stepped,
    Usage,
    WeightRange,
    WeightsTrained,
)
from regcheck.files.loaded_modules import file_of
from regcheck.files.place import Place

_PASSES = (b"backward", b"training_step")
"""The words of a file that holds a backward pass: the method's name, or a step whose library makes it."""


def with_source_events(usage: Usage, rules: Iterable[Rule]) -> Usage:
    """The usage of a watched program, with the events that its source alone shows, as far as a rule starts from them.

    These are the penalties among the summands without a gradient of its losses, and the limits of weights that it
    trained in the lines that it ran.
    """
    starts = {each for rule in rules for each in rule.begins_at}
    events = usage.events
    if PenaltyWithoutGradient in starts:
        events = tuple(_with_penalties(events))
    if ConstraintNotKept in starts:
        events += tuple(_limits_in(events))
    return replace(usage, events=events)


def _with_penalties(events: Iterable[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Backward) and event.constants and event.place:
            terms = _penalties_in(os.path.abspath(event.place.path)).get(event.place.line, ())
            yield from (replace(each, constants=event.constants, intended=event.intended) for each in terms)
        yield event


@lru_cache(maxsize=64)
def _penalties_in(path: str) -> Mapping[int, tuple[PenaltyWithoutGradient, ...]]:
    """The penalties without a gradient in the losses that a file back-propagates, by the line of the backward pass."""
    penalties: dict[int, dict[PenaltyWithoutGradient, None]] = {}
    content = _content_of(path)
    if not any(word in content for word in _PASSES):
        return {}
    for usage in _programs_in(path, content, PenaltyWithoutGradient):
        terms: list[PenaltyWithoutGradient] = []
        for event in usage.events:
            if isinstance(event, PenaltyWithoutGradient) and event.place is not None:
                terms.append(replace(event, place=_absolute(event.place)))
            elif isinstance(event, Backward):
                if event.place is not None and _absolute(event.place).path == path:
                    penalties.setdefault(event.place.line, {}).update(dict.fromkeys(terms))
                terms = []
    return {line: tuple(each) for line, each in penalties.items()}


def _limits_in(events: Sequence[Event]) -> Iterator[ConstraintNotKept]:
    """The limits that a program of the source does not keep and whose training lines ran, with the limited weights.

    The blocks around all steps of its optimizers declare what is intended.
    """
    weights = [each for event in events if isinstance(event, WeightsTrained) for each in event.weights]
    steps = [event for event in events if isinstance(event, Stepped) and event.place is not None]
    ran = {_absolute(each.place) for each in events if isinstance(each, (Backward, Stepped)) and each.place is not None}
    if not weights:
        return
    constraints: dict[ConstraintNotKept, None] = {}
    for path in sorted({each.path for each in ran}):
        for training, limits in _unkept_limits_in(path):
            if not ran.isdisjoint(training):
                around = [each.intended for each in steps if each.place and _absolute(each.place) in training]
                intended = tuple(each for each in dict.fromkeys(sum(around, ())) if all(each in one for one in around))
                constraints |= dict.fromkeys(replace(each, intended=intended) for each in limits)
    for limit in constraints:
        yield replace(limit, weights=tuple(each for each in weights if _is_limited(each, limit.layers)))


def _is_limited(weight: WeightRange, layers: tuple[str, ...]) -> bool:
    """Whether a weight belongs to one of these layers; its model may be a part of theirs, or theirs one of it."""
    owners = [name.rpartition(".")[0] for name in weight.names]
    return any(
        owner == layer or owner.endswith(f".{layer}") or layer.endswith(f".{owner}")
        for owner in owners
        for layer in layers
        if owner and layer
    )


@lru_cache(maxsize=64)
def _unkept_limits_in(path: str) -> Sequence[tuple[frozenset[Place], tuple[ConstraintNotKept, ...]]]:
    """For each program in a file that limits weights without effect: the lines where it trains, and these limits."""
    constraints = []
    for usage in _programs_in(path, _content_of(path), ConstraintNotKept):
        limits = [event for event in usage.events if isinstance(event, ConstraintNotKept) and not event.uncalled]
        trains = (event.place for event in usage.events if isinstance(event, (Backward, Stepped)))
        if limits:
            placed = tuple(replace(each, place=_absolute(each.place)) for each in limits if each.place is not None)
            constraints.append((frozenset(_absolute(each) for each in trains if each is not None), placed))
    return constraints


def _content_of(path: str) -> bytes:
    """The text of a Python file; empty for any other, and for one that cannot be read."""
    from regcheck.static.project.discovery import read

    content = read(Path(path)) if path.endswith(".py") else None
    return content if isinstance(content, bytes) else b""


def _programs_in(path: str, content: bytes, start: type[Event]) -> Sequence[Usage]:
    """The programs that a scan of a file reads for a kind of event; none where no loaded file of them holds one."""
    if not content:
        return ()
    from regcheck.engine.scan import in_project
    from regcheck.static.analyze import analyze
    from regcheck.static.project.files import Source
    from regcheck.static.project.names import Project
    from regcheck.static.project.prefilter import WORDS

    sources, _ = in_project([Source(path, content, True)])
    loaded = {path, *(os.path.abspath(file) for file in map(file_of, [*sys.modules.values()]) if file)}
    texts = [each.content for each in sources if os.path.abspath(each.path) in loaded]
    if not any(word in text for word in WORDS[start] for text in texts):
        return ()
    return analyze(Project(sources, StartingPoints.of([(start,)]))).usages


def _absolute(place: Place) -> Place:
    return replace(place, path=os.path.abspath(place.path))
