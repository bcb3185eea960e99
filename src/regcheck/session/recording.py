"""Record a program from the moment that it imports torch, in this process alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from typing import TYPE_CHECKING

from regcheck.core.errors import format_error
from regcheck.core.finding import NotChecked
from regcheck.import_hook import ImportHook

if TYPE_CHECKING:
    from torch import nn

    from regcheck.runtime.calls import Profiler
    from regcheck.runtime.recorder import EventRecorder, Observation


class DeferredRecorder:
    """The recorder of a program, which may be started and stopped again. torch is never imported from here.

    Args:
        root: the folder of the program's own files (default: the working directory).
        test_files: paths of files to take for test code; the collection may grow.
    """

    def __init__(self, root: str | None = None, test_files: Collection[str] = ()) -> None:
        self._root, self._test_files = root, test_files
        self._recorder: EventRecorder | None = None
        self._failure = ""
        self._process = 0
        self._torch = ImportHook("torch", self._begin)

    def start(self) -> None:
        """Begin to record, at once or when torch is imported."""
        self._process = os.getpid()
        self._torch.install()

    def stop(self) -> None:
        """Stop recording; what was recorded can still be drained."""
        self._torch.remove()
        if self._recorder is not None:
            self._recorder.stop()

    def drain(self, subject: str = "") -> Observation | None:
        """What the program did since the last time; None if torch was not there, and in a forked process."""
        if self._recorder is None or os.getpid() != self._process:
            return None
        return self._recorder.drain(subject)

    def capture_again(self, structures: Collection[str]) -> None:
        """Capture the next calls of these structures."""
        if self._recorder is not None:
            for each in structures:
                self._recorder.capture_again(each)

    def is_test_file(self, path: str) -> bool:
        """Whether a file holds tests or what only tests use."""
        return path in self._test_files if self._recorder is None else self._recorder.is_test_file(path)

    def missed(self, subject: str) -> tuple[NotChecked, ...]:
        """An entry if recording could not begin."""
        return (NotChecked(subject, self._failure, "please report this"),) if self._failure else ()

    def _begin(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from regcheck.runtime.recorder import EventRecorder

                self._recorder = self._recorder or EventRecorder(self._root, self._test_files, _profiler_of)
                self._recorder.start()
        except Exception as error:
            self._failure = f"watching could not begin: {format_error(error)}"


def _profiler_of(model: nn.Module) -> Profiler | None:
    """A profiler for the next call of a model, or None; loaded when the program calls its first model."""
    from regcheck.tracing.call_profiler import CallProfiler

    return CallProfiler.of(model)
