"""The report as JUnit XML: a test case for each finding, failed where it fails the run, skipped where unproven."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, indent, tostring

from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.files.escape import visible
from regcheck.report.view import View, figures, proof

_INVALID = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report, view: View) -> str:
    """The whole report: `view` changes nothing, as programs filter for themselves."""
    failures, unproven = report.failures, report.unproven
    cases = [case(each, failed=each in failures) for each in report.standing]
    cases += [case(each, failed=each in failures, unproven=True) for each in unproven]
    for each in report.not_checked:
        unchecked = element(
            "testcase", classname=visible(each.path or each.subject), name=f"not checked: {each.subject}"
        )
        unchecked.append(element("skipped", message=f"{each.reason}; {each.what_to_do}"))
        cases.append(unchecked)
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
    test_case = element("testcase", classname=subject, name=f"{'unproven: ' * unproven}{finding.title} {finding.where}")
    if finding.path and finding.line and not finding.cell:
        test_case.set("file", valid_xml(visible(finding.path)))
        test_case.set("line", str(finding.line))
    lines = (
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
    part.text = valid_xml("\n".join(filter(None, lines)))
    test_case.append(part)
    return test_case


def element(tag: str, **attributes: str) -> Element:
    return Element(tag, {key: valid_xml(value) for key, value in attributes.items()})


def valid_xml(text: str) -> str:
    """The text with characters that XML does not allow replaced."""
    return _INVALID.sub("\ufffd", text)
