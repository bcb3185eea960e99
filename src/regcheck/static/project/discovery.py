"""Finds the files to scan, reads and parses them."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from regcheck.core.errors import UsageError
from regcheck.core.finding import NotChecked
from regcheck.files import notebook
from regcheck.files.text import content_of, is_overlaid

SKIPPED = frozenset("venv env node_modules build dist site-packages __pycache__ __pypackages__".split())
MARK = b"torch"
LARGEST = 8 << 20
"""Parsing more bytes than this takes seconds and much memory. The largest of torch's files has a sixth."""
WHOLE = 64 << 20
"""A larger file is not read at all; a notebook may contain pictures, which are not source."""
MOST = 500_000
"""A syntax tree takes up to a kilobyte for each word and sign: more are generated data. That file has half as many."""
_TOKEN = re.compile(rb"\w+|[^\w\s]")
READ = (".py", notebook.SUFFIX)


def python_files(paths: Iterable[str | Path], exclude: Sequence[str] = ()) -> Iterator[Path]:
    """The Python files and notebooks at and below `paths`, each once: no hidden, generated, installed or excluded ones.

    A path that is named is always taken; only what lies below a named folder is skipped.

    Raises:
        UsageError: a path that does not exist.
    """
    seen: set[str] = set()
    for path in map(Path, paths):
        if not path.exists() and not is_overlaid(path):
            raise UsageError(f"{path}: no such file or folder")
        for file in [path] if is_overlaid(path) or not path.is_dir() else _below(path, exclude):
            known = os.path.realpath(file)  # which survives links that lead to themselves
            if known not in seen:
                seen.add(known)
                yield file


def _below(folder: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for top, folders, files in os.walk(folder):
        here = Path(top)
        folders[:] = sorted(name for name in folders if not _is_skipped(here / name, exclude))
        for name in sorted(files):
            if name.endswith(READ) and not name.startswith(".") and not _is_excluded(here / name, exclude):
                yield here / name


def _is_skipped(folder: Path, exclude: Sequence[str]) -> bool:
    hidden = folder.name.startswith(".") or folder.name in SKIPPED or folder.name.endswith(".egg-info")
    return hidden or (folder / "pyvenv.cfg").exists() or _is_excluded(folder, exclude)


def _is_excluded(path: Path, exclude: Sequence[str]) -> bool:
    tails = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
    return any(fnmatch(tail, glob.rstrip("/")) for glob in exclude for tail in tails)


def read(path: Path) -> bytes | NotChecked | None:
    """A file's content; the reason why it cannot be read; or None if it does not mention torch."""
    try:
        status = None if is_overlaid(path) else path.stat()
        if status and not S_ISREG(status.st_mode):
            return NotChecked(str(path), "not a regular file", "exclude it", str(path))
        if status and status.st_size > WHOLE:
            return NotChecked(str(path), f"a file of more than {WHOLE >> 20} MB", "exclude the file", str(path))
        content = content_of(path)
        if MARK not in content:
            return None
        if path.suffix == notebook.SUFFIX:
            content = notebook.parse_notebook(content).text.encode()
        if len(content) > LARGEST:
            return NotChecked(str(path), f"more than {LARGEST >> 20} MB of source", "exclude the file", str(path))
        if len(content) > MOST and next(islice(_TOKEN.finditer(content), MOST, None), None):
            return NotChecked(str(path), f"more than {MOST:,} words and signs of source", "exclude the file", str(path))
        return content
    except OSError as error:
        return NotChecked(str(path), f"cannot be read: {error.strerror}", "exclude the file", str(path))
    except notebook.BrokenNotebook as error:
        return NotChecked(str(path), str(error), "repair the cell, or exclude the notebook", str(path))


def parse(path: str, content: bytes) -> ast.Module | NotChecked:
    """A file's syntax tree, or the reason why it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(content, path)
    except SyntaxError as error:
        return NotChecked(path, f"syntax error: {error.msg}", "fix the syntax, or exclude the file", path, error.lineno)
    except (RecursionError, MemoryError):
        return NotChecked(path, "too deeply nested to read", "exclude the file", path)
    except (ValueError, LookupError) as error:
        return NotChecked(path, f"not Python source: {error}", "exclude the file", path)
