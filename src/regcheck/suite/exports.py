"""The output of a test session for other programs: report files, properties in JUnit XML, annotations for GitHub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pytest
from _pytest.junitxml import xml_key

from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.files.atomic_write import write_atomically
from regcheck.report import github, rendered
from regcheck.report.junit import valid_xml
from regcheck.report.view import View
from regcheck.session.ledger import Ledger


def write_report(report: Report, form: str, path: Path, view: View) -> None:
    """Write a report file, and the folders that it lies in.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, rendered(report, form, view).encode(errors="backslashreplace"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


class Cases:
    """The test cases in pytest's own JUnit XML, if pytest writes one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._cases: dict[str, list[Any]] = {}

    def note(self, report: pytest.TestReport) -> None:
        """Remember the test case of a test that is over."""
        document = self._config.stash.get(xml_key, None)
        if document is not None and report.when == "teardown":
            self._cases.setdefault(report.nodeid, []).append(document.node_reporter(report))

    def add(self, report: Report, ledger: Ledger) -> None:
        """Give each finding to the document, and to the cases of the tests that showed it."""
        document = self._config.stash.get(xml_key, None)
        if document is None:
            return
        unproven = report.unproven
        for each in report.findings:
            verdict = "unproven" if each in unproven else each.evidence.verdict.value
            name = f"regcheck.{each.code}"
            value = f"{each.where}: {each.message} ({verdict})"
            document.add_global_property(name, valid_xml(value))
            for test in ledger.tests.get(each.key, ()):
                for case in self._cases.get(test, ()):
                    element: Element = case.to_xml()
                    properties = element.find("properties")
                    if properties is None:
                        properties = Element("properties")
                        element.insert(0, properties)
                    SubElement(properties, "property", name=name, value=valid_xml(value))


def in_github_actions() -> bool:
    return os.environ.get("GITHUB_ACTIONS") == "true"


def commands(report: Report, root: Path) -> Iterator[str]:
    """Workflow commands that show the findings beside the code, with paths as GitHub's checkout has them."""
    workspace = os.environ.get("GITHUB_WORKSPACE")

    def in_checkout(path: str | None) -> str | None:
        if path is None or workspace is None or path.startswith("<"):
            return path
        relative = os.path.relpath(root / path, workspace)
        return path if relative.startswith("..") else relative

    for each in report.standing:
        yield github.annotation(each.at(in_checkout(each.path)))
    for each in report.unproven:
        yield github.unproven(each.at(in_checkout(each.path)))
    for missed in report.not_checked:
        yield github.unchecked(missed)
