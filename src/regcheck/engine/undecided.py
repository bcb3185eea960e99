"""Suspicions that an op of unknown effect leaves open, listed as not checked: one entry for each file or model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from regcheck.config.options import Options
from regcheck.core.finding import Evidence, Finding, NotChecked, Suspicion, Verdict
from regcheck.core.graph import Kind
from regcheck.core.report import counted
from regcheck.core.rule import Rule, finding
from regcheck.core.suppressions import CodeSuppression
from regcheck.suppression.apply import context_of, shown_path
from regcheck.suppression.decide import decide
from regcheck.torch_api.functions import BRANCH


def open_question(rule: Rule, suspicion: Suspicion) -> Finding:
    """A suspicion with an `undecided` op as a finding that suppressions can be asked about; its evidence says why."""
    op = suspicion.undecided
    assert op is not None
    if op.site.function == BRANCH:
        because = "random draw: what depends on the branch that it decides is unknown"
    else:
        call = "a call of unknown code" if op.kind is Kind.OPAQUE else f"`{op.site.function}`"
        where = f" in line {op.place.line}" if op.place else ""
        because = f"dropout: how {call}{where} moves the axes of a feature map is unknown"
    return finding(rule, suspicion, Evidence(Verdict.UNMEASURED, because=because))


def entries(
    questions: Iterable[Finding],
    answered: Iterable[Finding],
    options: Options,
    what_to_do: str,
    subject: str = "",
    declared: Callable[[Finding], tuple[CodeSuppression, ...]] = lambda finding: (),
) -> Iterator[NotChecked]:
    """One entry for each rule and file, or for each rule where all questions are about one subject.

    Args:
        questions: findings that `open_question` made; suppressed ones are left out.
        answered: findings; a question about the same defect is answered by them.
        options: the options of the run.
        what_to_do: what decides the questions.
        subject: the name of the model that they are about; by default, the path of each one's file.
        declared: gives the declarations that classes make about a finding.
    """
    closed = {each.key for each in answered}
    groups: dict[tuple[str, str], dict[object, Finding]] = {}
    for each in questions:
        context = context_of(each, options, declared(each), live=bool(subject))
        if each.key not in closed and not decide(each, context).is_suppressed:
            about = subject or shown_path(each.path) or ""
            groups.setdefault((about, each.code), {}).setdefault(each.key, each)
    for (about, code), group in groups.items():
        first = min(group.values(), key=lambda each: (each.path or "", each.line or 0))
        what, _, why = (first.evidence.because or "").partition(": ")
        reason = f"whether {code} {first.name} is the case at {counted(len(group), what)}: {why}"
        yield NotChecked(about, reason, what_to_do, first.path, first.line)
