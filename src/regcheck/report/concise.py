"""One line for each finding, for each that is unproven, and for each thing that was not checked."""

from __future__ import annotations

from regcheck.core.finding import Finding, NotChecked
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.report.view import View, counts, ending, proof


def render(report: Report, view: View) -> str:
    lines = [line(each) for each in report.standing]
    lines += [line(each, "unproven: ") for each in report.unproven]
    if view.show_refuted:
        lines += [line(each) for each in report.refuted]
    lines += [unchecked(each) for each in report.not_checked]
    if view.statistics:
        lines += [f"{number:>4}  {code}  {name}" for number, code, name in counts(report)]
    return "".join(f"{each}\n" for each in (*lines, *ending(report, view)))


def line(finding: Finding, mark: str = "") -> str:
    module = f" [{finding.module}]" if finding.module else ""
    return f"{finding.where} {mark}{finding.title}{module}: {finding.message} ({proof(finding.evidence)})"


def unchecked(each: NotChecked) -> str:
    path = visible(each.path or "")
    where = f"{path}:{each.line}: " if path and each.line else f"{path}: " if path else ""
    todo = f"; {each.what_to_do}" if each.what_to_do else ""
    subject = "" if each.subject == path else f"{each.subject}: "
    return f"{where}not checked: {subject}{each.reason}{todo}"
