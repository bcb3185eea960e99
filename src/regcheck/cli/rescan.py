"""`regcheck scan --watch`: scan again whenever a file changes, until Ctrl-C."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from regcheck.cli.printing import note
from regcheck.config.load import candidates
from regcheck.config.options import Options
from regcheck.core.errors import RegcheckError
from regcheck.core.report import counted
from regcheck.engine.scan import files_to_scan
from regcheck.static.project.discovery import files_around

SECONDS = 0.5
"""The time between two looks at the files; a look takes at most a tenth of it, or the time becomes longer."""
CLEAR = "\x1b[2J\x1b[3J\x1b[H"
"""Clears a terminal with what scrolled off it, and moves the cursor to its top."""
USAGE, INTERRUPTED = 2, 130

FileStates = dict[Path, tuple[int, int]]
"""The time of the last change, in nanoseconds, and the size of each file that exists."""


def rescan(
    scan: Callable[[], int],
    states: Callable[[], FileStates],
    wait: Callable[[float], None] = time.sleep,
    *,
    quiet: bool = False,
) -> int:
    """Scan, and scan again after each change; return the last exit code when Ctrl-C ends it.

    What ends a later scan, such as a configuration that is half written or a folder that is gone, is printed, and the
    next change starts another one. The exit code is 130 if the first scan is interrupted.

    Args:
        scan: scans, prints the report, and returns its exit code.
        states: the present states of all files that a scan may depend on.
        wait: sleeps for so many seconds.
        quiet: print no note about waiting.

    Raises:
        UsageError: the first scan is not possible.
    """
    code, seen = INTERRUPTED, None
    try:
        while True:
            began = time.monotonic()
            now = states()
            pause = max(SECONDS, 10 * (time.monotonic() - began))
            if now == seen:
                wait(pause)
                continue
            clear()
            try:
                code = scan()
            except RegcheckError as error:
                if seen is None:
                    raise
                note(f"regcheck: error: {error}")
                code = USAGE
            if not quiet:
                note(f"watching {counted(len(now), 'file')}; Ctrl-C ends")
            seen = now
    except KeyboardInterrupt:
        return code


def clear() -> None:
    """Clear standard output, if it is a terminal that can."""
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        sys.stdout.write(CLEAR)


def states_of(paths: Iterable[str], named: Iterable[Path]) -> FileStates:
    """The states of the files that the findings of a scan of `paths` depend on.

    They are the Python files and notebooks of the project, the `named` ones, and those that may be its configuration.
    """
    files: dict[Path, None] = {}
    with suppress(RegcheckError):  # a path that is gone
        scanned = files_to_scan(paths, Options())
        files.update(dict.fromkeys((*scanned, *files_around(scanned))))
    files.update(dict.fromkeys((*named, *candidates(Path.cwd()))))
    states = {}
    for file in files:
        with suppress(OSError):
            status = file.stat()
            states[file] = (status.st_mtime_ns, status.st_size)
    return states
