"""The registry of formats."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.report import FORMATS, rendered


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_renders_the_empty_report(format: str) -> None:
    """Each format of the registry is there, and its text ends in a newline."""
    assert rendered(Report(), format).endswith("\n")


@pytest.mark.parametrize(
    ("format", "says"), [("jsn", "did you mean 'json'"), ("", "known: full, concise, json, json-lines, sarif")]
)
def test_formats_that_do_not_exist_are_refused(format: str, says: str) -> None:
    """An unknown format is an error that names its nearest neighbour and lists those there are."""
    with pytest.raises(UsageError, match=says):
        rendered(Report(), format)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_tells_what_is_unproven(report: Report, format: str) -> None:
    """Of a live report the unmeasured finding is told apart from the confirmed one; of a scan it is not."""
    live = replace(report, live=True)
    assert [each.code for each in live.unproven] == ["REG301"]
    assert "unproven" in rendered(live, format)
    assert "1 finding, 1 unproven, 1 suspicion refuted" in live.headline
    if format != "json":  # which has the key in any case
        assert "unproven: " not in rendered(report, format)
    assert "REG301" in rendered(live, format)
    if format in ("full", "concise", "github"):
        assert live.headline in rendered(live, format)


def test_of_two_reports_on_a_line_the_proof_stands(report: Report) -> None:
    """What one report could not measure and another confirmed is confirmed, in whichever order they come."""
    proven = replace(report, live=True, findings=report.findings[:1])
    doubt = replace(proven.findings[0], evidence=report.findings[1].evidence)
    open_still = replace(proven, findings=(doubt,))
    for pair in ((proven, open_still), (open_still, proven)):
        assert join(pair).exit_code == 1 and join(pair).unproven == ()
    assert join((open_still, open_still)).exit_code == 0


def test_programs_tell_unproven_findings_apart(report: Report) -> None:
    """SARIF tags them, GitLab takes them as minor, GitHub as a warning at most, JUnit as skipped; each counts them."""
    error = replace(report.findings[1], severity=Severity.ERROR)
    live = replace(report, live=True, findings=(report.findings[0], error))
    (run,) = json.loads(rendered(live, "sarif"))["runs"]
    assert [each["level"] for each in run["results"]] == ["error", "warning"]
    assert run["results"][1]["properties"]["tags"] == ["unproven"]
    assert run["properties"] == {"unproven": 1}
    assert [each["severity"] for each in json.loads(rendered(live, "gitlab"))] == ["critical", "minor", "minor"]
    commands = [line.split(" ")[0] for line in rendered(live, "github").splitlines() if line.startswith("::")]
    assert commands == ["::error", "::warning", "::warning"]
    suite = ElementTree.fromstring(rendered(live, "junit")).find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "2")
    assert [each.attrib for each in suite.iter("property")] == [{"name": "unproven", "value": "1"}]
    counting = replace(live, fail_on_unproven=True)
    assert ElementTree.fromstring(rendered(counting, "junit")).get("failures") == "2"
    assert [len(each.failures) for each in (live, counting)] == [1, 2]


@pytest.mark.parametrize("files", [0, 1, 12])
def test_texts_tell_how_many_files_were_looked_at(files: int) -> None:
    """The number is in each text for people, and in the document for programs."""
    scanned = Report(files=files)
    told = f"{files} file{'s' * (files != 1)} looked at"
    assert all(told in rendered(scanned, format) for format in ("full", "concise", "github", "html"))
    assert json.loads(rendered(scanned, "json"))["files"] == files
    assert told in str(scanned)
    assert "looked at" not in rendered(Report(), "full")
