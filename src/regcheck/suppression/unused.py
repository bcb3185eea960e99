"""Find the suppressions that suppress nothing, from the decisions about a file's or a session's findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from regcheck.config.options import Options
from regcheck.config.select import chosen, ignores
from regcheck.core.errors import nearest
from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.suppressions import CodeSuppression, CommentSuppression, Suppressions, SuppressionUse
from regcheck.suppression.comments import comments_in, malformed_in
from regcheck.suppression.decide import Context, decide, has_reason

_LOGGED = Evidence(Verdict.CONFIRMED, because="what silenced a finding was noted as the program ran")


def comment_uses(
    path: str, text: str, findings: Iterable[Finding], rules: Sequence[Rule], options: Options
) -> Suppressions:
    """The suppressions in a file's comments and their use, given all `findings` there and all the `rules` there are."""
    comments = comments_in(path, text)
    context = Context(options, comments=comments)
    used = {each for one in findings for each in decide(one, context).by}
    malformed = (
        SuppressionUse(each, silenced=False, needs_reason=False, known=False) for each in malformed_in(path, text)
    )
    return Suppressions((*(_use(each, each in used, rules, options) for each in comments.all), *malformed))


def unused_declaration(
    declaration: CodeSuppression,
    is_used: bool,
    rules: Sequence[Rule],
    options: Options,
    idle: str = "",
    *,
    is_serious: bool = False,
) -> Iterator[Finding]:
    """The findings about one declaration in code that suppresses nothing, given all the `rules` there are.

    `idle` says how a declaration was seen to suppress nothing, if it was; that is advice unless it `is_serious`.
    """
    use = _use(declaration, is_used, rules, options, idle)
    advice = use.known and not use.needs_reason and not is_serious
    for rule in chosen(rules, options):
        if rule.about == "ignores":
            for each in merged(rule.check(Suppressions((use,)))):
                yield finding(rule, replace(each, severity=Severity.INFO if advice else None), _LOGGED)


def names_a_live_rule(declaration: CodeSuppression, rules: Sequence[Rule], options: Options) -> bool:
    """Whether the declaration names a rule that is chosen and runs on models or programs."""
    live = (rule for rule in chosen(rules, options) if rule.begins_at)
    return any(ignores(rule.code, (declaration.pattern,), rule.name) for rule in live)


def _use(
    ignore: CommentSuppression | CodeSuppression,
    silenced: bool,
    rules: Sequence[Rule],
    options: Options,
    idle: str = "",
) -> SuppressionUse:
    names_a_rule = any(ignores(rule.code, (ignore.pattern,), rule.name) for rule in rules)
    meant = "" if names_a_rule else nearest(ignore.pattern, [word for rule in rules for word in (rule.code, rule.name)])
    return SuppressionUse(ignore, silenced, not has_reason(ignore, options), names_a_rule, meant, idle)
