"""Decide whether a finding is reported, and name its suppressions where it is not.

Every comment, class, block, marker, option and baseline suppresses findings through this one function. The decision is
a pure function of the finding and its context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from enum import Enum

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.finding import Finding, Severity, Verdict
from regcheck.core.suppressions import CodeSuppression, CommentSuppression, ConfigSuppression
from regcheck.lazy_dataclass import dataclass
from regcheck.suppression.baseline import Entry
from regcheck.suppression.comments import FileComments

Suppression = CodeSuppression | CommentSuppression | ConfigSuppression


class Outcome(Enum):
    """Where a finding goes."""

    REPORTED = "reported"
    SUPPRESSED = "suppressed by a declaration"
    REFUTED = "refuted by measurement"
    IN_BASELINE = "in the baseline"
    ADVICE = "advice that nobody selects"


@dataclass(frozen=True)
class Decision:
    """Where a finding goes, and every declaration that suppresses it."""

    outcome: Outcome
    by: tuple[Suppression, ...] = ()

    @property
    def is_suppressed(self) -> bool:
        return self.outcome is Outcome.SUPPRESSED

    @property
    def by_code(self) -> tuple[CodeSuppression, ...]:
        """Those of the suppressing declarations that code makes as it runs."""
        return tuple(each for each in self.by if isinstance(each, CodeSuppression))


@dataclass(frozen=True)
class Context:
    """What can suppress one finding.

    `code` are the declarations that code makes around it: blocks, classes, the markers of a test. `comments` are those
    of its file, and `path` is that file as `per-file-ignores` names it. `entry` describes the finding where there is a
    `baseline`. A finding that is not `live` comes from source, and is advice by its own severity.
    """

    options: Options
    code: tuple[CodeSuppression, ...] = ()
    comments: FileComments = field(default_factory=FileComments)
    path: str = ""
    entry: Entry | None = None
    baseline: frozenset[Entry] = frozenset()
    live: bool = True


def decide(finding: Finding, context: Context) -> Decision:
    """Decide where a finding goes.

    A declaration counts if its pattern fits the rule and, under `require-reason`, if it gives a reason. Declarations
    come before the verdict, the verdict before the baseline, and the baseline before advice. Advice is reported only
    where `select` or `extend-select` asks for its rule.
    """
    options = context.options
    by = tuple(
        each
        for each in _around(finding, context)
        if select.ignores(finding.code, (each.pattern,), finding.name) and has_reason(each, options)
    )
    if by:
        return Decision(Outcome.SUPPRESSED, by)
    if finding.evidence.verdict is Verdict.REFUTED:
        return Decision(Outcome.REFUTED)
    if context.entry in context.baseline:
        return Decision(Outcome.IN_BASELINE)
    weight = finding.evidence.lowers_to if context.live else finding.severity
    if weight is Severity.INFO and not select.asks_for(finding.code, finding.name, options):
        return Decision(Outcome.ADVICE)
    return Decision(Outcome.REPORTED)


def has_reason(suppression: Suppression, options: Options) -> bool:
    """Whether a suppression gives a reason, where it has to; an option needs none."""
    return not options.require_reason or isinstance(suppression, ConfigSuppression) or bool(suppression.reason)


def _around(finding: Finding, context: Context) -> Iterator[Suppression]:
    """Every suppression at the finding's place, of whatever rule."""
    yield from context.code
    yield from context.comments.covering(finding.line)
    for pattern in select.ignored_within(finding.module_path, context.options):
        yield ConfigSuppression("per-module-ignores", pattern)
    for pattern in select.ignored_in(context.path, context.options) if context.path else ():
        yield ConfigSuppression("per-file-ignores", pattern)
