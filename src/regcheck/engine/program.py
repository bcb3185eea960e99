"""Check what a program did with its models and optimizers: the rules about usage, measured on the program's objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from regcheck.core.finding import Finding, NotChecked, Verdict
from regcheck.core.report import Report
from regcheck.core.usage import Usage
from regcheck.engine.check import Check
from regcheck.engine.fixed_lines import FIXED
from regcheck.engine.source_events import with_source_events
from regcheck.probe.factory import ProbeOn, no_probe, usage_probes
from regcheck.probe.process_state import world_untouched
from regcheck.runtime.captures import Capture
from regcheck.suppression.apply import context_of
from regcheck.suppression.decide import decide


def check_usage(
    check: Check,
    usage: Usage,
    captures: Sequence[Capture] = (),
    optimizers: Mapping[str, torch.optim.Optimizer] | None = None,
) -> Report:
    """Check a usage. `captures` are indexed by `Called.capture`, `optimizers` by the key of `OptimizerInfo`."""
    return check.guarded(usage.subject, lambda: _check_usage(check, usage, captures, optimizers or {}))


def _check_usage(
    check: Check, usage: Usage, captures: Sequence[Capture], optimizers: Mapping[str, torch.optim.Optimizer]
) -> Report:
    usage = with_source_events(usage, check.rules)
    suspicions, options = check.suspect("usage", usage), check.options
    used, missed = [*suspicions.suppressed_by], [*suspicions.failed]
    if not suspicions.pairs and not FIXED.get():
        return check.report(usage.subject, (), missed, suppressed_by=used)
    probe_on: ProbeOn = usage_probes(captures, optimizers, options) if options.run else no_probe
    firm = [pair for pair in suspicions.pairs if not pair[1].tentative]
    with world_untouched():
        findings = check.prove(usage.subject, firm, probe_on)
        if options.run and options.confirm:
            tentative = [
                (rule, each)
                for rule, each in suspicions.pairs
                if each.tentative and not check.is_confirmed_elsewhere(rule, each)
            ]
            for each in check.prove(usage.subject, tentative, probe_on):
                if each.evidence.verdict is not Verdict.UNMEASURED:
                    findings.append(each)
                    continue
                decision = decide(each, context_of(each, options))
                used += decision.by_code
                if not decision.is_suppressed:
                    missed.append(unmeasured(each))
        findings += check.prove_again("usage", usage, probe_on)
    return check.report(usage.subject, findings, missed, suppressed_by=used)


def unmeasured(finding: Finding) -> NotChecked:
    """The entry for a tentative suspicion, which only a measurement can make a finding, and none did."""
    reason = f"whether {finding.code} {finding.name} is the case: {finding.evidence.because}"
    return NotChecked(finding.module, reason, f"ignore {finding.code} here if it is meant", finding.path, finding.line)
