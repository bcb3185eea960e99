"""Runs a rule on what a scan reads: a graph of a model, or a usage of a program."""

from __future__ import annotations

from regcheck.core.finding import Evidence, RuleFindings, Verdict
from regcheck.core.graph import Graph
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.usage import Model, Usage
from regcheck.engine.undecided import open_question

READ = Evidence(Verdict.UNMEASURED, because="read from the source, not run")
UNKNOWN_MODEL = Evidence(Verdict.UNMEASURED, because="read from the source, where the model is not known")


def findings_in(rule: Rule, *subject: Graph | Usage) -> RuleFindings:
    """What a rule finds; `subject` are the arguments of its `check`."""
    findings, undecided = [], []
    for suspicion in merged(rule.check(*subject)):
        if suspicion.undecided is not None:
            undecided.append(open_question(rule, suspicion))
            continue
        model = getattr(suspicion.at, "model", None)
        is_known = not isinstance(model, Model) or model.known
        findings.append(finding(rule, suspicion, READ if is_known else UNKNOWN_MODEL))
    return RuleFindings(tuple(findings), tuple(undecided))
