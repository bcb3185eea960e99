"""The report as JUnit XML: a test case for each finding, failed where it fails the run, skipped where unproven."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, indent, tostring

from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.report.view import View, figures, proof

_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report, view: View) -> str:
    """The whole report: a program picks what it wants to see, so `view` changes nothing."""
    failures, unproven = report.failures, report.unproven
    cases = [case(each, failed=each in failures) for each in report.standing]
    cases += [case(each, failed=each in failures, unproven=True) for each in unproven]
    for each in report.not_checked:
        missed = element("testcase", classname=visible(each.path or each.subject), name=f"not checked: {each.subject}")
        missed.append(element("skipped", message=f"{each.reason}; {each.what_to_do}"))
        cases.append(missed)
    if not cases:
        cases.append(element("testcase", classname="regcheck", name="no findings"))
    skipped = sum(each.find("skipped") is not None for each in cases)
    counts = {"tests": str(len(cases)), "failures": str(len(failures)), "skipped": str(skipped)}
    suite = element("testsuite", name="regcheck", errors="0", **counts)
    properties = element("properties")
    properties.append(element("property", name="unproven", value=str(len(unproven))))
    suite.extend([properties, *cases])
    root = element("testsuites", name="regcheck", errors="0", **counts)
    root.append(suite)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def case(finding: Finding, *, failed: bool, unproven: bool = False) -> Element:
    subject = visible(finding.path or finding.module or "model")
    found = element("testcase", classname=subject, name=f"{'unproven: ' * unproven}{finding.title} {finding.where}")
    if finding.path and finding.line and not finding.cell:
        found.set("file", fit(visible(finding.path)))
        found.set("line", str(finding.line))
    told = (
        finding.where,
        finding.message,
        proof(finding.evidence),
        figures(finding.evidence),
        finding.fix,
        finding.docs,
    )
    part = element("skipped", message=f"unproven: {finding.message}") if unproven else element("system-out")
    if failed:
        part = element("failure", message=finding.message, type=finding.code)
    part.text = fit("\n".join(filter(None, told)))
    found.append(part)
    return found


def element(tag: str, **attributes: str) -> Element:
    return Element(tag, {key: fit(value) for key, value in attributes.items()})


def fit(text: str) -> str:
    """The text with what XML cannot hold replaced."""
    return _UNFIT.sub("\ufffd", text)
