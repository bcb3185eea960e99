"""Findings the user has declared to be intended: on the line, on a class, or around a block of code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import TypeVar

from regcheck.config.select import ignores
from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding

Class = TypeVar("Class", bound=type)
Ignored = tuple[str, str]
"""A code, name or prefix that is ignored, and the reason given."""

_COMMENT = re.compile(r"#\s*regcheck:\s*ignore\[(?P<codes>[^\]]*)\]\s*(?P<reason>[^#]*)")
_MARK = "__regcheck_ignores__"
_active: ContextVar[tuple[Ignored, ...]] = ContextVar("regcheck_ignores", default=())


def silenced(finding: Finding, lines: Sequence[str], require_reason: bool = False) -> bool:
    """Whether the finding's line, among the `lines` of its file, carries an ignore for it.

    With `require_reason` an ignore that gives no reason silences nothing.
    """
    if finding.line is None or not 1 <= finding.line <= len(lines):
        return False
    ignored = [each for each in ignored_on(lines[finding.line - 1]) if each[1] or not require_reason]
    return ignores(finding.code, [code for code, _ in ignored], finding.name)


def ignored_on(line: str) -> tuple[Ignored, ...]:
    """What `# regcheck: ignore[CODE, CODE] reason` on a line of source ignores."""
    return tuple(
        (code.strip(), found["reason"].strip())
        for found in _COMMENT.finditer(line)
        for code in found["codes"].split(",")
        if code.strip()
    )


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
