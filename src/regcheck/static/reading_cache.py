"""A cache of the readings of files: after a change, what it cannot affect is not followed again."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable, Iterator, Sequence

from regcheck.core.rule import Rule
from regcheck.core.starting_points import Trait
from regcheck.files.escape import encode

from .project.files import Source
from .project.names import Project
from .project.result_cache import CACHE, described, environment
from .reading import FilePrograms, FileReading, Known, Reading

_CALLED = re.compile(rb"\b(\w+)\s*\(")


class ReadingCache:
    """The readings of files from the last analysis of the same files by the same rules, whatever is in the files.

    Where files come, go or move, or the attributes that code assigns on other objects change, all are read again.
    """

    def __init__(self, project: Project, rules: Sequence[Rule]) -> None:
        self.project = project
        found = environment(rules)
        for source in project.sources:
            found.update(encode(described(source)))
        found.update(repr(sorted(project.attribute_assignments.items())).encode())
        self._name = f"{found.hexdigest()}.readings"
        self._contents = {each.path: hashlib.blake2b(each.content, digest_size=16).digest() for each in project.sources}
        self._is_used = Trait.UNCALLED not in project.starts  # any line of the project may call a layer

    def load(self) -> Known:
        """The readings that no change since affects."""
        entry = CACHE.read(self._name) if self._is_used else None
        if entry is None:
            return Known()
        contents, classes, programs = pickle.loads(entry)  # its checksum says that regcheck wrote it
        changed = [each for each in self.project.sources if self._contents[each.path] != contents[each.path]]
        change = _Change(changed, frozenset([each.path for each in self.project.relevant]))
        return Known(
            {each.path: each for each in classes if not change.affects(each)},
            {each.path: each for each in programs if not change.affects(each)},
        )

    def store(self, known: Known, reading: Reading) -> None:
        """Writes the readings of files, if some are not among those that are `known`."""
        is_new = any(each is not known.classes.get(each.path) for each in reading.files) or any(
            each is not known.programs.get(each.path) for each in reading.programs
        )
        if self._is_used and is_new:
            CACHE.write(self._name, pickle.dumps((self._contents, reading.files, reading.programs)))


class _Change:
    """What changed since readings were made: files, and which ones are `relevant`, by path."""

    def __init__(self, files: Sequence[Source], relevant: frozenset[str]) -> None:
        self._paths = frozenset([each.path for each in files])
        self._called = frozenset([name for each in files for name in _decoded(_CALLED.findall(each.content))])
        self._words = frozenset([name for each in files for name in each.words])
        self._relevant = relevant

    def affects(self, reading: FileReading | FilePrograms) -> bool:
        """Whether a reading depends on what changed."""
        found = reading.dependencies
        return not (
            reading.path not in self._paths
            and found.reached.isdisjoint(self._paths)
            and found.configured.isdisjoint(self._called)
            and found.mentioned.isdisjoint(self._words)
            and found.reached & self._relevant == found.relevant
        )


def _decoded(names: Iterable[bytes]) -> Iterator[str]:
    return (each.decode(errors="replace") for each in names)
