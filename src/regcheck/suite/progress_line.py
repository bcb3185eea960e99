"""Show on standard error what is measured for a test: a line below pytest's own, or with `-v` lines in a log."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import nullcontext
from typing import Any, Protocol

import pytest

from regcheck.core.progress import ProgressStep, listening
from regcheck.files.escape import escape_unencodable, visible

SECONDS = 10.0
"""The least time between two lines in a log."""
BELOW = "\x1b7\n\r\x1b[K"
"""Saves the cursor's position, and clears the line below it."""
BACK = "\x1b8"


class Display(Protocol):
    """Where steps are shown, or leave the process for; nothing is announced to one that `is_shown` denies."""

    is_shown: bool

    def show(self, begun: tuple[ProgressStep, ...]) -> None: ...
    def clear(self) -> None: ...


class StepAnnouncer:
    """The hook around each test, in the process that runs it."""

    def __init__(self, display: Display) -> None:
        self._display = display

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        with listening(self._display.show, self._display.clear) if self._display.is_shown else nullcontext():
            return (yield)


class ProgressLine:
    """The latest step of those that run now, here or in workers of pytest-xdist.

    Without a terminal, and without `-v`, nothing is shown, and never with `-q`. It starts no thread, and leaves
    standard output to pytest. Steps of workers arrive on execnet's threads, while pytest's own may wait.
    """

    is_shown = False

    def __init__(self) -> None:
        self._begun: dict[str, tuple[ProgressStep, ...]] = {}
        self._turn = threading.Lock()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Choose what to show: the terminal, and its streams, are known from here on."""
        config = session.config
        self._moves = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        verbosity = config.get_verbosity()
        if not config.pluginmanager.has_plugin("terminalreporter") or verbosity < 0 or not (self._moves or verbosity):
            return
        self._pytest = config.get_terminal_writer()
        self._column_counts = sys.stdout.isatty()
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        # An audit replaces the stream's `write` to drop what the model prints.
        self._put, self._flush, self._encoding = sys.stderr.write, sys.stderr.flush, sys.stderr.encoding
        self._due = time.monotonic() + SECONDS
        self.is_shown = True

    def show(self, begun: tuple[ProgressStep, ...], worker: str = "") -> None:
        """Show a step, behind the steps that it is a part of; `worker` names the process that it is in."""
        with self._turn:
            self._begun.pop(worker, None)
            self._begun[worker] = begun
            if self._moves:
                self._move()
            else:
                self._log()

    def clear(self, worker: str = "") -> None:
        """Erase the steps of a process, which has none left; those of another one reappear."""
        with self._turn:
            if self._begun.pop(worker, None) is None or not self._moves:
                return
            if self._begun:
                self._move()
            else:
                self._write(f"{BELOW}{BACK}")

    def _move(self) -> None:
        """Show the step below pytest's line, for which the terminal may have to scroll, and return to that line."""
        column = self._pytest.width_of_current_line if self._column_counts else 0
        forward = f"\x1b[{column}C" if column else ""
        self._write(f"\n\x1b[A{forward}{BELOW}{self._text()[: self._pytest.fullwidth - 1]}{BACK}")

    def _log(self) -> None:
        """Print the step, if the last line is long enough ago."""
        if time.monotonic() >= self._due:
            self._write(("\n" if self._pytest.width_of_current_line else "") + self._text() + "\n")
            self._due = time.monotonic() + SECONDS

    def _text(self) -> str:
        """`regcheck: measuring REG202 in Net (1 of 3)`, in a worker `regcheck: [gw0] measuring …`."""
        worker, begun = next(reversed(self._begun.items()))
        return visible(f"regcheck: {f'[{worker}] ' if worker else ''}{': '.join(map(str, begun))}")

    def _write(self, text: str) -> None:
        self._pytest.flush()
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            self._put(escape_unencodable(text, self._encoding))
            self._flush()
