"""What an editor shows of a check: diagnostics, and the texts of hovers."""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types

from regcheck.core.finding import NotChecked, Severity
from regcheck.core.rule import Rule
from regcheck.editor.checking import EditorFinding, EditorResult
from regcheck.editor.documents import Document, Text
from regcheck.report.page import page
from regcheck.report.view import figures, proof

SOURCE = "regcheck"
SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.INFO: types.DiagnosticSeverity.Information,
}
RUN = "`pytest --regcheck`"


def diagnostics(document: Document, result: EditorResult) -> dict[str, list[types.Diagnostic]]:
    """The diagnostics of each text of a document, by URI: of findings, and of what was not checked."""
    by_uri: dict[str, list[types.Diagnostic]] = {each.uri: [] for each in document.texts.values()}
    for shown in result.findings:
        text = document.text_at(shown.finding.cell)
        if text is not None:
            by_uri[text.uri].append(of_finding(shown, text))
    for missed in result.not_checked:
        text = document.text_at(None)
        if text is not None:
            by_uri[text.uri].append(of_missed(missed, text, document))
    return by_uri


def of_finding(shown: EditorFinding, text: Text) -> types.Diagnostic:
    finding = shown.finding
    severity = Severity.INFO if shown.stale else finding.severity
    return types.Diagnostic(
        text.word(finding.line or 1, finding.column or 1),
        "\n".join([finding.message, *filter(None, [finding.fix]), *evidence(shown)]),
        severity=SEVERITIES[severity],
        code=finding.code,
        code_description=types.CodeDescription(finding.docs) if finding.docs else None,
        source=SOURCE,
    )


def of_missed(missed: NotChecked, text: Text, document: Document) -> types.Diagnostic:
    """Information at the line that was not checked, at the first line for the whole file."""
    subject = "" if missed.subject.endswith(document.path.name) else f"{missed.subject}: "
    what_to_do = f"; {missed.what_to_do}" if missed.what_to_do else ""
    return types.Diagnostic(
        text.word(missed.line or 1, 1 + _indent(text, missed.line or 1)),
        f"not checked: {subject}{missed.reason}{what_to_do}",
        severity=types.DiagnosticSeverity.Information,
        source=SOURCE,
    )


def evidence(shown: EditorFinding) -> list[str]:
    """The lines about the measurement; none of a scan, which measures nothing."""
    if not shown.from_run:
        return []
    lines = [f"{RUN}: {proof(shown.finding.evidence)}"]
    if shown.stale:
        lines.append(f"This file has changed since: run {RUN} again")
    return lines


def hover(shown: Iterable[EditorFinding], rules: Iterable[Rule]) -> str:
    """Markdown about findings and rules: what is wrong, how it was measured, and the rules' pages."""
    parts = []
    for each in shown:
        said = [f"**{each.finding.title}**: {each.finding.message}", each.finding.fix, *evidence(each)]
        if each.from_run:
            said.append(figures(each.finding.evidence))
        parts.append("\n\n".join(filter(None, said)))
    return "\n\n---\n\n".join([*parts, *map(page, rules)])


def _indent(text: Text, line: int) -> int:
    source = text.lines[min(line, len(text.lines)) - 1]
    return len(source) - len(source.lstrip())
