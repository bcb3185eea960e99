"""What an ignore in a comment or in code says, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from regcheck.files.place import Place


@dataclass(frozen=True)
class CommentSuppression:
    """One rule that a comment `# regcheck: ignore[…] reason` ignores.

    `pattern` is a code, the beginning of one, or a name. `lines` are the ranges of lines, both ends included, that the
    comment speaks for; there are none where it stands in a place from which it reaches nothing. `whole_file` says that
    it is an `ignore-file`. `malformed` is what the comment says where that names no rule in brackets.
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


@dataclass(frozen=True)
class SuppressionUse:
    """What came of an ignore: whether it silenced a finding, whether it had to give a reason, and its rules.

    `known` says whether the pattern fits a rule that there is, `meant` is the nearest known code or name where it does
    not. `idle` says of what is declared in code how it was seen to silence nothing.
    """

    ignore: CommentSuppression | CodeSuppression
    silenced: bool
    needs_reason: bool
    known: bool
    meant: str = ""
    idle: str = ""


@dataclass(frozen=True)
class Suppressions:
    """Every ignore in the comments of one file, or in the code that a session ran, with what came of it."""

    outcomes: tuple[SuppressionUse, ...] = ()
