"""A cache of the readings of files: after a change, the classes that it cannot affect are not followed again."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Iterable, Mapping, Sequence

from regcheck.core.rule import Rule
from regcheck.core.starting_points import Trait
from regcheck.files.escape import encode

from .project.files import Source
from .project.names import Project
from .project.result_cache import CACHE, described, environment
from .reading import FileReading

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

    def load(self) -> dict[str, FileReading]:
        """The readings that no change since affects, by path."""
        entry = CACHE.read(self._name) if self._is_used else None
        if entry is None:
            return {}
        contents, files = pickle.loads(entry)  # its checksum says that regcheck wrote it
        changed = [each for each in self.project.sources if self._contents[each.path] != contents[each.path]]
        return {each.path: each for each in files if not _is_affected(each, changed)}

    def store(self, known: Mapping[str, FileReading], files: Iterable[FileReading]) -> None:
        """Writes the readings, if some are not among those that are `known`."""
        files = tuple(files)
        if self._is_used and any(each is not known.get(each.path) for each in files):
            CACHE.write(self._name, pickle.dumps((self._contents, files)))


def _is_affected(reading: FileReading, changed: Iterable[Source]) -> bool:
    """Whether a reading depends on a file that has changed."""
    return any(
        each.path == reading.path
        or each.path in reading.reached
        or not reading.configured.isdisjoint(name.decode(errors="replace") for name in _CALLED.findall(each.content))
        for each in changed
    )
