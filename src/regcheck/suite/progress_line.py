"""Show on standard error what is measured for a test: a line below pytest's own, or with `-v` lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import pytest

from regcheck.core.progress import ProgressStep, listening
from regcheck.files.escape import escape_unencodable, visible

SECONDS = 10.0
"""The least time between two lines in a log."""
BELOW = "\x1b7\n\r\x1b[K"
"""Saves the cursor's position, and clears the line below it."""
BACK = "\x1b8"


class ProgressPlugin:
    """The hooks around each test. Without a terminal, and without `-v`, nothing is shown, and never with `-q`.

    It starts no thread, and leaves standard output to pytest.
    """

    def __init__(self) -> None:
        self._listening: Callable[[], AbstractContextManager[None]] = nullcontext

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Choose what to show: the terminal, and its streams, are known from here on."""
        config = session.config
        moves = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        verbosity = config.get_verbosity()
        if not config.pluginmanager.has_plugin("terminalreporter") or verbosity < 0 or not (moves or verbosity):
            return
        self._pytest = config.get_terminal_writer()
        self._column_counts = sys.stdout.isatty()
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")
        # An audit replaces the stream's `write` to drop what the model prints.
        self._put, self._flush, self._encoding = sys.stderr.write, sys.stderr.flush, sys.stderr.encoding
        self._due = time.monotonic() + SECONDS
        self._listening = partial(listening, self._move, self._clear) if moves else partial(listening, self._log)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        with self._listening():
            return (yield)

    def _move(self, begun: tuple[ProgressStep, ...]) -> None:
        """Show the step below pytest's line, for which the terminal may have to scroll, and return to that line."""
        column = self._pytest.width_of_current_line if self._column_counts else 0
        forward = f"\x1b[{column}C" if column else ""
        self._write(f"\n\x1b[A{forward}{BELOW}{_line(begun)[: self._pytest.fullwidth - 1]}{BACK}")

    def _clear(self) -> None:
        self._write(f"{BELOW}{BACK}")

    def _log(self, begun: tuple[ProgressStep, ...]) -> None:
        """Print the step, if the last line is long enough ago."""
        if time.monotonic() >= self._due:
            self._write(("\n" if self._pytest.width_of_current_line else "") + _line(begun) + "\n")
            self._due = time.monotonic() + SECONDS

    def _write(self, text: str) -> None:
        self._pytest.flush()
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            self._put(escape_unencodable(text, self._encoding))
            self._flush()


def _line(begun: tuple[ProgressStep, ...]) -> str:
    """`regcheck: measuring REG202 in Net (1 of 3)`."""
    return visible(f"regcheck: {': '.join(map(str, begun))}")
