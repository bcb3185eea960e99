"""Analyzes a project in several processes: one reads the programs, others build and lower the classes of some files.

Each part of an analysis runs in a process of its own, which ends with it, and its memory with it.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from regcheck.core.finding import NotChecked
from regcheck.core.progress import steps
from regcheck.lazy_dataclass import dataclass

from .analyze import files_with_classes, note_unread, read_classes, read_keras_models
from .keras_models.keras_files import sources_of
from .program_files import read_programs
from .project.files import Source
from .project.names import Project
from .reading import EarlierReadings, FileReading, KerasReading, ProgramsReading, ReadingParts

LARGEST_PORTION = 1_000_000
"""The bytes of source whose classes one process follows: it parses them, and the files that they look up names in."""
PORTIONS = 4
"""The portions for each process that runs at a time: some take five times as long as others."""

if sys.platform == "linux":
    CONTEXT = get_context("fork")
else:
    CONTEXT = get_context("spawn")

Part = ProgramsReading | KerasReading | tuple[FileReading, ...]


@dataclass(frozen=True)
class Task:
    """A part of an analysis.

    Attributes:
        sources: the files that it follows, by their indices among the project's.
        known: what it may copy.
    """

    subject: str
    sources: tuple[int, ...]
    earlier: EarlierReadings = field(default_factory=EarlierReadings)

    def run(self, project: Project) -> Part:
        match self.subject:
            case "programs":
                return read_programs(project, self.earlier)
            case "Keras models":
                return read_keras_models(project)
        return tuple([read_classes(project, project.sources[each]) for each in self.sources])


@dataclass(frozen=True)
class TaskResult:
    """The result of a task, and the reasons why the process could not parse files, by their indices."""

    part: Part
    unread: dict[int, NotChecked]


def read_parts_in_processes(project: Project, jobs: int, earlier: EarlierReadings | None = None) -> ReadingParts:
    """The same as `read_parts`, with up to `jobs` processes at a time.

    What a process that dies should have followed is listed as not checked.
    """
    earlier = earlier or EarlierReadings()
    tasks = tasks_of(project, jobs, earlier)
    project.note_texts()
    readings: dict[str, list[Part]] = {}
    died: list[NotChecked] = []
    for task, result in zip(tasks, run_tasks(project, tasks, jobs), strict=True):
        if isinstance(result, str):
            died += (_not_followed(task, project.sources[each], result) for each in task.sources)
            continue
        readings.setdefault(task.subject, []).append(result.part)
        for index, reason in result.unread.items():
            project.sources[index].unread = reason
    programs, keras, files = ProgramsReading(), KerasReading(), {**earlier.classes}
    for parts in readings.values():
        for part in parts:
            if isinstance(part, ProgramsReading):
                programs = part
            elif isinstance(part, KerasReading):
                keras = part
            else:
                files.update((each.path, each) for each in part)
    class_readings = tuple([files[each.path] for each in files_with_classes(project) if each.path in files])
    together = ReadingParts(programs, class_readings, keras, tuple(died))
    note_unread(project, together)
    return together


def _not_followed(task: Task, source: Source, reason: str) -> NotChecked:
    advice = "scan with --jobs 1, or fewer files at a time"
    return NotChecked(source.path, f"the process that followed its {task.subject} {reason}", advice, source.path)


def tasks_of(project: Project, jobs: int, earlier: EarlierReadings) -> list[Task]:
    """The parts of an analysis, the longest first; the classes of `earlier` files are left out."""
    indices = {source: index for index, source in enumerate(project.sources)}
    files = files_with_classes(project)
    tasks = [Task("programs", tuple([indices[each] for each in files]), earlier)]
    keras = sources_of(project)
    if keras:
        tasks.append(Task("Keras models", tuple([indices[each] for each in keras])))
    files = [each for each in files if each.path not in earlier.classes]
    size = min(LARGEST_PORTION, sum(len(each.content) for each in files) // (PORTIONS * jobs))
    tasks += [Task("classes", tuple([indices[each] for each in some])) for some in portions(files, size)]
    return tasks


def portions(sources: Sequence[Source], size: int) -> Iterator[list[Source]]:
    """The files in their order, cut where a portion has at least so many bytes."""
    portion: list[Source] = []
    for source in sources:
        portion.append(source)
        if sum(len(each.content) for each in portion) >= size:
            yield portion
            portion = []
    if portion:
        yield portion


def run_tasks(project: Project, tasks: Sequence[Task], jobs: int) -> list[TaskResult | str]:
    """Runs each task in a process; its result, or what happened to a process that ended without one."""
    results: dict[int, TaskResult | str] = {}
    waiting = steps(enumerate(tasks), lambda each: f"reading {each[1].subject} in {len(each[1].sources)} files")
    running: dict[Connection, tuple[int, BaseProcess]] = {}
    try:
        while True:
            for index, task in islice(waiting, jobs - len(running)):
                receiver, process = _start(project, task, [*running])
                running[receiver] = index, process
            if not running:
                break
            ready = wait([*running])
            for receiver in [each for each in running if each in ready]:
                index, process = running[receiver]
                try:
                    result = receiver.recv()
                except (EOFError, OSError):
                    result = None
                process.join()
                results[index] = result or f"died (exit code {process.exitcode})"
                del running[receiver]
                receiver.close()
    finally:
        for receiver, (_, process) in running.items():
            process.kill()
            process.join()
            receiver.close()
    return [results[index] for index in range(len(tasks))]


def _start(project: Project, task: Task, others: Sequence[Connection]) -> tuple[Connection, BaseProcess]:
    """Starts a process for a task while `others` are connected; the connection to it, and the process."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    inherited = [receiver, *others] if CONTEXT.get_start_method() == "fork" else []
    process = CONTEXT.Process(target=_work, args=(project, task, sender, inherited), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _work(project: Project, task: Task, sender: Connection, inherited: Sequence[Connection]) -> None:
    """The life of a process: runs a task, and sends its result."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()
    for each in inherited:  # else the process could not notice that its parent died
        each.close()
    result: TaskResult | str
    try:
        part = task.run(project)
        unread = ((index, each.unread) for index, each in enumerate(project.sources))
        result = TaskResult(part, {index: reason for index, reason in unread if reason})
    except MemoryError:
        result = "ran out of memory"
    sender.send(result)
