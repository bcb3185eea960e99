"""What users declare to be intended, as values, and the blocks of declarations that the running code is in."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import asdict
from typing import Any

from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass


@dataclass(frozen=True)
class CommentSuppression:
    """One rule that a comment `# regcheck: ignore[…] reason` ignores.

    `pattern` is a code, the beginning of one, or a name. `lines` are the ranges of lines, both ends included, that the
    comment covers; there are none where it stands in a place from which it reaches nothing. `whole_file` says that
    it is an `ignore-file`. `malformed` is the comment's text where that names no rule in brackets.
    """

    place: Place
    pattern: str
    reason: str = ""
    lines: tuple[tuple[int, int], ...] = ()
    whole_file: bool = False
    malformed: str = ""

    def covers(self, line: int) -> bool:
        return any(first <= line <= last for first, last in self.lines)


@dataclass(frozen=True)
class CodeSuppression:
    """One rule that code ignores as it runs: on a class, around a block, or by the marker of a test.

    `pattern` is a code, the beginning of one, or a name; `form` is how it is written, with `…` for the pattern.
    """

    pattern: str
    reason: str
    place: Place
    form: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> CodeSuppression:
        """Rebuild a declaration from `to_dict`."""
        return cls(**{**document, "place": Place(**document["place"])})


@dataclass(frozen=True)
class ConfigSuppression:
    """One rule that an option (`per-file-ignores`, `per-module-ignores`) ignores for the file or module at hand."""

    option: str
    pattern: str


@dataclass(frozen=True)
class SuppressionUse:
    """One suppression in use: whether it suppresses a finding, whether it lacks a required reason, and its rules.

    `known` says whether the pattern fits an existing rule, `meant` is the nearest code or name where it does not.
    `idle` says of a suppression in code why it suppresses nothing.
    """

    ignore: CommentSuppression | CodeSuppression
    silenced: bool
    needs_reason: bool
    known: bool
    meant: str = ""
    idle: str = ""


@dataclass(frozen=True)
class Suppressions:
    """Every suppression in the comments of one file, or in the code that a session ran, and its use."""

    outcomes: tuple[SuppressionUse, ...] = ()


BLOCKS: ContextVar[tuple[CodeSuppression, ...]] = ContextVar("regcheck_blocks", default=())
"""The declarations of the `with regcheck.ignore(…)` blocks that the running code is in, outermost first."""
