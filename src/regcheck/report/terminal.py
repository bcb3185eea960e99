"""The report for people: each finding with its line of source, its effect, its fix and the tests that showed it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from regcheck.core.coverage import MOST_NAMES
from regcheck.core.finding import Finding, Severity, Verdict
from regcheck.core.report import UNPROVEN, Report, counted
from regcheck.files.escape import visible
from regcheck.files.text import lines_of
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue
from regcheck.report.concise import unchecked
from regcheck.report.view import View, counts, ending, figures, headline, proof

SEVERITY_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold blue"}
VERDICT_STYLES = {Verdict.CONFIRMED: "green", Verdict.REFUTED: "dim", Verdict.UNMEASURED: "yellow"}
CODES = {"bold": 1, "dim": 2, "underline": 4, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
"""The parameters of the escape sequence that selects each style."""
INDENT = "    "
READ = "read from source, not measured; `regcheck audit` and `pytest --regcheck` measure"
LONGEST_NAMES = 100
"""A line lists names up to this many characters, and counts the others."""


@dataclass(frozen=True)
class Pen:
    """Writes styled text; prose is broken at spaces where there is a `width`, and source and paths never are."""

    color: bool = False
    width: int | None = None

    def styled(self, text: str, style: str) -> str:
        """The text between escape sequences, if there is colour; `style` names styles, separated by spaces."""
        if not (self.color and text and style):
            return text
        return f"\x1b[{';'.join(str(CODES[each]) for each in style.split())}m{text}\x1b[0m"

    def prose(self, text: str, style: str = "", *, indent: str = INDENT, label: str = "") -> Iterator[str]:
        """The lines of a text, behind a `label` in bold."""
        lines = [label + text]
        if self.width is not None:
            width = max(self.width - len(indent), 20)
            lines = textwrap.wrap(label + text, width, break_long_words=False, break_on_hyphens=False)
        for line in lines:
            begins = label if line.startswith(label) else ""
            yield indent + self.styled(begins, "bold") + self.styled(line[len(begins) :], style)
            label = ""


def render(report: Report, view: View) -> str:
    pen = Pen(view.color, view.width)
    blocks = [*groups(report, view, pen)]
    if view.statistics or (len(report.findings) > 1 and not view.quiet):
        blocks.append([*table(report, pen)])
    if report.unproven:
        blocks.append([pen.styled(UNPROVEN, "bold")])
        blocks += [block(each, report, view, pen) for each in repetitions(report.unproven, view.verbose)]
    if view.show_refuted:
        blocks += [block([each], report, view, pen) for each in report.refuted]
    missed = (pen.prose(unchecked(each), "yellow", indent="") for each in report.not_checked)
    blocks.append([line for lines in missed for line in lines])
    last = ending(report, view)
    if last and not report.live and any(each.evidence.verdict is Verdict.UNMEASURED for each in report.standing):
        last.insert(0, READ)
    styles = {headline(report): headline_style(report)}
    blocks.append([line for each in last for line in pen.prose(each, styles.get(each, ""), indent="")])
    return "".join(f"{line}\n" for line in "\n\n".join("\n".join(lines) for lines in blocks if lines).splitlines())


def groups(report: Report, view: View, pen: Pen) -> Iterator[list[str]]:
    """The blocks of the findings that are not unproven, by model or, of a scan, by file; each group has a heading."""
    by_group: dict[str, list[Finding]] = {}
    for each in report.standing:
        subject = next(iter(report.models.get(each.key, ())), "") if report.live else each.path or ""
        by_group.setdefault(subject, []).append(each)
    for subject, findings in sorted(by_group.items(), key=lambda group: not group[0]):
        if subject and len(by_group) > 1:
            yield [pen.styled(f"{visible(subject)}: {counted(len(findings), 'finding')}", "bold underline")]
        yield from (block(each, report, view, pen) for each in repetitions(findings, view.verbose))


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


def block(group: Sequence[Finding], report: Report, view: View, pen: Pen) -> list[str]:
    """The lines about a finding: place and rule, message, source, effect, fix, and where it was seen.

    They name the lines where the others of its group repeat it. A scan measures nothing, and says so once at its end.
    """
    first, *more = group
    style = SEVERITY_STYLES[first.severity]
    title = (
        f"{pen.styled(first.where, 'bold')} {pen.styled(f'{first.severity.value} {first.code}', style)} {first.name}"
    )
    lines = [title + (f"  {pen.styled(first.module, 'cyan')}" if first.module else "")]
    lines += pen.prose(first.message)
    lines += excerpt(first, pen)
    if more:
        lines += pen.prose(also_at(more))
    if report.live or first.evidence.verdict is not Verdict.UNMEASURED:
        lines += pen.prose(proof(first.evidence), VERDICT_STYLES[first.evidence.verdict])
    if view.verbose and figures(first.evidence):
        lines += pen.prose(figures(first.evidence), "dim")
    if first.fix:
        lines += pen.prose(first.fix, label="fix: ")
    _, *others = report.models.get(first.key, ()) or [""]
    if others:
        lines += pen.prose(f"also in {names(others, view.verbose)}", "dim")
    tests = list(dict.fromkeys(test for each in group for test in report.tests.get(each.key, ())))
    if tests:
        lines += pen.prose(f"seen in {names(tests, view.verbose)}", "dim")
    return lines


def excerpt(finding: Finding, pen: Pen) -> list[str]:
    """The line of source and a caret under the column; nothing where the source is not readable."""
    source = source_of(finding)
    if not source:
        return []
    gutter = f"{finding.line:>5}"
    column = min(finding.column or 1, len(source))
    # A tab stays a tab, so that the caret stands below its character whatever the terminal's tab width is.
    below = "".join("\t" if character == "\t" else " " for character in visible(source[: column - 1], "\t"))
    return [
        pen.styled(f"{gutter} | ", "blue") + visible(source, "\t"),
        pen.styled(f"{' ' * len(gutter)} | ", "blue") + below + pen.styled("^", SEVERITY_STYLES[finding.severity]),
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


def names(every: Sequence[str], verbose: bool) -> str:
    """`test_a.py::test_x, test_b.py::test_y and 3 more`: as many as fit into one line, or all with `verbose`."""
    shown = [*map(visible, every)]
    while not verbose and len(shown) > 1 and (len(shown) > MOST_NAMES or len(", ".join(shown)) > LONGEST_NAMES):
        shown.pop()
    more = len(every) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def table(report: Report, pen: Pen) -> Iterator[str]:
    """A row for each rule with findings: how many, and how many of them are fixable, confirmed and unproven.

    A column that would hold zeros only is left out.
    """
    unproven = {each.key for each in report.unproven}
    columns: dict[str, Callable[[Finding], bool]] = {
        "findings": lambda each: True,
        "fixable": lambda each: each.patch is not None,
        "confirmed": lambda each: each.is_confirmed,
        "unproven": lambda each: each.key in unproven,
    }
    shown = {name: test for name, test in columns.items() if any(map(test, report.findings))}
    rules = [f"{code} {name}" for _, code, name in counts(report)]
    width = max(map(len, ["rule", *rules]))
    yield pen.styled(f"{'rule':<{width}}" + "".join(f"  {name}" for name in shown), "bold")
    for rule in rules:
        numbers = {
            name: sum(f"{each.code} {each.name}" == rule and test(each) for each in report.findings)
            for name, test in shown.items()
        }
        yield f"{rule:<{width}}" + "".join(f"  {number:>{len(name)}}" for name, number in numbers.items())


def headline_style(report: Report) -> str:
    worst = max((each.severity for each in report.standing), default=None)
    unanswered = report.unproven or report.not_checked
    return SEVERITY_STYLES[worst] if worst else "yellow" if unanswered else "green"
