"""Printing, on whatever stream there is."""

from __future__ import annotations

import sys
from typing import IO

from regcheck.files.escape import encodable, visible_lines


def show(text: str, stream: IO[str] | None = None) -> None:
    """Print a text, standard output by default, with escapes for what the stream's encoding does not have."""
    stream = stream or sys.stdout
    print(encodable(text, getattr(stream, "encoding", None)), end="", flush=True, file=stream)


def note(text: str) -> None:
    """Print a remark on standard error."""
    show(f"{visible_lines(text)}\n", sys.stderr)
