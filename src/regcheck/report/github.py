"""The report as workflow commands, which GitHub Actions shows beside the lines of a pull request."""

from __future__ import annotations

from regcheck.core.finding import Finding, NotChecked, Severity
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.report.view import View, ending, proof

COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(report: Report, view: View) -> str:
    lines = [*map(annotation, report.standing), *map(unproven, report.unproven)]
    lines += [unchecked(each) for each in report.not_checked]
    return "".join(f"{each}\n" for each in (*lines, *ending(report, view)))


def unproven(finding: Finding) -> str:
    """The command for an unproven finding: a warning at most, also where a confirmed one is an error."""
    return annotation(finding, "unproven: ")


def annotation(finding: Finding, mark: str = "") -> str:
    cell = f"cell {finding.cell}, line {finding.line}: " if finding.cell else ""
    module = f" [{finding.module}]" if finding.module else ""
    advice = f"\n{finding.fix}" if finding.fix else ""
    text = f"{cell}{finding.message}{module} ({proof(finding.evidence)}){advice}"
    line, column = (None, None) if finding.cell else (finding.line, finding.column)
    level = min(finding.severity, Severity.WARNING) if mark else finding.severity
    return command(COMMANDS[level], text, mark + finding.title, finding.path, line, column)


def unchecked(each: NotChecked) -> str:
    text = f"{each.subject}: {each.reason}" + (f"; {each.what_to_do}" if each.what_to_do else "")
    return command("warning", text, "not checked", each.path, each.line)


def command(
    name: str, text: str, title: str, path: str | None, line: int | None = None, column: int | None = None
) -> str:
    """One workflow command, without the properties that are unknown."""
    values = {"file": path and visible(path), "line": line, "col": column, "title": title}
    properties = ",".join(f"{key}={escaped_in_property(str(value))}" for key, value in values.items() if value)
    return f"::{name} {properties}::{escaped(text)}"


def escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_in_property(text: str) -> str:
    return escaped(text).replace(":", "%3A").replace(",", "%2C")
