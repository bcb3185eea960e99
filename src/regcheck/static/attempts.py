"""Attempts to follow pieces of source, within each file's limit of CPU time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import process_time
from typing import TypeVar

from regcheck.core.errors import CannotTrace
from regcheck.core.finding import NotChecked

from .interpreter.state import SECONDS
from .project.names import Project

Result = TypeVar("Result")


class Attempts:
    """Runs pieces of work within each file's limit of CPU time, and lists those that fail."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._failed: list[NotChecked] = []
        self._seconds: dict[str, float] = {}

    def take(self) -> tuple[NotChecked, ...]:
        """The pieces that failed since the last call."""
        failed = tuple(self._failed)
        self._failed.clear()
        return failed

    def attempt(self, subject: str, path: str, line: int, work: Callable[[], Result]) -> Iterator[Result]:
        """The result of the work, if it succeeds."""
        began = process_time()
        self.project.deadline = began + SECONDS - self._seconds.get(path, 0.0)
        reason: str | None = None
        advice = ""
        try:
            yield work()
        except RecursionError:
            reason = "too deeply nested to follow from the source"
        except CannotTrace as error:
            reason = str(error)
        except Exception as error:
            reason = f"the source could not be followed: {type(error).__name__}: {error}"
            advice = "report this as a bug of regcheck"
        finally:
            self._seconds[path] = self._seconds.get(path, 0.0) + process_time() - began
        if reason is not None:
            self._failed.append(NotChecked(subject, reason, advice, path, line))
