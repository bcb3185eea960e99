"""Join the reports of targets, processes, ranks or shards into one: the same one in any order and any grouping."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from .coverage import Coverage
from .finding import Finding, Key, NotChecked, Severity
from .inspections import Inspection, covered, keep_best, left_open
from .report import Report
from .suppressions import CodeSuppression

T = TypeVar("T")


def join(reports: Iterable[Report]) -> Report:
    """One report of many, in the order of files and names. The parts are of one version, seed and kind.

    Each finding is there once, in its `better` form. Where some report confirms it, it stands; where else some report
    refutes it, it is refuted, also if others could not measure it. What a report could not check is left out where
    another one checked it: the target, or a model of the same structure. A declaration that suppresses a finding in one
    report is in use. The run fails as the strictest of the reports would.
    """
    reports = list(reports)
    findings = _by_key(each for report in reports for each in report.findings)
    refuted = _by_key(each for report in reports for each in report.refuted)
    advice = _by_key(each for report in reports for each in report.advice)
    in_baseline = _by_key(each for report in reports for each in report.known)
    suppressed_by = _every(report.suppressed_by for report in reports)
    idle = _every(report.idle for report in reports)
    checked = {each for report in reports for each in report.subjects if each not in report.blocked}
    inspections: dict[str, Inspection] = {}
    for report in reports:
        keep_best(inspections, report.inspections)
    in_use = idle & suppressed_by
    standing = {
        key: each
        for key, each in findings.items()
        if (each.is_confirmed or key not in refuted) and not any(_is_about(each, used) for used in in_use)
    }
    levels = [report.fail_on for report in reports if report.fail_on is not None]
    graphs = [report.fx_graph for report in reports if report.fx_graph is not None]
    first = reports[0] if reports else Report()
    return Report(
        findings=_in_order(standing),
        not_checked=_not_checked(reports, checked, left_open(inspections)),
        refuted=_in_order({key: each for key, each in refuted.items() if key not in standing}),
        advice=_in_order(advice),
        known=_in_order(in_baseline),
        suppressed_by=tuple(sorted(suppressed_by, key=_declared_first)),
        idle=tuple(sorted(idle - suppressed_by, key=_declared_first)),
        devices=tuple(sorted(_every(report.devices for report in reports))),
        seed=first.seed,
        version=first.version,
        fail_on=min(levels, default=None if reports else first.fail_on),
        strict=any(report.strict for report in reports),
        live=any(report.live for report in reports),
        fail_on_unproven=any(report.fail_on_unproven for report in reports),
        blocked=tuple(sorted(each for each in _every(report.blocked for report in reports) if each not in checked)),
        files=_files(reports),
        subjects=tuple(sorted(_every(report.subjects for report in reports))),
        coverage=_coverage(reports, covered(inspections)),
        models=_names(report.models or _subject_of_each(report) for report in reports),
        tests=_names(report.tests for report in reports),
        inspections=dict(sorted(inspections.items())),
        fx_graph=graphs[0] if len(graphs) == 1 else None,
    )


def better(one: Finding, other: Finding) -> Finding:
    """Of two reports of one finding the confirmed one, then the more severe one; else always the same one."""
    return max(one, other, key=lambda each: (*rank(each), repr(each.to_dict())))


def rank(finding: Finding) -> tuple[bool, Severity]:
    """The sort key of the reports of one finding: whether it is confirmed, then its severity."""
    return finding.is_confirmed, finding.severity


def _by_key(findings: Iterable[Finding]) -> dict[Key, Finding]:
    best: dict[Key, Finding] = {}
    for each in findings:
        best[each.key] = better(best[each.key], each) if each.key in best else each
    return best


def _in_order(findings: dict[Key, Finding]) -> tuple[Finding, ...]:
    """The findings nearest the top of a file first."""
    return tuple(sorted(findings.values(), key=_position))


def _position(finding: Finding) -> tuple[object, ...]:
    path, line, column, cell = finding.path or "", finding.line or 0, finding.column or 0, finding.cell or 0
    return path, cell, line, column, finding.code, finding.module, finding.message


def _is_about(finding: Finding, declaration: CodeSuppression) -> bool:
    """Whether a finding says of a declaration that it suppresses nothing: it stands there, and names the rule."""
    place = declaration.place
    return (finding.path, finding.line) == (place.path, place.line) and declaration.pattern in finding.message


def _declared_first(declaration: CodeSuppression) -> tuple[object, ...]:
    return declaration.place, declaration.pattern, declaration.form, declaration.reason


def _not_checked(
    reports: Sequence[Report], checked: Collection[str], still_open: Iterable[NotChecked]
) -> tuple[NotChecked, ...]:
    missed = {
        each
        for report in reports
        for each in set(report.not_checked).difference(left_open(report.inspections))
        if not (each.subject in checked and each.subject in report.blocked)
    }
    return tuple(sorted(missed.union(still_open), key=_subject_first))


def _subject_first(missed: NotChecked) -> tuple[object, ...]:
    return missed.subject, missed.path or "", missed.line or 0, missed.reason, missed.what_to_do


def _coverage(reports: Sequence[Report], inspected: Iterable[Coverage]) -> tuple[Coverage, ...]:
    others = {each for report in reports for each in set(report.coverage).difference(covered(report.inspections))}
    return tuple(sorted(others.union(inspected), key=lambda each: (each.subject, repr(each))))


def _files(reports: Sequence[Report]) -> int | None:
    """The number of files; a file that several scans looked at counts once."""
    scans = [report for report in reports if report.files is not None]
    names = _every(report.subjects for report in scans)
    unnamed = sum((report.files or 0) - len(report.subjects) for report in scans)
    return len(names) + unnamed if scans else None


def _subject_of_each(report: Report) -> Mapping[Key, tuple[str, ...]]:
    """The model of each finding in a report about one model."""
    return {each.key: report.subjects for each in report.findings} if len(report.subjects) == 1 else {}


def _names(every: Iterable[Mapping[Key, tuple[str, ...]]]) -> dict[Key, tuple[str, ...]]:
    names: dict[Key, set[str]] = {}
    for of_report in every:
        for key, some in of_report.items():
            names.setdefault(key, set()).update(some)
    return {key: tuple(sorted(names[key])) for key in sorted(names, key=repr)}


def _every(parts: Iterable[Iterable[T]]) -> set[T]:
    return {each for part in parts for each in part}
