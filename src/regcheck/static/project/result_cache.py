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
from regcheck.files.escape import encode
from regcheck.files.user_cache import UserCache

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


CACHE = UserCache("scans")

_PACKAGE = Path(__file__).parents[2]


def digest(sources: Iterable[Source], rules: Sequence[Rule]) -> str:
    """The cache key of a scan: a digest of the files and their paths, the rules, regcheck itself and this Python."""
    hashed = environment(rules)
    for source in sources:
        hashed.update(encode(f"{described(source)[:-1]}:{source.digest}\n"))
    return hashed.hexdigest()


def environment(rules: Sequence[Rule]) -> hashlib.blake2b:
    """A digest of all but files that a scan depends on, to which those can be added."""
    hashed = hashlib.blake2b(digest_size=24)
    for code in (*_PACKAGE.rglob("*.py"), *_files_of_plugins(rules)):
        with suppress(OSError):
            stat = code.stat()
            hashed.update(encode(f"{code}:{stat.st_mtime_ns}:{stat.st_size}\n"))
    chosen = " ".join(f"{rule.code} {rule.name} {rule.severity.value} {rule.begins_at}" for rule in rules)
    hashed.update(encode(f"{__version__} {sys.version} {sys.getfilesystemencoding()} {chosen} {os.getcwd()}\n"))
    return hashed


def described(source: Source) -> str:
    """All of a file but its content that a scan depends on."""
    return f"{source.path}:{source.file}:{source.module}:{source.library}:{source.named}:{source.analyzed}\n"


def load(name: str) -> Result | None:
    """The result with a key; None if there is none, or its checksum does not match."""
    text = CACHE.read(f"{name}.json")
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
    CACHE.write(f"{name}.json", json.dumps([[each.to_dict() for each in part] for part in parts]).encode())


def _files_of_plugins(rules: Iterable[Rule]) -> Iterator[Path]:
    """The Python files of the packages, or the single modules, that rules of plugins come from."""
    names = dict.fromkeys(rule.module or rule.check.__module__ for rule in rules)
    modules = {name: sys.modules.get(name) for name in names if not name.startswith("regcheck.")}
    for package in dict.fromkeys(sys.modules.get(name.partition(".")[0]) for name in modules):
        for folder in getattr(package, "__path__", ()):
            yield from sorted(Path(folder).rglob("*.py"))
    yield from (Path(file) for module in modules.values() if (file := getattr(module, "__file__", None)))
