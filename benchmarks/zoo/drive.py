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
from pathlib import Path
from typing import Any

from .entry import Entry
from .examine import Row, examine

WALL, GRACE = 5.0, 1.0
"""The limit on wall time in multiples of the processor time, and the seconds for a clean exit."""
TOO_LONG = "took too long"


@dataclass(frozen=True)
class Limits:
    """Limits of one model: seconds of processor time, and memory; and whether to time its recording."""

    seconds: float
    gigabytes: float
    timed: bool = True


@dataclass
class Job:
    """A process that examines one model, and its results so far."""

    entry: Entry
    process: BaseProcess
    receiver: Connection
    started: float
    row: Row = field(default_factory=dict)

    def seconds(self) -> float:
        """Returns the processor time so far. A limit on the process itself would make its clock too coarse."""
        try:
            figures = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(figures[11]) + int(figures[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> Row:
        self.process.join(GRACE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            self.row.setdefault("stopped", TOO_LONG)
        self.receiver.close()
        if not {"finished", "unbuilt", "left_out", "stopped"} & set(self.row):
            self.row["stopped"] = f"the process died ({self.process.exitcode})"
        return {"library": self.entry.library, "model": self.entry.name, **self.row}


def rows(entries: Iterable[Entry], jobs: int, limits: Limits) -> Iterator[Row]:
    """Yields one row for each entry, in the order of completion."""
    todo = iter(entries)
    running: list[Job] = []
    while True:
        running += [_started(entry, limits) for entry in islice(todo, jobs - len(running))]
        if not running:
            return
        ready = wait([job.receiver for job in running], timeout=1.0)
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
    return Job(entry, process, receiver, time.monotonic())


def _over(job: Job, ready: bool, limits: Limits) -> bool:
    """Read the process's new results; return whether it has ended."""
    if ready:
        try:
            job.row |= job.receiver.recv()
        except EOFError:
            return True
    return job.seconds() > limits.seconds or time.monotonic() > job.started + limits.seconds * WALL


def _work(entry: Entry, limits: Limits, sender: Any) -> None:
    most = int(limits.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    tell: Callable[[Row], None] = sender.send
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            examine(entry, tell, limits.timed)
        except MemoryError:
            with suppress(BrokenPipeError):
                tell({"stopped": f"wanted more than {limits.gigabytes:g} GB"})
