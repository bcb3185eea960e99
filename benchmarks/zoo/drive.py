"""Examine many models, each in a process forked from one that has imported its library."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from .entry import Entry
from .examine import Row, examine


@dataclass(frozen=True)
class Limits:
    """What one model may take."""

    seconds: float
    gigabytes: float


@dataclass
class Job:
    """A process at work on one model, and what it has told so far."""

    entry: Entry
    process: BaseProcess
    receiver: Connection
    deadline: float
    row: Row = field(default_factory=dict)

    def end(self) -> Row:
        self.process.kill()
        self.process.join()
        self.receiver.close()
        done = {"finished", "unbuilt", "left_out"} & set(self.row)
        stopped = {} if done or "stopped" in self.row else {"stopped": f"the process died ({self.process.exitcode})"}
        return {"library": self.entry.library, "model": self.entry.name, **self.row, **stopped}


def rows(entries: Iterable[Entry], jobs: int, limits: Limits) -> Iterator[Row]:
    """One row for each entry, in the order they are done."""
    todo = iter(entries)
    running: list[Job] = []
    while True:
        running += [_started(entry, limits) for entry in islice(todo, jobs - len(running))]
        if not running:
            return
        first = min(job.deadline for job in running)
        ready = wait([job.receiver for job in running], max(0.0, first - time.monotonic()))
        for job in [*running]:
            if _over(job, job.receiver in ready, limits):
                running.remove(job)
                yield job.end()


def _started(entry: Entry, limits: Limits) -> Job:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(entry, limits, sender))
    process.start()
    sender.close()
    return Job(entry, process, receiver, time.monotonic() + limits.seconds)


def _over(job: Job, ready: bool, limits: Limits) -> bool:
    """Take in what the process has to tell; whether it is at its end."""
    if ready:
        try:
            job.row |= job.receiver.recv()
        except EOFError:
            return True
    if time.monotonic() < job.deadline:
        return False
    job.row["stopped"] = f"took longer than {limits.seconds:g} s"
    return True


def _work(entry: Entry, limits: Limits, sender: Any) -> None:
    most = int(limits.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    tell: Callable[[Row], None] = sender.send
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            examine(entry, tell)
        except MemoryError:
            with suppress(BrokenPipeError):
                tell({"stopped": f"wanted more than {limits.gigabytes:g} GB"})
