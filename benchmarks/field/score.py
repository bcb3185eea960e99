"""What a tool's messages are worth: hits, misses and wrong reports, as shares with exact intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .cases import Case

Message = Mapping[str, Any]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Judged:
    """One tool's result on one case.

    Attributes:
        hit: a message of the kind, of one akin or of no kind, at a line of the fault, or without a line.
        wrong: the messages about what is right.
    """

    case: Case
    hit: bool
    wrong: tuple[Message, ...]

    @property
    def agrees(self) -> bool:
        return not self.wrong and (self.hit or self.case.label != "fault")


@dataclass(frozen=True)
class Share:
    """Some of a number of cases."""

    some: int
    of: int

    @property
    def value(self) -> float:
        return self.some / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The exact interval of Clopper and Pearson."""
        tail = (1 - CONFIDENCE) / 2
        low = _root(lambda p: 1 - _at_most(self.some - 1, self.of, p) - tail) if self.some else 0.0
        high = _root(lambda p: tail - _at_most(self.some, self.of, p)) if self.some < self.of else 1.0
        return low, high


def judge(case: Case, messages: Iterable[Message]) -> Judged:
    """Hold messages against a label: whoever names a line must name the right one.

    A symptom without a line is a hit if it is of the kind, neither in another faulty program, and wrong in a right
    one. In a debatable case nothing of the kind is wrong.
    """
    hit, wrong = False, []
    for message in messages:
        place = (message.get("file") or "main.py", message.get("line") or 0)
        of_kind = message.get("kind") in (None, case.kind, *case.akin)
        if case.label != "right" and of_kind and (not place[1] or place in case.lines):
            hit = True
        elif (case.label == "right" or place[1]) and place not in case.lines | case.besides:
            wrong.append(message)
    return Judged(case, hit, tuple(wrong))


def recall(results: Iterable[Judged]) -> Share:
    """The faults that are hit."""
    faults = [result for result in results if result.case.label == "fault"]
    return Share(sum(result.hit for result in faults), len(faults))


def precision(results: Iterable[Judged]) -> Share:
    """The faults that are hit, of these and all cases with a wrong message."""
    results = list(results)
    hits = recall(results).some
    return Share(hits, hits + sum(bool(result.wrong) for result in results))


def alarms(results: Iterable[Judged]) -> Share:
    """The right cases with a message."""
    right = [result for result in results if result.case.label == "right"]
    return Share(sum(bool(result.wrong) for result in right), len(right))


def together(doors: Iterable[list[Judged]]) -> list[Judged]:
    """What several doors find together: hit by any, wrong by any."""
    return [
        Judged(same[0].case, any(one.hit for one in same), tuple(m for one in same for m in one.wrong))
        for same in zip(*doors, strict=True)
    ]


def _at_most(some: int, of: int, p: float) -> float:
    return sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(some + 1))


def _root(increasing: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return (low + high) / 2
