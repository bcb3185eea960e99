"""Findings the user has declared to be intended: in a comment, on a class, or around a block of code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import FrameType
from typing import TypeVar

from regcheck.config.options import Options
from regcheck.config.select import chosen, ignores
from regcheck.core.errors import UsageError, nearest
from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.suppressions import CodeSuppression, CommentSuppression, Suppressions, SuppressionUse
from regcheck.files.place import Place
from regcheck.suppression.comments import ignores_in, malformed_in

Class = TypeVar("Class", bound=type)

_MANY = 100
_MARK = "__regcheck_ignores__"
_active: ContextVar[tuple[CodeSuppression, ...]] = ContextVar("regcheck_ignores", default=())


def silenced(finding: Finding, text: str, require_reason: bool = False) -> bool:
    """Whether a comment in the `text` of the finding's file ignores it.

    With `require_reason` an ignore that gives no reason silences nothing.
    """
    by_line, wide = _by_line(finding.path or "", text)
    return any(silences(each, finding, require_reason) for each in (*by_line.get(finding.line, ()), *wide))


@lru_cache(maxsize=8)
def _by_line(path: str, text: str) -> tuple[dict[int | None, list[CommentSuppression]], list[CommentSuppression]]:
    """The ignores of a file by the lines that they speak for, and those that speak for many lines."""
    narrow: dict[int | None, list[CommentSuppression]] = {}
    wide = []
    for each in ignores_in(path, text):
        if sum(last - first for first, last in each.lines) > _MANY:
            wide.append(each)
        else:
            for line in {line for first, last in each.lines for line in range(first, last + 1)}:
                narrow.setdefault(line, []).append(each)
    return narrow, wide


def silences(ignore: CommentSuppression, finding: Finding, require_reason: bool = False) -> bool:
    """Whether an ignore of the finding's file speaks for the finding."""
    covered = finding.line is not None and ignore.covers(finding.line)
    return covered and counts(ignore, require_reason) and ignores(finding.code, (ignore.pattern,), finding.name)


def counts(ignore: CommentSuppression | CodeSuppression, require_reason: bool) -> bool:
    """Whether an ignore gives the reason that it needs."""
    return bool(ignore.reason) or not require_reason


def came_of(path: str, text: str, findings: Sequence[Finding], rules: Sequence[Rule], options: Options) -> Suppressions:
    """What came of the ignores in a file, given what the rules found there and all the `rules` there are."""

    def outcome(ignore: CommentSuppression) -> SuppressionUse:
        silenced = any(silences(ignore, each, options.require_reason) for each in findings)
        return outcome_of(ignore, silenced, rules, options)

    malformed = (
        SuppressionUse(each, silenced=False, needs_reason=False, known=False) for each in malformed_in(path, text)
    )
    return Suppressions((*map(outcome, ignores_in(path, text)), *malformed))


def outcome_of(
    ignore: CommentSuppression | CodeSuppression,
    silenced: bool,
    rules: Sequence[Rule],
    options: Options,
    idle: str = "",
) -> SuppressionUse:
    """What came of one ignore, given all the `rules` there are."""
    known = any(ignores(rule.code, (ignore.pattern,), rule.name) for rule in rules)
    words = [word for rule in rules for word in (rule.code, rule.name)]
    meant = "" if known else nearest(ignore.pattern, words)
    return SuppressionUse(ignore, silenced, not counts(ignore, options.require_reason), known, meant, idle)


def useless(
    declared: CodeSuppression,
    silenced: bool,
    rules: Sequence[Rule],
    options: Options,
    idle: str = "",
    *,
    grave: bool = False,
) -> Iterator[Finding]:
    """What the rule about ignores finds in a declaration, given all the `rules` there are.

    What merely found nothing to silence, as `idle` tells, is advice unless it is `grave`.
    """
    outcome = outcome_of(declared, silenced, rules, options, idle)
    advice = outcome.known and not outcome.needs_reason and not grave
    for rule in chosen(rules, options):
        if rule.about == "ignores":
            for each in merged(rule.check(Suppressions((outcome,)))):
                yield finding(rule, replace(each, severity=Severity.INFO if advice else None), _NOTED)


def could_speak(declared: CodeSuppression, rules: Sequence[Rule], options: Options) -> bool:
    """Whether a rule that runs on what is watched is one that the declaration is about."""
    live = (rule for rule in chosen(rules, options) if rule.about in ("graph", "usage"))
    return any(ignores(rule.code, (declared.pattern,), rule.name) for rule in live)


_NOTED = Evidence(Verdict.CONFIRMED, because="what silenced a finding was noted as the program ran")


def ignored_by(subject: object) -> tuple[CodeSuppression, ...]:
    """What `@regcheck.ignore` ignores in a class, or in the class of an instance, its base classes included."""
    cls = subject if isinstance(subject, type) else type(subject)
    return tuple(each for base in cls.__mro__ for each in base.__dict__.get(_MARK, ()))


def active() -> tuple[CodeSuppression, ...]:
    """What the `with regcheck.ignore(…)` blocks ignore that the caller is in."""
    return _active.get()


def intended(finding: Finding | Rule, declared: Iterable[CodeSuppression], require_reason: bool = False) -> bool:
    """Whether something of what is `declared` silences the finding, or all that the rule finds, and note which."""
    found = [each for each in declared if ignores(finding.code, (each.pattern,), finding.name)]
    speaking = [each for each in found if counts(each, require_reason)]
    for notes in _notes:
        notes.used.update(dict.fromkeys(speaking))
    return bool(speaking)


@dataclass
class SuppressionLog:
    """What the blocks declared that were entered, and which declarations silenced a finding."""

    entered: dict[CodeSuppression, None] = field(default_factory=dict)
    used: dict[CodeSuppression, None] = field(default_factory=dict)


_notes: list[SuppressionLog] = []


@contextmanager
def noted(notes: SuppressionLog | None = None) -> Iterator[SuppressionLog]:
    """Note what is declared around blocks, and what silences a finding, as long as this lasts."""
    notes = SuppressionLog() if notes is None else notes
    _notes.append(notes)
    try:
        yield notes
    finally:
        _notes[:] = [each for each in _notes if each is not notes]


class ignore:  # noqa: N801, it is used as a decorator and in `with`, where a function's name reads better
    """Declare findings to be intended.

    On a class, in every model that contains it: `@regcheck.ignore("REG202", reason="Monte-Carlo dropout")`.
    Around a block, for what is audited or watched in it: `with regcheck.ignore("REG301", reason="as in the paper"):`;
    in a `forward`, for the calls in it.

    Raises:
        UsageError: no code is given, or something else than a class is decorated.
    """

    def __init__(self, *codes: str, reason: str = "") -> None:
        if {type(code) for code in codes} != {str} or not all(codes):
            raise UsageError('say what to ignore, as in `regcheck.ignore("REG202", reason="Monte-Carlo dropout")`')
        self._codes, self._reason, self._place = codes, reason, _caller(sys._getframe(1))
        self._tokens: list[Token[tuple[CodeSuppression, ...]]] = []

    def _declared(self, form: str) -> tuple[CodeSuppression, ...]:
        return tuple(CodeSuppression(code, self._reason, self._place, form) for code in self._codes)

    def __call__(self, cls: Class) -> Class:
        """Mark a class."""
        if not isinstance(cls, type):
            raise UsageError(
                f"`@regcheck.ignore` goes on a class, not on {cls!r}; `with regcheck.ignore(…)` is for code"
            )
        setattr(cls, _MARK, (*self._declared('@regcheck.ignore("…")'), *cls.__dict__.get(_MARK, ())))
        return cls

    def __enter__(self) -> None:
        declared = self._declared('with regcheck.ignore("…")')
        for notes in _notes:
            notes.entered.update(dict.fromkeys(declared))
        self._tokens.append(_active.set((*_active.get(), *declared)))

    def __exit__(self, *error: object) -> None:
        _active.reset(self._tokens.pop())


def _caller(frame: FrameType) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno)
