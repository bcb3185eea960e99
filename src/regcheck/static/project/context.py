"""Finds the files of a project that the findings in some of its files depend on.

Another file may build a class with a rate, use it as a part, or call it in some mode. So a file is analyzed together
with all files that use it, directly or not; in the files that those import, names are looked up. Packages are
transparent: a file that imports one name from a package uses the file that defines it, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from regcheck.files.escape import encode

from .discovery import KERAS, MARK
from .files import Import, Source
from .modules import Modules

MOST_BYTES = 400_000
"""The limit on the text of the users that are analyzed: analyzing as much takes about a second."""
MOST_BYTES_OF_TESTS = 100_000
"""The limit on the text of the users that are tests."""
MOST_SEARCHES = 16
"""For the users of so many files, the others are searched for the file's name; then each is asked what it uses."""


class ImportGraph:
    """Which files of a project use which, according to the text of their import statements."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.sources = tuple(sources)
        self._modules = Modules(self.sources)
        self._uses: dict[Source, tuple[frozenset[Source], frozenset[Source]]] = {}
        self._users: dict[Source, list[Source]] = {}
        self._inverted: dict[Source, list[Source]] = {}
        """The users of each file among those that were asked what they use."""
        self._not_asked = dict.fromkeys(self.sources)

    def used_by(self, source: Source) -> frozenset[Source]:
        """The files whose own names a file imports, through packages or not."""
        return self._uses_of(source)[0]

    def looked_up_by(self, source: Source) -> frozenset[Source]:
        """The files that a file uses, and the packages on the way to them."""
        return frozenset().union(*self._uses_of(source))

    def _uses_of(self, source: Source) -> tuple[frozenset[Source], frozenset[Source]]:
        if source not in self._uses:
            users: set[Source] = set()
            passed: set[Source] = set()
            for statement in source.imports:
                imported = {name for name, _ in statement.names}
                names = source.words if "*" in imported else source.attributes if statement.module is None else imported
                for target in self._targets(source, statement):
                    seen: set[Source] = set()
                    users |= self._through(target, names if target.tail not in imported else source.attributes, seen)
                    passed |= seen
            self._uses[source] = frozenset(users), frozenset(passed)
        return self._uses[source]

    def users(self, source: Source) -> Sequence[Source]:
        """The files that use a file directly, or through a package."""
        if source not in self._users:
            hints = [encode(each) for each in dict.fromkeys((*source.module.split("."), source.tail))]

            def names(each: Source) -> bool:
                return each is not source and any(hint in each.content for hint in hints)

            few = len(self._users) < MOST_SEARCHES
            for user in [*filter(names, self._not_asked)] if few else [*self._not_asked]:
                del self._not_asked[user]
                for each in self.used_by(user):
                    self._inverted.setdefault(each, []).append(user)
            self._users[source] = [*filter(names, self._inverted.get(source, ()))]
        return self._users[source]

    def has_subjects(self, source: Source) -> bool:
        """Whether a file can have findings: it names torch or Keras, or looks up names in a file that does."""
        return _names_a_library(source) or any(map(_names_a_library, self.looked_up_by(source)))

    def _targets(self, source: Source, statement: Import) -> Iterator[Source]:
        """The files that an import statement itself names."""
        targets: list[Source | str | None] = []
        if statement.module is None:
            for name, _ in statement.names:
                parts = name.split(".")
                targets += [self._modules.named(".".join(parts[:end]), source) for end in range(1, len(parts) + 1)]
        else:
            targets.append(self._modules.imported(source, statement.level, statement.module))
            for name, _ in statement.names:
                dotted = f"{statement.module}.{name}" if statement.module else name
                targets.append(self._modules.imported(source, statement.level, dotted))
        yield from dict.fromkeys(each for each in targets if isinstance(each, Source))

    def _through(self, target: Source, names: Iterable[str], passed: set[Source]) -> set[Source]:
        """A file; of a package, the files that define the names, which may be the package's own. `passed` grows."""
        if not target.is_package:
            return {target}
        wanted = {*names, *(name for each in target.imports for name, bound in each.names if bound in names)}
        sources = set() if wanted.isdisjoint(target.own_names) else {target}
        if target in passed:
            return sources
        passed.add(target)
        inner = {each: None for statement in target.imports for each in self._targets(target, statement)}
        inside = wanted | target.words if b"__getattr__" in target.content else wanted
        inner |= {each: None for each in self._modules.below(target) if each.tail in inside}
        for each in inner:
            if each.is_package or each.tail in wanted or not wanted.isdisjoint(each.offered):
                sources |= self._through(each, wanted, passed)
        return sources


def _names_a_library(source: Source) -> bool:
    return MARK in source.content or KERAS in source.content


def _is_of_tests(user: Source, examined: Iterable[Source]) -> bool:
    """Whether a file is a test, or lies in a folder of tests that no examined file is in."""
    folders = {"test", "tests"}.intersection(user.file.parts)
    return user.is_test or bool(folders.difference(*(each.file.parts for each in examined)))


def with_context(examined: Iterable[Source], others: Iterable[Source]) -> tuple[list[Source], int]:
    """The examined files with the other files of the project that matter for them, and the number of users left out.

    Users are left out where all of them are too much text: first tests, which say least and are not counted, then
    those at the greatest distance.
    """
    examined = [*examined]
    graph = ImportGraph((*examined, *others))
    analyzed, left_out = dict.fromkeys(examined), 0
    for of_tests, most in ((False, MOST_BYTES), (True, MOST_BYTES_OF_TESTS)):
        size = 0
        latest = [each for each in analyzed if graph.has_subjects(each)]
        while latest:
            users = dict.fromkeys(user for each in latest for user in graph.users(each))
            latest = []
            for user in sorted(users.keys() - analyzed.keys(), key=lambda each: each.path):
                if _is_of_tests(user, examined) and not of_tests:
                    continue
                size += len(user.content)
                if size <= most:
                    analyzed[user] = None
                    latest.append(user)
                elif not of_tests:
                    left_out += 1
    reached, latest = set(analyzed), [*analyzed]
    while latest:
        latest = [*{used for each in latest for used in graph.looked_up_by(each)} - reached]
        reached.update(latest)
    for each in reached - analyzed.keys():
        each.analyzed = False
    return [each for each in graph.sources if each in reached], left_out
