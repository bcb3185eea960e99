"""The result of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .coverage import Coverage, told
from .errors import Failed
from .escape import dumped
from .finding import Finding, Key, NotChecked, Severity, Verdict


class Origin(NamedTuple):
    """What showed a finding: the subject's name and, of a watched model, what is equal for all that are built alike."""

    subject: str
    structure: str = ""


@dataclass(frozen=True)
class Report:
    """What a run found, what it refuted, and what it could not check.

    `coverage` says how much of each subject was looked at. `known` are the findings that the baseline knows; they never
    fail. `fx_graph` is the recorded `torch.fx.Graph` of the train-mode run, where there is one. `structure` is that of
    the watched model a report is about; in a report on many subjects `origins` tell which of them showed a finding.
    """

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    refuted: tuple[Finding, ...] = ()
    devices: tuple[str, ...] = ()
    seed: int = 0
    version: str = ""
    fail_on: Severity | None = Severity.WARNING
    strict: bool = False
    require_proof: bool = False
    subjects: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    known: tuple[Finding, ...] = ()
    fx_graph: Any = None
    structure: str = ""
    origins: Mapping[Key, tuple[Origin, ...]] = field(default_factory=dict)

    def origins_of(self, finding: Finding) -> tuple[Origin, ...]:
        """What showed one of the findings."""
        return self.origins.get(finding.key) or tuple(Origin(each, self.structure) for each in self.subjects)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings at or above `fail_on`; with `require_proof`, only those that a measurement confirmed."""
        if self.fail_on is None:
            return ()
        serious = tuple(each for each in self.findings if each.severity >= self.fail_on)
        proven = tuple(each for each in serious if each.evidence.verdict is Verdict.CONFIRMED)
        return proven if self.require_proof else serious

    @property
    def exit_code(self) -> int:
        """0 clean; 1 findings at or above `fail_on`; 3 something was not checked, with `strict`."""
        if self.failures:
            return 1
        return 3 if self.strict and self.not_checked else 0

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.exit_code == 0

    def raise_if_failed(self) -> None:
        """Raise unless the report is ok.

        Raises:
            Failed: the report's text.
        """
        if not self.ok:
            raise Failed(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as the published JSON schema describes it."""
        return {
            "version": self.version,
            "devices": list(self.devices),
            "seed": self.seed,
            "findings": [each.to_dict() for each in self.findings],
            "not_checked": [each.to_dict() for each in self.not_checked],
            "refuted": [each.to_dict() for each in self.refuted],
            "coverage": [each.to_dict() for each in self.coverage],
        }

    def to_json(self) -> str:
        """The report as a JSON document."""
        return dumped(self.to_dict()).rstrip()

    def __str__(self) -> str:
        lines = []
        for each in self.findings:
            lines += [f"{each.where} {each.title}  {each.module}", f"    {each.message}"]
            if each.fix:
                lines.append(f"    fix: {each.fix}")
            lines.append(f"    {each.evidence.verdict.value}: {each.evidence.because}")
        for missed in self.not_checked:
            todo = f"; {missed.what_to_do}" if missed.what_to_do else ""
            lines.append(f"not checked: {missed.subject}: {missed.reason}{todo}")
        lines += [*told(self.coverage), self.headline]
        return "\n".join(lines)

    @property
    def headline(self) -> str:
        """One line: how many findings, how many not checked."""
        parts = [counted(len(self.findings), "finding")]
        if self.refuted:
            parts.append(f"{len(self.refuted)} suspicion{'s' * (len(self.refuted) != 1)} refuted by measurement")
        if self.known:
            parts.append(f"{len(self.known)} known from the baseline")
        if self.not_checked:
            parts.append(f"{len(self.not_checked)} not checked")
        return ", ".join(parts)


def counted(number: int, thing: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def gathered(reports: Iterable[Report]) -> Report:
    """One report of many, each finding once, worst and nearest the top of a file first."""
    reports = list(reports)
    findings: dict[object, Finding] = {}
    refuted: dict[object, Finding] = {}
    origins: dict[Key, dict[Origin, None]] = {}
    for report in reports:
        for each in report.findings:
            findings.setdefault(each.key, each)
            origins.setdefault(each.key, {}).update(dict.fromkeys(report.origins_of(each)))
        for each in report.refuted:
            refuted.setdefault(each.key, each)
    first = reports[0] if reports else Report()
    graphs = [report.fx_graph for report in reports if report.fx_graph is not None]
    ordered = sorted(findings.values(), key=lambda each: (each.path or "", each.line or 0, each.column or 0, each.code))
    return Report(
        findings=tuple(ordered),
        not_checked=tuple(dict.fromkeys(each for report in reports for each in report.not_checked)),
        refuted=tuple(each for key, each in refuted.items() if key not in findings),
        known=tuple({each.key: each for report in reports for each in report.known}.values()),
        devices=tuple(dict.fromkeys(each for report in reports for each in report.devices)),
        seed=first.seed,
        version=first.version,
        fail_on=first.fail_on,
        strict=any(report.strict for report in reports),
        require_proof=first.require_proof,
        subjects=tuple(dict.fromkeys(each for report in reports for each in report.subjects)),
        coverage=tuple(dict.fromkeys(each for report in reports for each in report.coverage)),
        fx_graph=graphs[0] if len(graphs) == 1 else None,
        origins={key: tuple(each) for key, each in origins.items()},
    )
