"""A cache of scan results on disk, by a digest of everything that a result depends on."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from regcheck.core.coverage import Coverage
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.rule import Rule
from regcheck.core.version import __version__
from regcheck.files.atomic_write import write_atomically
from regcheck.files.escape import encode

from .files import Source


class Result(NamedTuple):
    """The findings of a scan, what it left undecided or did not check, and its coverage of each file.

    A result that is not `complete` is not stored: another scan may check more.
    """

    findings: tuple[Finding, ...]
    undecided: tuple[Finding, ...]
    not_checked: tuple[NotChecked, ...]
    coverage: tuple[Coverage, ...]
    complete: bool = True


MOST_RESULTS = 200
"""The number of entries in the cache; older ones are deleted."""

_PACKAGE = Path(__file__).parents[2]


def folder() -> Path:
    """The folder for results in the user's cache folder."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        base = Path(given)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "regcheck" / "scans"


def digest(sources: Iterable[Source], rules: Sequence[Rule]) -> str:
    """The cache key of a scan: a digest of the files and their paths, the rules, regcheck itself and this Python."""
    found = environment(rules)
    for source in sources:
        found.update(encode(f"{described(source)[:-1]}:{len(source.content)}\n"))
        found.update(source.content)
    return found.hexdigest()


def environment(rules: Sequence[Rule]) -> hashlib.blake2b:
    """A digest of all but files that a scan depends on, to which those can be added."""
    found = hashlib.blake2b(digest_size=24)
    for code in (*_PACKAGE.rglob("*.py"), *_files_of_plugins(rules)):
        with suppress(OSError):
            stat = code.stat()
            found.update(encode(f"{code}:{stat.st_mtime_ns}:{stat.st_size}\n"))
    chosen = " ".join(f"{rule.code} {rule.name} {rule.severity.value} {rule.begins_at}" for rule in rules)
    found.update(encode(f"{__version__} {sys.version} {sys.getfilesystemencoding()} {chosen} {os.getcwd()}\n"))
    return found


def described(source: Source) -> str:
    """All of a file but its content that a scan depends on."""
    return f"{source.path}:{source.file}:{source.module}:{source.library}:{source.named}:{source.analyzed}\n"


def load(name: str) -> Result | None:
    """The result with a key; None if there is none, or its checksum does not match."""
    text = read_entry(f"{name}.json")
    if text is None:
        return None
    try:
        findings, undecided, missed, coverage = json.loads(text)
        return Result(
            tuple(map(Finding.from_dict, findings)),
            tuple(map(Finding.from_dict, undecided)),
            tuple(NotChecked(**each) for each in missed),
            tuple(map(Coverage.from_dict, coverage)),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def store(name: str, result: Result) -> None:
    """Writes a result to the cache."""
    parts = (result.findings, result.undecided, result.not_checked, result.coverage)
    write_entry(f"{name}.json", json.dumps([[each.to_dict() for each in part] for part in parts]).encode())


def read_entry(name: str) -> bytes | None:
    """The content of an entry of the cache; None if there is none, or its checksum does not match."""
    try:
        checksum, _, content = (folder() / name).read_bytes().partition(b"\n")
    except (OSError, RuntimeError):
        return None
    return content if checksum == _checksum(name, content) else None


def write_entry(name: str, content: bytes) -> None:
    """Writes an entry, and deletes the oldest ones; a failure to write only costs time."""
    with suppress(OSError, RuntimeError):
        here = folder()
        here.mkdir(parents=True, exist_ok=True)
        write_atomically(here / name, _checksum(name, content) + b"\n" + content)
        known = sorted(here.iterdir(), key=lambda each: each.stat().st_mtime)
        for each in known[:-MOST_RESULTS]:
            each.unlink()


def _checksum(name: str, content: bytes) -> bytes:
    """The checksum of an entry and its name."""
    return hashlib.blake2b(name.encode() + content, digest_size=24).hexdigest().encode()


def _files_of_plugins(rules: Iterable[Rule]) -> Iterator[Path]:
    """The Python files of the packages, or the single modules, that rules of plugins come from."""
    names = dict.fromkeys(rule.module or rule.check.__module__ for rule in rules)
    modules = {name: sys.modules.get(name) for name in names if not name.startswith("regcheck.")}
    for package in dict.fromkeys(sys.modules.get(name.partition(".")[0]) for name in modules):
        for folder in getattr(package, "__path__", ()):
            yield from sorted(Path(folder).rglob("*.py"))
    yield from (Path(file) for module in modules.values() if (file := getattr(module, "__file__", None)))
