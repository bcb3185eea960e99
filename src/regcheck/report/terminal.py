"""The report for people: each finding with its line of source, its proof and its fix."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from regcheck.core.coverage import MOST_NAMES
from regcheck.core.finding import Finding, NotChecked, Severity, Verdict
from regcheck.core.report import UNPROVEN, Report
from regcheck.files.escape import visible
from regcheck.files.text import lines_of
from regcheck.plugins import catalogue
from regcheck.report.concise import unchecked
from regcheck.report.view import View, counts, ending, figures, proof

SEVERITY_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold blue"}
VERDICT_STYLES = {Verdict.CONFIRMED: "green", Verdict.REFUTED: "dim", Verdict.UNMEASURED: "yellow"}
INDENT = "    "


def render(report: Report, view: View) -> str:
    blocks = [block(first, view.verbose, more) for first, *more in repetitions(report.standing, view.verbose)]
    if report.unproven:
        blocks.append(Text(UNPROVEN, "bold"))
        blocks += [block(first, view.verbose, more) for first, *more in repetitions(report.unproven, view.verbose)]
    if view.show_refuted:
        blocks += [block(each, view.verbose) for each in report.refuted]
    if report.not_checked:
        blocks.append(Text("\n").join(unchecked_line(each) for each in report.not_checked))
    if view.statistics and report.findings:
        rows = (f"{number:>4}  {code}  {name}" for number, code, name in counts(report))
        blocks.append(Text("\n".join(rows)))
    last = [headline(report) if line == report.headline else Text(line) for line in ending(report, view)]
    if last:
        blocks.append(Text("\n").join(last))
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=view.color, color_system="standard" if view.color else None, highlight=False
    )
    console.print(Text("\n\n").join(blocks), soft_wrap=True)
    return out.getvalue()


def repetitions(findings: Iterable[Finding], verbose: bool = False) -> list[list[Finding]]:
    """Findings in groups that one block of text shows: those of a placement rule that repeat in lines of a file.

    Their lines are spelled alike, and so are their messages, but for numbers. With `verbose` each stands alone.
    """
    placement = {rule.code for rule in catalogue() if rule.family == "placement"}
    groups: dict[object, list[Finding]] = {}
    for number, each in enumerate(findings):
        line = "" if verbose or each.code not in placement else source_of(each)
        spelling = _NUMBER.sub("0", f"{each.message}\n{line.strip()}")
        alike = each.code, each.path, each.severity, each.evidence.verdict, each.evidence.device, spelling
        groups.setdefault(alike if line else number, []).append(each)
    return [*groups.values()]


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def block(finding: Finding, verbose: bool = False, more: Sequence[Finding] = ()) -> Text:
    """Place and message, the source, the proof, the fix; with `verbose` the figures behind the proof.

    The block names the lines where `more` findings repeat this one.
    """
    title = Text.assemble(
        (finding.where, "bold"),
        " ",
        (finding.code, SEVERITY_STYLES[finding.severity]),
        finding.title.removeprefix(finding.code),
    )
    if finding.module:
        title.append(f"  {finding.module}", "cyan")
    lines = [title, Text(INDENT + finding.message), *excerpt(finding)]
    if more:
        lines.append(Text(INDENT + also_at(more)))
    lines.append(Text(INDENT + proof(finding.evidence), VERDICT_STYLES[finding.evidence.verdict]))
    if verbose and figures(finding.evidence):
        lines.append(Text(INDENT + figures(finding.evidence), "dim"))
    if finding.fix:
        lines.append(Text.assemble(INDENT, ("fix: ", "bold"), finding.fix))
    return Text("\n").join(lines)


def excerpt(finding: Finding) -> list[Text]:
    """The line of source and a caret under the column; nothing where the source is not readable."""
    source = source_of(finding)
    if not source:
        return []
    gutter = f"{finding.line:>5}"
    column = min(finding.column or 1, len(source))
    # A tab stays a tab, so that the caret stands below its character whatever the terminal's tab width is.
    below = "".join("\t" if character == "\t" else " " for character in visible(source[: column - 1], "\t"))
    return [
        Text.assemble((f"{gutter} | ", "blue"), visible(source, "\t")),
        Text.assemble((f"{' ' * len(gutter)} | ", "blue"), below, ("^", SEVERITY_STYLES[finding.severity])),
    ]


def source_of(finding: Finding) -> str:
    """The line of source; empty where it is not readable."""
    if finding.path is None or finding.line is None:
        return ""
    return (lines_of(finding.path, finding.cell)[finding.line - 1 :] or [""])[0].rstrip()


def also_at(findings: Sequence[Finding]) -> str:
    """`also at line 41`, `also at lines 41, 57, 73, 89, 105 and 97 more`."""
    places = [f"cell {each.cell}:{each.line}" if each.cell else f"{each.line}" for each in findings]
    rest = f" and {len(places) - MOST_NAMES} more" if len(places) > MOST_NAMES else ""
    return f"also at line{'s' * (len(places) > 1)} {', '.join(places[:MOST_NAMES])}{rest}"


def unchecked_line(each: NotChecked) -> Text:
    return Text(unchecked(each), "yellow")


def headline(report: Report) -> Text:
    worst = max((each.severity for each in report.standing), default=None)
    unanswered = report.unproven or report.not_checked
    return Text(report.headline, SEVERITY_STYLES[worst] if worst else "yellow" if unanswered else "green")
