"""Finds the files to scan, reads and parses them."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from itertools import chain, islice
from pathlib import Path
from stat import S_ISREG

from regcheck.core.errors import UsageError
from regcheck.core.finding import NotChecked
from regcheck.files import notebook
from regcheck.files.project_folders import SKIPPED, project_folders
from regcheck.files.text import content_of, is_overlaid

MARK = b"torch"
KERAS = b"keras"
"""The word of the other library whose models are read."""
LARGEST = 8 << 20
"""Parsing more bytes than this takes seconds and much memory. The largest of torch's files has a sixth."""
WHOLE = 64 << 20
"""A larger file is not read at all; a notebook may contain pictures, which are not source."""
MOST = 500_000
"""A syntax tree takes up to a kilobyte for each word and sign: more are generated data. That file has half as many."""
MOST_IMPORTS = 24
"""A package file without the word torch that imports from more files is a library's, and is not looked through: with
timm's, a scan takes 1.65 times as long, and some models are too long to follow."""
_IMPORT = re.compile(rb"^[ \t]*(?:from|import)\b", re.MULTILINE)
_TOKEN = re.compile(rb"\w+|[^\w\s]")
READ = (".py", notebook.SUFFIX)
MOST_FILES = 3000
"""A project with more files is not read around the examined ones; reading as many takes a second."""
MOST_FOLDERS = 20_000


def python_files(paths: Iterable[str | Path], exclude: Sequence[str] = (), *, force: bool = True) -> Iterator[Path]:
    """The Python files and notebooks at and below `paths`, each once: no hidden, generated, installed or excluded ones.

    A named path may be hidden, generated or installed, and without `force` it may be excluded; below a named folder
    all these are skipped.

    Raises:
        UsageError: a path that does not exist.
    """
    seen: set[str] = set()
    for path in map(Path, paths):
        if not path.exists() and not is_overlaid(path):
            raise UsageError(f"{path}: no such file or folder")
        if force and _is_named_and_excluded(path, exclude):
            continue
        is_file = is_overlaid(path) or not path.is_dir()
        for file in [path] if is_file else chain.from_iterable(_by_folder(path, exclude)):
            real_path = os.path.realpath(file)  # which survives links that lead to themselves
            if real_path not in seen:
                seen.add(real_path)
                yield file


def files_around(paths: Iterable[str | Path]) -> list[Path]:
    """The Python files of the projects that contain `paths`, excluded ones too; nothing installed.

    The project is the outermost folder, inside the repository, with a file that marks a project; else the working
    directory, if it is above; else the folder of the package. Of a project with too many files it is the outermost
    folder that has fewer.
    """
    nearby: list[Path] = []
    walked: set[Path] = set()
    places = (Path(os.path.realpath(path)) for path in paths)
    for folder in dict.fromkeys(each if each.is_dir() else each.parent for each in places):
        if walked.isdisjoint((folder, *folder.parents)):
            for root in project_folders(folder):
                below = _all_below(root)
                if below is not None:
                    walked.add(root)
                    nearby += below
                    break
    return [*dict.fromkeys(nearby)]


def _all_below(root: Path) -> list[Path] | None:
    """The Python files below a folder; None if they are too many."""
    below: list[Path] = []
    for count, files in enumerate(_by_folder(root, ())):
        below += files
        if count > MOST_FOLDERS or len(below) > MOST_FILES:
            return None
    return below


def _by_folder(top: Path, exclude: Sequence[str]) -> Iterator[list[Path]]:
    """The Python files in each folder at and below one."""
    for name, folders, files in os.walk(top):
        here = Path(name)
        folders[:] = sorted(each for each in folders if not _is_skipped(here / each, exclude))
        readable = (each for each in sorted(files) if each.endswith(READ) and not each.startswith("."))
        yield [here / each for each in readable if not _is_excluded(here / each, exclude)]


def _is_skipped(folder: Path, exclude: Sequence[str]) -> bool:
    hidden = folder.name.startswith(".") or folder.name in SKIPPED or folder.name.endswith(".egg-info")
    return hidden or (folder / "pyvenv.cfg").exists() or _is_excluded(folder, exclude)


def _is_named_and_excluded(path: Path, exclude: Sequence[str]) -> bool:
    """Whether globs exclude a path or, below the working directory, a folder that contains it."""
    below = Path(os.path.relpath(path)) if exclude else path
    folders = () if ".." in below.parts else below.parents
    return any(_is_excluded(each, exclude) for each in (path, *folders))


def _is_excluded(path: Path, exclude: Sequence[str]) -> bool:
    tails = ["/".join(path.parts[start:]) for start in range(len(path.parts))]
    return any(fnmatch(tail, glob.rstrip("/")) for glob in exclude for tail in tails)


def read(path: Path) -> bytes | NotChecked | None:
    """A file's content; the reason why it cannot be read; or None for what is of no use without a library's word.

    Source without the words torch and keras is of use where other files import names from it.
    """
    try:
        status = None if is_overlaid(path) else path.stat()
        if status and not S_ISREG(status.st_mode):
            return NotChecked(str(path), "not a regular file", "exclude it", str(path))
        if status and status.st_size > WHOLE:
            return NotChecked(str(path), f"a file of more than {WHOLE >> 20} MB", "exclude the file", str(path))
        content = content_of(path)
        if MARK not in content and KERAS not in content:
            useful = path.suffix == ".py" and len(content) <= LARGEST and len(_IMPORT.findall(content)) <= MOST_IMPORTS
            return content if content and useful else None
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
