"""The steps of every check of a subject: ask the rules, measure their suspicions, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from math import inf
from types import MappingProxyType
from typing import Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.device_evidence import EvidenceByDevice, Proofs
from regcheck.core.errors import BrokenRule, CannotMeasure, Failed, RegcheckError, UsageError, format_error, stops
from regcheck.core.finding import Evidence, Finding, NotChecked, Severity, Suspicion, Verdict
from regcheck.core.graph import Graph, Mode, Op
from regcheck.core.progress import steps
from regcheck.core.report import Report
from regcheck.core.rule import About, Rule, finding, merged
from regcheck.core.suppressions import CodeSuppression
from regcheck.core.usage import Usage
from regcheck.engine.fixed_lines import suspicions_again
from regcheck.engine.undecided import open_question
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue
from regcheck.probe import devices
from regcheck.probe.communication import without_communication
from regcheck.probe.factory import ProbeOn, combined
from regcheck.suppression.apply import report_on
from regcheck.suppression.decide import Context, decide
from regcheck.tracing.accelerators import capturing
from regcheck.tracing.user_line import raising_place

Blocks = Mapping[tuple[Mode, str], tuple[CodeSuppression, ...]]
"""The declarations around the ops of a traced model, by mode and op id."""

Line = tuple[str, str, int]
"""A rule's code, and the absolute path and the line of its finding."""

NO_BLOCKS: Blocks = MappingProxyType({})
CONFIRMED_ELSEWHERE = "this line is confirmed already"
NOT_YET_MEASURED = Evidence(Verdict.UNMEASURED)


@dataclass
class Suspicions:
    """What the rules suspect of one value.

    `undecided` are the questions that ops of unknown effect leave open. `failed` names the rules that raised,
    `suppressed_by` the declarations that suppress a suspicion.
    """

    pairs: list[tuple[Rule, Suspicion]] = field(default_factory=list)
    undecided: list[Finding] = field(default_factory=list)
    failed: tuple[NotChecked, ...] = ()
    suppressed_by: dict[CodeSuppression, None] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """The choices that hold for a check: options, rules, devices, and the lines that need no further proof.

    `confirmed` holds the severity with which a rule is confirmed in a line; a watched run fills it as it goes on.
    """

    options: Options
    rules: tuple[Rule, ...]
    devices: tuple[str, ...]
    confirmed: Mapping[Line, Severity] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Options, confirmed: Mapping[Line, Severity] | None = None) -> Check:
        """The check that the options ask for; with `confirmed`, of a watched program.

        Raises:
            UsageError: an unknown rule, or an unusable device.
        """
        rules, watched = select.chosen(catalogue(), options), confirmed is not None
        return cls(options, rules, devices.chosen(options.devices, watched), confirmed or {})

    def guarded(self, subject: str, check: Callable[[], Report]) -> Report:
        """The report of a check; where the user's code raises, a report that the subject was not checked."""
        try:
            if capturing():
                what = "audit it before or after the capture"
                return self.report(subject, (), (NotChecked(subject, "a CUDA graph is being captured", what),))
            with without_communication():
                return check()
        except (UsageError, BrokenRule, Failed):
            raise
        except BaseException as error:
            if stops(error):
                raise
            reason = str(error) if isinstance(error, RegcheckError) else f"it raised {format_error(error)}"
            place, what = raising_place(error.__traceback__), "repair what raises, or audit a part of the model"
            stopped = NotChecked(subject, reason, what, *((place.path, place.line) if place else ()))
            return replace(self.report(subject, (), (stopped,)), coverage=(Coverage(subject, "none"),))

    def suspect(self, about: About, *values: Any, blocks: Blocks = NO_BLOCKS) -> Suspicions:
        """Ask the rules that read values of these kinds: a graph, a usage, both, proofs or ranks.

        A block suppresses what is suspected of an event or op in it, before suspicions of one line are merged.
        """
        result, used = Suspicions(), dict[CodeSuppression, None]()

        def is_open(rule: Rule, suspicion: Suspicion) -> bool:
            at = suspicion.at
            around = blocks.get((at.mode, at.id), ()) if isinstance(at, Op) else at.intended
            decision = decide(finding(rule, suspicion, NOT_YET_MEASURED), Context(self.options, around))
            used.update(dict.fromkeys(decision.by_code))
            return not decision.is_suppressed

        for rule in self.rules:
            if rule.about != about:
                continue
            try:
                suspicions = (each for each in rule.check(*values) if is_open(rule, each))
                for each in merged(suspicions):
                    if each.undecided is None:
                        result.pairs.append((rule, each))
                    else:
                        result.undecided.append(open_question(rule, each))
            except BaseException as error:
                if stops(error):
                    raise
                result.failed += (NotChecked(values[0].subject, f"{rule.code} failed: {format_error(error)}"),)
        result.suppressed_by = used
        return result

    def prove(
        self,
        subject: str,
        suspicions: Iterable[tuple[Rule, Suspicion]],
        probe_on: ProbeOn,
        blocks: Blocks = NO_BLOCKS,
    ) -> list[Finding]:
        """Measure suspicions on every device: each as a finding, and findings about devices that disagree."""
        proofs = [
            (rule, EvidenceByDevice(rule.code, each, self._measure(rule, each, probe_on)))
            for rule, each in steps(suspicions, lambda pair: f"measuring {pair[0].code} in {subject}")
        ]
        findings = [finding(rule, proof.suspicion, combined(proof.evidence)) for rule, proof in proofs]
        if len(self.devices) > 1:
            compared = Proofs(subject, tuple(proof for _, proof in proofs))
            for rule, each in self.suspect("proofs", compared, blocks=blocks).pairs:
                if each.evidence:
                    findings.append(finding(rule, each, each.evidence))
        return findings

    def prove_again(self, about: About, value: Graph | Usage, probe_on: ProbeOn) -> Iterator[Finding]:
        """Measure in the lines that fixes change: for each line the refuted finding with the largest effect.

        A line of which a measurement says anything else yields nothing: its ops and events may have other purposes.
        """
        for rule in self.rules:
            lines = suspicions_again(rule, value) if rule.about == about else ()
            for suspicions in lines:
                findings = [finding(rule, each, combined(self._measure(rule, each, probe_on))) for each in suspicions]
                if findings and all(each.evidence.verdict is Verdict.REFUTED for each in findings):
                    yield max(findings, key=lambda each: _size(each.evidence))

    def _measure(self, rule: Rule, suspicion: Suspicion, probe_on: ProbeOn) -> tuple[Evidence, ...]:
        """The evidence of each device."""
        if not self.options.confirm or rule.confirm is None:
            because = "measuring is switched off" if rule.confirm else "source only"
            return (Evidence(Verdict.UNMEASURED, because=because),)
        if self.is_confirmed_elsewhere(rule, suspicion):
            return (Evidence(Verdict.UNMEASURED, because=CONFIRMED_ELSEWHERE),)
        evidence = []
        for device in self.devices:
            try:
                evidence.append(rule.confirm(suspicion, probe_on(suspicion, device)))
            except CannotMeasure as error:
                evidence.append(Evidence(Verdict.UNMEASURED, device=device, because=str(error)))
            except BaseException as error:
                if stops(error):
                    raise
                because = f"the measurement failed: {format_error(error)}"
                evidence.append(Evidence(Verdict.UNMEASURED, device=device, because=because))
        return tuple(evidence)

    def is_confirmed_elsewhere(self, rule: Rule, suspicion: Suspicion) -> bool:
        """Whether the rule is already confirmed in the suspicion's line, at least as severely."""
        if suspicion.place is None:
            return False
        line = rule.code, os.path.abspath(suspicion.place.path), suspicion.place.line
        confirmed_severity = self.confirmed.get(line)
        severity = rule.severity if suspicion.severity is None else min(rule.severity, suspicion.severity)
        return confirmed_severity is not None and confirmed_severity >= severity

    def report(
        self,
        subject: str,
        findings: Iterable[Finding],
        not_checked: Iterable[NotChecked],
        declared: Callable[[Finding], tuple[CodeSuppression, ...]] = lambda finding: (),
        suppressed_by: Iterable[CodeSuppression] = (),
    ) -> Report:
        """The report on a subject: decide about each finding; `suppressed_by` already suppressed suspicions."""
        report = report_on(
            findings, not_checked, self.options, declared=declared, devices=self.devices, subjects=(subject,)
        )
        return replace(report, suppressed_by=tuple(dict.fromkeys((*suppressed_by, *report.suppressed_by))))


def _size(evidence: Evidence) -> float:
    value = evidence.effect.value if evidence.effect else None
    return inf if value is None else value
