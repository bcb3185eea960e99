"""A cache of the readings of files: after a change, what it cannot affect is neither parsed nor followed again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from regcheck.core.rule import Rule
from regcheck.core.starting_points import Trait
from regcheck.files.escape import encode

from .file_records import Decoder, Encoder, FileRecord
from .project.files import Source
from .project.names import Project
from .project.result_cache import CACHE, described, environment
from .reading import EarlierReadings, FilePrograms, FileReading, ReadingParts

_CALLED = re.compile(rb"\b(\w+)\s*\(")


class ReadingCache:
    """The readings of files from the last analysis of the same files by the same rules, whatever is in the files.

    Where files come, go or move, or the attributes that code assigns on other objects change, all are read again. The
    entry has a line about the whole project, and one for each file: what its text says, and its readings.
    """

    def __init__(self, project: Project, rules: Sequence[Rule]) -> None:
        self.project = project
        digest = environment(rules)
        for source in project.sources:
            digest.update(encode(described(source)))
        self._name = f"{digest.hexdigest()}.readings"
        self._is_used = Trait.UNCALLED not in project.starts  # any line of the project may call a layer
        self._entry: list[bytes] = []
        self._records: dict[str, FileRecord] = {}
        """The records of unchanged files, by path."""

    def load(self) -> EarlierReadings:
        """The readings that no change since affects. Unchanged files get what their text says."""
        entry = CACHE.read(self._name) if self._is_used else None
        try:
            return self._earlier_readings(entry.split(b"\n")) if entry is not None else EarlierReadings()
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):  # another wrote it
            return EarlierReadings()

    def _earlier_readings(self, lines: list[bytes]) -> EarlierReadings:
        sources = self.project.sources
        paths = [each.path for each in sources]
        digests, assigned, models = json.loads(lines[0])
        rows = zip(sources, digests, lines[1:], strict=True)
        unchanged = [(source, json.loads(line)) for source, digest, line in rows if source.digest == digest]
        facts = [(source, frozenset(words), *more) for source, ((words, *more), *_) in unchanged]
        records = {source.path: Decoder(source.path, paths).record(parts) for source, (_, *parts) in unchanged}
        for source, words, assignments, holds_start in facts:
            source.imported_words, source.attribute_assignments = words, assignments
            self.project.prefilter.holds_start[source] = holds_start
        self._records, self._entry = records, lines
        changed = [each for each in sources if each.path not in records]
        change = _Change(changed, frozenset([each.path for each in self.project.relevant]))
        readings = records.values()
        outlines = [each.outline for each in readings if each.outline and not change.reaches(each.outline.reached)]
        earlier = EarlierReadings(outlines={each.path: each for each in outlines}, models=frozenset(models))
        if assigned != self._assigned:
            return earlier
        classes = [each.classes for each in readings if each.classes and not change.affects(each.classes)]
        programs = [each.programs for each in readings if each.programs and not change.affects(each.programs)]
        return replace(
            earlier, classes={each.path: each for each in classes}, programs={each.path: each for each in programs}
        )

    @property
    def _assigned(self) -> list[list[str | bool]]:
        return [[*each] for each in sorted(self.project.attribute_assignments.items())]

    def store(self, parts: ReadingParts) -> None:
        """Writes the readings of files, in which rules have checked all graphs and usages."""
        if self._is_used:
            entry = self._new_entry(parts)
            if entry != self._entry:
                CACHE.write(self._name, b"\n".join(entry))

    def _new_entry(self, parts: ReadingParts) -> list[bytes]:
        sources = self.project.sources
        numbers = {each.path: number for number, each in enumerate(sources)}
        outlines = {each.path: each for each in parts.programs.outlines}
        classes = {each.path: each for each in parts.files}
        programs = {each.path: each for each in parts.programs.files}
        holds_start = self.project.prefilter.holds_start
        models = sorted({name for each in outlines.values() for name in each.models})
        entry = [_line([[each.digest for each in sources], self._assigned, models])]
        for number, source in enumerate(sources, 1):
            path = source.path
            record = FileRecord(outlines.get(path), classes.get(path), programs.get(path))
            earlier = self._records.get(path)
            if earlier is not None and all(one is other for one, other in zip(record, earlier, strict=True)):
                entry.append(self._entry[number])
            else:
                facts = sorted(source.imported_words), source.attribute_assignments, holds_start.get(source, True)
                entry.append(_line([facts, *Encoder(numbers).record(record)]))
        return entry


def _line(document: list[Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


class _Change:
    """What changed since readings were made: files, and which ones are `relevant`, by path."""

    def __init__(self, files: Sequence[Source], relevant: frozenset[str]) -> None:
        self._paths = frozenset([each.path for each in files])
        self._called = frozenset([name for each in files for name in _decoded(_CALLED.findall(each.content))])
        self._words = frozenset([name for each in files for name in each.words])
        self._relevant = relevant

    def reaches(self, paths: frozenset[str]) -> bool:
        """Whether one of these files changed."""
        return not paths.isdisjoint(self._paths)

    def affects(self, reading: FileReading | FilePrograms) -> bool:
        """Whether a reading of an unchanged file depends on what changed."""
        dependencies = reading.dependencies
        return not (
            dependencies.reached.isdisjoint(self._paths)
            and dependencies.configured.isdisjoint(self._called)
            and dependencies.mentioned.isdisjoint(self._words)
            and dependencies.reached & self._relevant == dependencies.relevant
        )


def _decoded(names: Iterable[bytes]) -> Iterator[str]:
    return (each.decode(errors="replace") for each in names)
