"""The steps of a run, announced to whoever shows its progress; without a listener this costs nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from typing import TypeVar

from regcheck.lazy_dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True)
class ProgressStep:
    """The beginning of a step: what it does, its number from 1, and how many steps of its kind there are."""

    doing: str
    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.doing} ({self.number} of {self.total})"


Listener = Callable[[tuple[ProgressStep, ...]], None]
"""Shows a step, behind the steps that it is a part of."""


@dataclass(frozen=True)
class _Run:
    listener: Listener
    ended: Callable[[], None]
    begun: list[ProgressStep] = field(default_factory=list)
    process: int = field(default_factory=os.getpid)


_RUN: ContextVar[_Run | None] = ContextVar("_RUN", default=None)


@contextmanager
def listening(listener: Listener, ended: Callable[[], None] = lambda: None) -> Iterator[None]:
    """In the block, call the listener at the beginning of each step, and `ended` when none is left."""
    token = _RUN.set(_Run(listener, ended))
    try:
        yield
    finally:
        _RUN.reset(token)


def steps(items: Iterable[T], doing: Callable[[T], str]) -> Iterator[T]:
    """Yields the items, and announces each as a step; `doing` says what happens to an item.

    A forked process announces nothing: its parent goes on.
    """
    run = _RUN.get()
    if run is None or run.process != os.getpid():
        yield from items
        return
    every = [*items]
    try:
        for number, each in enumerate(every, 1):
            run.begun.append(ProgressStep(doing(each), number, len(every)))
            try:
                run.listener(tuple(run.begun))
                yield each
            finally:
                run.begun.pop()
    finally:
        if every and not run.begun:
            run.ended()
