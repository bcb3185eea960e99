"""The declarations of a suite, test by test: which of them suppress something, and which nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum

from regcheck.config.options import Options
from regcheck.core.finding import Finding
from regcheck.core.suppressions import CodeSuppression
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue
from regcheck.suppression.decide import has_reason
from regcheck.suppression.unused import names_a_live_rule, unused_declaration


class DeclarationStatus(Enum):
    """Whether a declaration suppressed something in one test.

    It is open where the test failed, or something was not checked.
    """

    USED = "used"
    IDLE = "idle"
    OPEN = "open"


@dataclass(frozen=True)
class DeclarationUse:
    """The status of a declaration in one test; `in_test` says that test code declares it, not the code under test."""

    declaration: CodeSuppression
    status: DeclarationStatus
    in_test: bool


class Declarations:
    """The declarations of a suite and their statuses in its tests."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._statuses: dict[CodeSuppression, Counter[DeclarationStatus]] = {}
        self._in_tests: set[CodeSuppression] = set()

    def add(self, uses: Iterable[DeclarationUse]) -> None:
        """Add the uses of declarations in one test."""
        for each in uses:
            self._statuses.setdefault(each.declaration, Counter())[each.status] += 1
            if each.in_test:
                self._in_tests.add(each.declaration)

    @property
    def in_use(self) -> tuple[CodeSuppression, ...]:
        """The declarations that suppress something, or may do so where a test could not be checked."""
        return tuple(each for each, statuses in self._statuses.items() if set(statuses) != {DeclarationStatus.IDLE})

    def idle(self, complete: bool) -> tuple[CodeSuppression, ...]:
        """The declarations of which a finding says that no test showed what they suppress."""
        return tuple(
            each
            for each, statuses in self._statuses.items()
            if self._is_idle(each, statuses, complete) and has_reason(each, self._options)
        )

    def _is_idle(self, declaration: CodeSuppression, statuses: Counter[DeclarationStatus], complete: bool) -> bool:
        is_idle = complete and set(statuses) == {DeclarationStatus.IDLE}
        return is_idle and names_a_live_rule(declaration, catalogue(), self._options)

    def unused(self, complete: bool) -> Iterator[Finding]:
        """The findings about declarations that suppress nothing.

        One that is merely idle is reported only where the session is `complete`. In the code under test that is advice:
        the tests cannot show what other callers would.
        """
        for declaration, statuses in self._statuses.items():
            idle, tests = "", statuses.total()
            if self._is_idle(declaration, statuses, complete):
                concerned = f"none of the {tests} tests concerned showed such a finding"
                idle = concerned if tests > 1 else "its test showed no such finding"
            used, in_test = statuses[DeclarationStatus.USED] > 0, declaration in self._in_tests
            yield from unused_declaration(declaration, used, catalogue(), self._options, idle, is_serious=in_test)
