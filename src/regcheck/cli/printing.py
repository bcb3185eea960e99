"""Print to streams of any encoding."""

from __future__ import annotations

import sys
from typing import IO

from regcheck.files.escape import escape_unencodable, visible_lines


def show(text: str, stream: IO[str] | None = None) -> None:
    """Print a text, to standard output by default, and escape characters that the stream's encoding lacks."""
    stream = stream or sys.stdout
    print(escape_unencodable(text, getattr(stream, "encoding", None)), end="", flush=True, file=stream)


def note(text: str) -> None:
    """Print a note on standard error."""
    show(f"{visible_lines(text)}\n", sys.stderr)
