"""Findings the user has declared to be intended: in a comment, on a class, or around a block of code."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import TypeVar

from regcheck.config.comments import ignores_in, malformed_in
from regcheck.config.options import Options
from regcheck.config.select import ignores
from regcheck.core.errors import UsageError, nearest
from regcheck.core.finding import Finding
from regcheck.core.ignores import Ignore, Ignores, Outcome
from regcheck.core.rule import Rule

Class = TypeVar("Class", bound=type)
Ignored = tuple[str, str]
"""A code, name or prefix that is ignored, and the reason given."""

_MARK = "__regcheck_ignores__"
_active: ContextVar[tuple[Ignored, ...]] = ContextVar("regcheck_ignores", default=())


def silenced(finding: Finding, text: str, require_reason: bool = False) -> bool:
    """Whether a comment in the `text` of the finding's file ignores it.

    With `require_reason` an ignore that gives no reason silences nothing.
    """
    return any(silences(each, finding, require_reason) for each in ignores_in(finding.path or "", text))


def silences(ignore: Ignore, finding: Finding, require_reason: bool = False) -> bool:
    """Whether an ignore of the finding's file speaks for the finding."""
    covered = finding.line is not None and ignore.covers(finding.line)
    return covered and counts(ignore, require_reason) and ignores(finding.code, (ignore.pattern,), finding.name)


def counts(ignore: Ignore, require_reason: bool) -> bool:
    """Whether an ignore gives the reason that it needs."""
    return bool(ignore.reason) or not require_reason


def came_of(path: str, text: str, findings: Sequence[Finding], rules: Sequence[Rule], options: Options) -> Ignores:
    """What came of the ignores in a file, given what the rules found there and all the `rules` there are."""
    words = [word for rule in rules for word in (rule.code, rule.name)]

    def outcome(ignore: Ignore) -> Outcome:
        known = any(ignores(rule.code, (ignore.pattern,), rule.name) for rule in rules)
        return Outcome(
            ignore,
            silenced=any(silences(ignore, each, options.require_reason) for each in findings),
            needs_reason=not counts(ignore, options.require_reason),
            known=known,
            meant="" if known else nearest(ignore.pattern, words),
        )

    malformed = (Outcome(each, silenced=False, needs_reason=False, known=False) for each in malformed_in(path, text))
    return Ignores((*map(outcome, ignores_in(path, text)), *malformed))


def ignored_by(subject: object) -> tuple[Ignored, ...]:
    """What `@regcheck.ignore` ignores in a class, or in the class of an instance, its base classes included."""
    cls = subject if isinstance(subject, type) else type(subject)
    return tuple(each for base in cls.__mro__ for each in base.__dict__.get(_MARK, ()))


def active() -> tuple[Ignored, ...]:
    """What the `with regcheck.ignore(…)` blocks ignore that the caller is in."""
    return _active.get()


class ignore:  # noqa: N801, it is used as a decorator and in `with`, where a function's name reads better
    """Declare findings to be intended.

    On a class, in every model that contains it: `@regcheck.ignore("REG202", reason="Monte-Carlo dropout")`.
    Around a block, for every audit in it: `with regcheck.ignore("REG301", reason="as in the paper"):`.

    Raises:
        UsageError: no code is given, or something else than a class is decorated.
    """

    def __init__(self, *codes: str, reason: str = "") -> None:
        if {type(code) for code in codes} != {str} or not all(codes):
            raise UsageError('say what to ignore, as in `regcheck.ignore("REG202", reason="Monte-Carlo dropout")`')
        self._ignored: tuple[Ignored, ...] = tuple((code, reason) for code in codes)
        self._tokens: list[Token[tuple[Ignored, ...]]] = []

    def __call__(self, cls: Class) -> Class:
        """Mark a class."""
        if not isinstance(cls, type):
            raise UsageError(
                f"`@regcheck.ignore` goes on a class, not on {cls!r}; `with regcheck.ignore(…)` is for code"
            )
        setattr(cls, _MARK, (*self._ignored, *cls.__dict__.get(_MARK, ())))
        return cls

    def __enter__(self) -> None:
        self._tokens.append(_active.set((*_active.get(), *self._ignored)))

    def __exit__(self, *error: object) -> None:
        _active.reset(self._tokens.pop())
