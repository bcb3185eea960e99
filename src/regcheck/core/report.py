"""The result of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from importlib import import_module
from typing import Any

from regcheck.files.escape import dump_json
from regcheck.lazy_dataclass import dataclass

from .coverage import Coverage, coverage_lines
from .errors import Failed
from .finding import Finding, Key, NotChecked, Severity, Verdict
from .inspections import Inspection
from .suppressions import CodeSuppression


@dataclass(frozen=True)
class Report:
    """The findings of a run, the suspicions that it refuted, and what it could not check.

    `coverage` says how much of each subject was looked at. `known` are the findings that the baseline knows; they never
    fail. `advice` are findings whose effect is not material and whose rule nobody selects: they are neither shown nor
    counted, but a suppression of one is in use. `suppressed_by` are the declarations in code that suppressed a
    finding, `idle` those that a finding says suppress nothing. `live` says that models were there to be measured: only
    what a measurement confirmed then fails, unless `fail_on_unproven`. `blocked` are the targets asked for by name that
    could not be built, traced or run. `files` is the number of source files that a scan looked at, `examined` the
    number of models that a test session examined. `models` and `tests` name, by the key of a finding, the models that
    have it and the tests that showed it. `fx_graph` is the recorded `torch.fx.Graph` of the train-mode run, where there
    is one. `subjects` are the targets, models, programs or files that were examined. `inspections` say of a watched run
    how far the examination of each model structure came, so that another report can close what this one leaves open.
    """

    findings: tuple[Finding, ...] = ()
    not_checked: tuple[NotChecked, ...] = ()
    refuted: tuple[Finding, ...] = ()
    devices: tuple[str, ...] = ()
    seed: int = 0
    version: str = ""
    fail_on: Severity | None = Severity.WARNING
    strict: bool = False
    live: bool = False
    fail_on_unproven: bool = False
    blocked: tuple[str, ...] = ()
    files: int | None = None
    subjects: tuple[str, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    known: tuple[Finding, ...] = ()
    advice: tuple[Finding, ...] = ()
    suppressed_by: tuple[CodeSuppression, ...] = ()
    idle: tuple[CodeSuppression, ...] = ()
    inspections: Mapping[str, Inspection] = field(default_factory=dict)
    examined: int | None = None
    models: Mapping[Key, tuple[str, ...]] = field(default_factory=dict, compare=False)
    tests: Mapping[Key, tuple[str, ...]] = field(default_factory=dict, compare=False)
    fx_graph: Any = None

    @property
    def unproven(self) -> tuple[Finding, ...]:
        """The findings of a live model that no measurement decided; a scan, which measures nothing, has none."""
        return tuple(each for each in self.findings if self.live and each.evidence.verdict is Verdict.UNMEASURED)

    @property
    def standing(self) -> tuple[Finding, ...]:
        """The findings that are not unproven: those that a measurement confirmed, or that a scan read."""
        unproven = self.unproven
        return tuple(each for each in self.findings if each not in unproven)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that fail the run: at or above `fail_on`, and proven unless `fail_on_unproven`."""
        counting = self.findings if self.fail_on_unproven else self.standing
        return tuple(each for each in counting if self.is_serious(each))

    @property
    def doubts(self) -> tuple[Finding, ...]:
        """The unproven findings that would fail the run if they were confirmed; with `strict` they fail it as it is."""
        return tuple(each for each in self.unproven if self.is_serious(each))

    def is_serious(self, finding: Finding) -> bool:
        """Whether a finding reaches `fail_on`."""
        return self.fail_on is not None and finding.severity >= self.fail_on

    @property
    def exit_code(self) -> int:
        """0 clean; 1 findings fail the run; 3 something was not checked or is unproven, with `strict`.

        It is 3 without `strict`, too, where a target that was asked for by name could not be checked.
        """
        if self.failures:
            return 1
        return 3 if self.blocked or (self.strict and (self.not_checked or self.doubts)) else 0

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
            "unproven": [each.to_dict() for each in self.unproven],
            "not_checked": [each.to_dict() for each in self.not_checked],
            "refuted": [each.to_dict() for each in self.refuted],
            "coverage": [each.to_dict() for each in self.coverage],
            "files": self.files,
            "known": [each.to_dict() for each in self.known],
            "subjects": list(self.subjects),
            "blocked": list(self.blocked),
            "live": self.live,
            "fail_on": self.fail_on.value if self.fail_on else None,
            "strict": self.strict,
            "fail_on_unproven": self.fail_on_unproven,
            "suppressed_by": [each.to_dict() for each in self.suppressed_by],
            "idle": [each.to_dict() for each in self.idle],
            "seen": [self._seen(key) for key in {**self.models, **self.tests}],
            "inspections": {structure: each.to_dict() for structure, each in self.inspections.items()},
        }

    def _seen(self, key: Key) -> dict[str, Any]:
        code, path, line, within = key
        models, tests = self.models.get(key, ()), self.tests.get(key, ())
        return {"code": code, "path": path, "line": line, "within": within, "models": [*models], "tests": [*tests]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Report:
        """Rebuild a report from `to_dict`, without advice and graph."""
        seen = {(each["code"], each["path"], each["line"], each["within"]): each for each in document["seen"]}

        def findings(kind: str) -> tuple[Finding, ...]:
            return tuple(map(Finding.from_dict, document[kind]))

        return cls(
            findings=findings("findings"),
            not_checked=tuple(NotChecked(**each) for each in document["not_checked"]),
            refuted=findings("refuted"),
            devices=tuple(document["devices"]),
            seed=document["seed"],
            version=document["version"],
            fail_on=Severity(document["fail_on"]) if document["fail_on"] else None,
            strict=document["strict"],
            live=document["live"],
            fail_on_unproven=document["fail_on_unproven"],
            blocked=tuple(document["blocked"]),
            files=document["files"],
            subjects=tuple(document["subjects"]),
            coverage=tuple(map(Coverage.from_dict, document["coverage"])),
            known=findings("known"),
            suppressed_by=tuple(map(CodeSuppression.from_dict, document["suppressed_by"])),
            idle=tuple(map(CodeSuppression.from_dict, document["idle"])),
            models={key: tuple(each["models"]) for key, each in seen.items() if each["models"]},
            tests={key: tuple(each["tests"]) for key, each in seen.items() if each["tests"]},
            inspections={key: Inspection.from_dict(each) for key, each in document["inspections"].items()},
        )

    def to_json(self) -> str:
        """The report as a JSON document."""
        return dump_json(self.to_dict()).rstrip()

    def __repr__(self) -> str:
        return f"<Report: {self.headline}>"

    def _repr_html_(self) -> str | None:
        """The cards that a notebook displays; None without Jinja2, so that it displays the `repr`."""
        cards: str | None = import_module("regcheck.report.display").html_of(self)
        return cards

    def __str__(self) -> str:
        text: str = import_module("regcheck.report").rendered(self)
        return text.rstrip("\n")

    @property
    def looked_at(self) -> list[str]:
        """The lines about coverage: of each model, or of all, and the number of files; none of a test session."""
        if self.examined is not None:
            return []
        files = [] if self.files is None else [f"{counted(self.files, 'file')} looked at"]
        return [*coverage_lines(self.coverage), *files]

    @property
    def headline(self) -> str:
        """One line: how many findings, how many unproven, how many not checked."""
        parts = [counted(len(self.standing), "finding")]
        if self.unproven:
            parts.append(f"{len(self.unproven)} unproven")
        if self.refuted:
            parts.append(f"{len(self.refuted)} suspicion{'s' * (len(self.refuted) != 1)} refuted by measurement")
        if self.known:
            parts.append(f"{len(self.known)} known from the baseline")
        if self.not_checked:
            parts.append(f"{len(self.not_checked)} not checked")
        return ", ".join(parts)


UNPROVEN = "unproven (suspected, and could not be measured):"
"""The heading of the unproven findings."""


def asked_by_name(report: Report, target: str, *, ran: bool = True) -> Report:
    """The report on a target that the user named: it fails where the target could not be checked.

    With `ran` the target was to be run as well, so that following it without inputs is not enough.
    """
    unable = ("none", "symbolic") if ran else ("none",)
    unseen = [each for each in report.coverage if each.how in unable or (each.modules and not each.traced)]
    if report.coverage and not unseen:
        return report
    told_of = {target, *(each.subject for each in report.coverage)}
    missed = report.not_checked
    if not any(each.subject in told_of for each in missed):
        missed += (NotChecked(target, NOT_RUN, PASS_INPUTS),)
    return replace(report, not_checked=missed, blocked=(target,))


NOT_RUN = "it could not be run: no inputs that its forward accepts could be inferred, and nothing was measured"
PASS_INPUTS = "pass inputs: `--input 8x3x32x32` for each tensor, or `--input file.py:make_inputs` for other arguments"


def counted(number: int, thing: str) -> str:
    """`1 finding`, `2 findings`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
