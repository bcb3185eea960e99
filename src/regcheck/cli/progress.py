"""Show the progress of a run on standard error: a line that moves on a terminal, else lines with `--verbose`."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from regcheck.cli.printing import show
from regcheck.core.progress import ProgressStep, listening
from regcheck.files.escape import visible

if TYPE_CHECKING:
    from rich.live import Live

SECONDS = 10.0
"""The least time between two lines where standard error is no terminal."""
PATIENCE = 0.5
"""A run of fewer seconds shows nothing on a terminal either, and does not load rich for it."""


@contextmanager
def shown_progress(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """In the block, show each step on a terminal, or with `verbose` a line at most every ten seconds."""
    if quiet:
        yield
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with closing(_MovingLine()) as line, listening(line.show):
            yield
    elif verbose:
        with listening(_Lines()):
            yield
    else:
        yield


class _Unshadowed(io.TextIOBase):
    """A stream that writes also while an audit drops what the model prints."""

    def __init__(self, stream: TextIO) -> None:
        self._write, self._flush = stream.write, stream.flush
        self._encoding = stream.encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def write(self, text: str, /) -> int:
        return self._write(text)

    def flush(self) -> None:
        self._flush()


class _Lines:
    """Prints a step if the last printed one is long enough ago."""

    def __init__(self) -> None:
        self._stream = cast(TextIO, _Unshadowed(sys.stderr))
        self._due = time.monotonic() + SECONDS

    def __call__(self, begun: tuple[ProgressStep, ...]) -> None:
        if time.monotonic() >= self._due:
            show(f"regcheck: {visible(_line(begun))}\n", self._stream)
            self._due = time.monotonic() + SECONDS


class _MovingLine:
    """Shows a step in place of the one before; the line is gone when it is closed.

    It starts no thread and leaves the standard streams alone, which belong to the audited program.
    """

    def __init__(self) -> None:
        self._stream = cast(TextIO, _Unshadowed(sys.stderr))
        self._begins = time.monotonic() + PATIENCE
        self._live: Live | None = None

    def show(self, begun: tuple[ProgressStep, ...]) -> None:
        """Show a step, with those that it is a part of."""
        if self._live is None:
            if time.monotonic() < self._begins:
                return
            self._live = self._started()
        text = visible(_line(begun))[: self._live.console.width - 1]
        self._live.update(text, refresh=True)

    def _started(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, force_terminal=True, highlight=False, markup=False)
        live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
        live.start()
        return live

    def close(self) -> None:
        """Remove the line."""
        if self._live is not None:
            self._live.stop()


def _line(begun: tuple[ProgressStep, ...]) -> str:
    """`auditing net.py:Net (2 of 5): measuring REG202 (1 of 3)`."""
    return ": ".join(map(str, begun))
