"""One decision about a finding: what suppresses it, wherever that is written and however exactly it names the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from regcheck.config.options import Options
from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.rule import Rule
from regcheck.core.suppressions import CodeSuppression, CommentSuppression, ConfigSuppression
from regcheck.files.place import Place
from regcheck.plugins import catalogue
from regcheck.suppression.baseline import Entry
from regcheck.suppression.comments import FileComments, comments_in
from regcheck.suppression.decide import Context, Decision, Outcome, decide
from regcheck.suppression.unused import comment_uses

FINDING = Finding(
    code="REG202",
    name="dropout-ignores-mode",
    severity=Severity.ERROR,
    message="",
    module="encoder.drop",
    path="src/net.py",
    line=2,
    column=1,
    fix="",
    evidence=Evidence(Verdict.CONFIRMED),
    docs="",
)
ADVICE = replace(FINDING, severity=Severity.INFO, evidence=Evidence(Verdict.CONFIRMED, lowers_to=Severity.INFO))
ENTRY = Entry("REG202", "src/net.py", "Net.forward", "F.dropout(x)", 0, "")


def in_code(pattern: str, reason: str) -> Context:
    return Context(Options(), code=(CodeSuppression(pattern, reason, Place("a.py", 1), "…"),))


def at_line(pattern: str, reason: str) -> Context:
    return Context(Options(), comments=comments_in("src/net.py", f"\nx  # regcheck: ignore[{pattern}] {reason}\n\ny\n"))


def in_file(pattern: str, reason: str) -> Context:
    text = f"# regcheck: ignore-file[{pattern}] {reason}\n\nx\n"
    return Context(Options(), comments=comments_in("src/net.py", text))


def per_file(pattern: str, reason: str) -> Context:
    return Context(Options(per_file_ignores={"src/*": (pattern,)}), path="src/net.py")


def per_module(pattern: str, reason: str) -> Context:
    return Context(Options(per_module_ignores={"encoder.*": (pattern,)}))


PLACES = {"code": in_code, "line": at_line, "file": in_file, "per-file": per_file, "per-module": per_module}
PATTERNS = {
    "REG202": True,
    "dropout-ignores-mode": True,
    "REG2": True,
    "ALL": True,
    "REG203": False,
    "stochastic-prediction": False,
    "REG1": False,
    "ignores-mode": False,
}
"""Whether a pattern names the rule of the finding: explicitly by code or name, implicitly by a prefix or `ALL`."""


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("place", PLACES)
def test_a_suppression_suppresses_the_rules_it_names_wherever_it_stands(place: str, pattern: str) -> None:
    """At every place the same patterns fit, and the decision names the suppression itself."""
    decision = decide(FINDING, PLACES[place](pattern, "why"))
    assert decision.is_suppressed is PATTERNS[pattern]
    assert [each.pattern for each in decision.by] == [pattern] * PATTERNS[pattern]
    assert decision.outcome is (Outcome.SUPPRESSED if PATTERNS[pattern] else Outcome.REPORTED)


@pytest.mark.parametrize("place", PLACES)
def test_a_required_reason_is_required_in_code_and_comments(place: str) -> None:
    """Under `require-reason` a declaration without a reason suppresses nothing; an option gives none and need not."""
    for reason in ("", "as in the paper"):
        context = PLACES[place]("REG202", reason)
        context = replace(context, options=replace(context.options, require_reason=True))
        expected = bool(reason) or place in ("per-file", "per-module")
        assert decide(FINDING, context).is_suppressed is expected, reason


@pytest.mark.parametrize(
    ("finding", "context"),
    [
        (replace(FINDING, line=4), at_line("REG202", "")),
        (replace(FINDING, line=None), at_line("REG202", "")),
        (replace(FINDING, line=0), at_line("REG202", "")),
        (FINDING, Context(Options(per_file_ignores={"tests/*": ("REG202",)}), path="src/net.py")),
        (FINDING, Context(Options(per_file_ignores={"src/*": ("REG202",)}))),
        (FINDING, Context(Options(per_module_ignores={"decoder.*": ("REG202",)}))),
    ],
    ids=["another line", "no line", "line 0", "another folder", "no file", "another module"],
)
def test_a_suppression_somewhere_else_suppresses_nothing(finding: Finding, context: Context) -> None:
    """What covers another line, file or module leaves the finding reported."""
    assert decide(finding, context) == Decision(Outcome.REPORTED)


def test_every_suppression_that_fits_is_named() -> None:
    """Two places that suppress one finding are both in use, so that neither is reported as unused."""
    parts = [PLACES[each]("REG2", "why") for each in ("code", "line")]
    decision = decide(FINDING, replace(parts[0], comments=parts[1].comments, path="src/net.py"))
    assert [type(each) for each in decision.by] == [CodeSuppression, CommentSuppression]
    assert decision.by_code == parts[0].code
    options = Options(per_file_ignores={"net.py": ("REG202", "REG1", "ALL")})
    by = decide(FINDING, Context(options, path="src/net.py")).by
    assert by == (ConfigSuppression("per-file-ignores", "REG202"), ConfigSuppression("per-file-ignores", "ALL"))


@pytest.mark.parametrize(
    ("finding", "options", "live", "expected"),
    [
        (FINDING, Options(), True, Outcome.REPORTED),
        (ADVICE, Options(), True, Outcome.ADVICE),
        (ADVICE, Options(select=("REG202",)), True, Outcome.REPORTED),
        (ADVICE, Options(extend_select=("dropout-ignores-mode",)), True, Outcome.REPORTED),
        (ADVICE, Options(select=("REG2",)), True, Outcome.REPORTED),
        (ADVICE, Options(extend_select=("ALL",)), True, Outcome.REPORTED),
        (ADVICE, Options(select=("REG1",)), True, Outcome.ADVICE),
        (replace(ADVICE, evidence=Evidence(Verdict.UNMEASURED)), Options(), True, Outcome.REPORTED),
        (replace(ADVICE, evidence=Evidence(Verdict.UNMEASURED)), Options(), False, Outcome.ADVICE),
        (replace(ADVICE, evidence=Evidence(Verdict.UNMEASURED)), Options(select=("REG202",)), False, Outcome.REPORTED),
    ],
)
def test_advice_is_reported_where_its_rule_is_selected(
    finding: Finding, options: Options, live: bool, expected: Outcome
) -> None:
    """A measurement makes advice of a live finding, its severity of a source finding; any pattern of `select` asks."""
    assert decide(finding, Context(options, live=live)) == Decision(expected)


def test_declarations_come_before_the_verdict_and_the_verdict_before_the_baseline() -> None:
    """A declaration suppresses a refuted finding, too; a refuted finding is not in the baseline; advice may be."""
    refuted = replace(FINDING, evidence=Evidence(Verdict.REFUTED))
    with_baseline = Context(Options(), entry=ENTRY, baseline=frozenset({ENTRY}))
    around = in_code("REG202", "why")
    assert decide(refuted, replace(around, entry=ENTRY, baseline=frozenset({ENTRY}))).outcome is Outcome.SUPPRESSED
    assert decide(refuted, with_baseline).outcome is Outcome.REFUTED
    assert decide(ADVICE, with_baseline).outcome is Outcome.IN_BASELINE
    assert decide(FINDING, replace(with_baseline, entry=replace(ENTRY, nth=1))).outcome is Outcome.REPORTED


def test_a_decision_leaves_no_trace() -> None:
    """The same finding in the same context is decided in the same way, however often."""
    context = replace(at_line("REG202", "why"), code=in_code("REG1", "").code)
    assert decide(FINDING, context) == decide(FINDING, context)
    assert context == replace(at_line("REG202", "why"), code=in_code("REG1", "").code)
    assert context.comments != FileComments()


@pytest.mark.parametrize(
    "source",
    [
        "x = F.dropout(x)  # regcheck: ignore[REG202] Monte-Carlo dropout",
        "x = F.dropout(x)  # regcheck:ignore[ REG101 , REG202 ]",
        "x = F.dropout(x)  #regcheck: ignore[REG2]",
        "x = F.dropout(x)  # noqa # regcheck: ignore[REG202] why",
    ],
)
def test_a_comment_may_be_written_in_several_ways(source: str) -> None:
    """Spaces, several codes and other tools' comments beside it do not matter."""
    context = Context(Options(), comments=comments_in("src/net.py", f"import torch\n{source}\nx\n"))
    assert decide(FINDING, context).is_suppressed
    assert not decide(replace(FINDING, line=3), context).is_suppressed


@pytest.mark.parametrize("comment", ["# regcheck: ignore", "# regcheck: ignore[]", "# ignore[REG202]", ""])
def test_a_comment_that_names_nothing_suppresses_nothing(comment: str) -> None:
    """A comment never suppresses everything."""
    comments = comments_in("src/net.py", f"import torch\nx = F.dropout(x)  {comment}\n")
    assert not decide(FINDING, Context(Options(), comments=comments)).is_suppressed


def test_the_use_of_comments_follows_from_the_decisions() -> None:
    """A comment is in use where it suppresses a finding of its file, and in no other case."""
    text = "\nx  # regcheck: ignore[REG202, REG203] why\ny  # regcheck: ignore[REG2O2]\n"
    rules: tuple[Rule, ...] = catalogue()
    uses = comment_uses("src/net.py", text, [FINDING], rules, Options(require_reason=True)).outcomes
    assert [(use.ignore.pattern, use.silenced, use.known, use.needs_reason) for use in uses] == [
        ("REG202", True, True, False),
        ("REG203", False, True, False),
        ("REG2O2", False, False, True),
    ]
    assert "REG202" in uses[2].meant
