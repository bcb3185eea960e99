"""Run a function in a fresh process, which imports files as if they had other contents; nothing is written to them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar

from regcheck.files.text import NEWLINE, content_of, encoding_of, is_overlaid, overlay, put_into_line_cache

P = ParamSpec("P")
T = TypeVar("T")

_REQUEST, _RESULT = "request", "result"
_CHILD = """\
import sys
sys.path[:] = filter(None, sys.path)
from regcheck.engine.fresh_process import answer
answer(sys.argv.pop())
"""


class Died(Exception):
    """The process ended without a result; the message is the last line that it wrote on standard error."""


def call_afresh(contents: Mapping[str, bytes], function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function of a module in a fresh process where files have these contents; what it prints is dropped.

    The arguments and the result are pickled.

    Raises:
        Died: the process ended without a result, or the function raised.
    """
    with TemporaryDirectory() as folder:
        request = pickle.dumps((dict(contents), function, args, kwargs))
        Path(folder, _REQUEST).write_bytes(request)
        ended = subprocess.run(
            [sys.executable, "-c", _CHILD, folder],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            result: T = pickle.loads(Path(folder, _RESULT).read_bytes())
        except FileNotFoundError:
            last = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
            raise Died(last) from None
        return result


def answer(folder: str) -> None:
    """Call the function that the folder's request names, and write its result: the child's part of `call_afresh`."""
    contents, function, args, kwargs = pickle.loads(Path(folder, _REQUEST).read_bytes())
    with overlay(contents):
        _import_overlays(contents)
        result = pickle.dumps(function(*args, **kwargs))
    unfinished = Path(folder, f"{_RESULT}.part")
    unfinished.write_bytes(result)
    unfinished.rename(Path(folder, _RESULT))


def _import_overlays(contents: Mapping[str, bytes]) -> None:
    """Let imports, `inspect` and tracebacks of this process read the overlay's contents in place of the disk's.

    Bytecode files belong to the contents on the disk: an overlaid file has none, and none is written for it.
    """
    read, stat = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def get_data(self: SourceFileLoader, path: str) -> bytes:
        return content_of(path) if is_overlaid(path) else read(self, path)

    def path_stats(self: SourceFileLoader, path: str) -> Mapping[str, Any]:
        if is_overlaid(path):
            raise OSError(f"{path} is overlaid")
        return stat(self, path)

    SourceFileLoader.get_data = get_data  # type: ignore[method-assign, assignment]
    SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign]
    for path, content in contents.items():
        put_into_line_cache(os.path.abspath(path), NEWLINE.sub("\n", content.decode(encoding_of(content))))
