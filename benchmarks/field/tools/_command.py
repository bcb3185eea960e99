"""Run a tool's command in this process, so that its imports count once."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any


def printed(main: Callable[[], Any], arguments: Sequence[str]) -> str:
    """What the command prints to stdout, whatever its exit code."""
    text = io.StringIO()
    sys.argv[1:] = arguments
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        main()
    return text.getvalue()
