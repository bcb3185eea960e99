"""What the code of a session declares to be intended, and what of it turned out to silence nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from enum import Enum
from typing import Any

from regcheck.config.options import Options
from regcheck.core.finding import Finding
from regcheck.core.suppressions import CodeSuppression
from regcheck.files.place import Place
from regcheck.plugins import catalogue
from regcheck.suppression.unused import names_a_live_rule, unused_declaration


class DeclarationStatus(Enum):
    """What became of a declaration in one test. It is open where the test failed, or something was not checked."""

    USED = "used"
    IDLE = "idle"
    OPEN = "open"


def noted_as(fates: Mapping[CodeSuppression, DeclarationStatus], is_test: Callable[[str], bool]) -> list[Any]:
    """The fates of one test's declarations, for another process; `is_test` tells test code from the code under test."""
    return [[asdict(each), fate.value, is_test(each.place.path)] for each, fate in fates.items()]


class Intent:
    """The declarations of a session and their fates, test by test."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._fates: dict[CodeSuppression, Counter[DeclarationStatus]] = {}
        self._in_tests: set[CodeSuppression] = set()

    def add(self, noted: list[Any]) -> None:
        """Take in what `noted_as` tells of one test."""
        for document, fate, in_test in noted:
            declared = CodeSuppression(**{**document, "place": Place(**document["place"])})
            self._fates.setdefault(declared, Counter())[DeclarationStatus(fate)] += 1
            if in_test:
                self._in_tests.add(declared)

    def findings(self, complete: bool) -> Iterator[Finding]:
        """Those that silence nothing, as findings of the rule that is about them.

        What merely found nothing to silence is told only where the session is `complete`. In the code under test that
        is advice: what other callers make of it the tests cannot show.
        """
        for declared, fates in self._fates.items():
            idle = ""
            if (
                complete
                and set(fates) == {DeclarationStatus.IDLE}
                and names_a_live_rule(declared, catalogue(), self._options)
            ):
                idle = _told(fates.total())
            used, grave = fates[DeclarationStatus.USED] > 0, declared in self._in_tests
            yield from unused_declaration(declared, used, catalogue(), self._options, idle, is_serious=grave)


def _told(times: int) -> str:
    return (
        "its test showed no such finding"
        if times == 1
        else f"none of the {times} tests concerned showed such a finding"
    )
