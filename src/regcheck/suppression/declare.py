"""Declare in code that findings are intended: `@regcheck.ignore(…)` on a class, `with regcheck.ignore(…)` at a block.

An open `SuppressionLog` records which blocks code enters and which declarations suppress a finding: a block that is
entered and not used suppresses nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import field
from typing import TypeVar

from regcheck.core.errors import UsageError
from regcheck.core.finding import Finding
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

Class = TypeVar("Class", bound=type)

_MARK = "__regcheck_ignores__"


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
        caller = sys._getframe(1)
        self._codes, self._reason = codes, reason
        self._place = Place(caller.f_code.co_filename, caller.f_lineno)
        self._tokens: list[Token[tuple[CodeSuppression, ...]]] = []

    def _declarations(self, form: str) -> tuple[CodeSuppression, ...]:
        return tuple(CodeSuppression(code, self._reason, self._place, form) for code in self._codes)

    def __call__(self, cls: Class) -> Class:
        """Mark a class."""
        if not isinstance(cls, type):
            raise UsageError(
                f"`@regcheck.ignore` goes on a class, not on {cls!r}; `with regcheck.ignore(…)` is for code"
            )
        setattr(cls, _MARK, (*self._declarations('@regcheck.ignore("…")'), *cls.__dict__.get(_MARK, ())))
        return cls

    def __enter__(self) -> None:
        declarations = self._declarations('with regcheck.ignore("…")')
        for log in _open_logs:
            log.entered.update(dict.fromkeys(declarations))
        self._tokens.append(BLOCKS.set((*BLOCKS.get(), *declarations)))

    def __exit__(self, *error: object) -> None:
        BLOCKS.reset(self._tokens.pop())


@contextmanager
def declaring(declarations: Iterable[CodeSuppression]) -> Iterator[None]:
    """Make declarations for the code within, as a block around it does."""
    token = BLOCKS.set((*BLOCKS.get(), *declarations))
    try:
        yield
    finally:
        BLOCKS.reset(token)


def class_declarations(subject: object) -> tuple[CodeSuppression, ...]:
    """The declarations of `@regcheck.ignore` on a class, or on the class of an instance, base classes included."""
    cls = subject if isinstance(subject, type) else type(subject)
    return tuple(each for base in cls.__mro__ for each in base.__dict__.get(_MARK, ()))


def declarations_around(modules: Mapping[str, object], finding: Finding) -> tuple[CodeSuppression, ...]:
    """The declarations of the classes of the modules, by path, that contain the finding's module."""
    path = finding.module_path
    around = (module for name, module in modules.items() if name == "" or path == name or path.startswith(f"{name}."))
    return tuple(each for module in around for each in class_declarations(module))


@dataclass
class SuppressionLog:
    """The declarations of the blocks that code entered, and the declarations that suppressed a finding."""

    entered: dict[CodeSuppression, None] = field(default_factory=dict)
    used: dict[CodeSuppression, None] = field(default_factory=dict)


_open_logs: list[SuppressionLog] = []
"""Blocks may be entered in any thread, so the open logs belong to the process."""


@contextmanager
def open_log(log: SuppressionLog) -> Iterator[SuppressionLog]:
    """Write to the log as long as this lasts."""
    _open_logs.append(log)
    try:
        yield log
    finally:
        _open_logs[:] = [each for each in _open_logs if each is not log]


def log_used(declarations: Iterable[CodeSuppression]) -> None:
    """Write to every open log that these declarations suppressed a finding."""
    used = dict.fromkeys(declarations)
    for log in _open_logs:
        log.used.update(used)
