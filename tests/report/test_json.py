"""The JSON report and its published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from regcheck.core.finding import Effect, Finding
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.json import schema
from regcheck.report.view import View


def document(report: Report) -> Any:
    return json.loads(rendered(report, "json"), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_the_schema_is_sound_and_the_report_obeys_it(report: Report) -> None:
    """The published schema is valid (draft 2020-12) and every report is valid under it, the empty one too."""
    Draft202012Validator.check_schema(schema())
    validator = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    validator.validate(document(report))
    validator.validate(document(Report()))


def test_the_keys_are_those_that_others_build_on(report: Report) -> None:
    """The names of the report's keys are a promise: exactly these, at every level."""
    written = document(report)
    parts = "findings unproven not_checked refuted coverage files devices seed version known subjects blocked live"
    parts += " fail_on strict fail_on_unproven suppressed_by idle seen inspections"
    assert set(written) == set(parts.split())
    finding = "code name severity message module path line column fix evidence docs cell patch"
    evidence = "verdict measured expected statistic alpha samples device seed because effect"
    for each in (*written["findings"], *written["refuted"]):
        assert set(each) == set(finding.split())
        assert set(each["evidence"]) == set(evidence.split())
    assert set(written["findings"][0]["evidence"]["effect"]) == {"name", "value", "unit", "material_from"}
    assert written["findings"][1]["evidence"]["effect"] is None
    assert set(written["not_checked"][0]) == {"subject", "reason", "what_to_do", "path", "line"}


def test_the_schema_closes_every_object() -> None:
    """No object of the schema lets an unknown key pass or leaves a known one optional."""
    parts = [schema(), *schema()["$defs"].values()]
    assert len(parts) == 12
    for part in parts:
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("severity", "fatal"), ("code", "202"), ("line", 0), ("line", "6"), ("name", "Not Kebab"), ("extra", 1)],
)
def test_a_broken_report_is_refused(report: Report, key: str, value: object) -> None:
    """The schema tells a broken report from a right one."""
    written = document(report)
    written["findings"][0][key] = value
    with pytest.raises(ValidationError):
        Draft202012Validator(schema()).validate(written)


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_figures_that_json_cannot_say_are_null(report: Report, figure: float) -> None:
    """A measurement that is not finite is written as null, never as `NaN`."""
    finding = report.findings[0]
    effect = Effect("change", figure, "of the spread")
    odd = Report(findings=(replace(finding, evidence=replace(finding.evidence, measured=figure, effect=effect)),))
    (written,) = document(odd)["findings"]
    assert written["evidence"]["measured"] is None and written["evidence"]["effect"]["value"] is None
    Draft202012Validator(schema()).validate(document(odd))


def test_a_view_hides_nothing(report: Report) -> None:
    """What is shown to people changes nothing in the document for programs."""
    assert rendered(report, "json", View(show_refuted=True, statistics=True, color=True)) == rendered(report, "json")


def test_findings_survive_the_round_trip(report: Report) -> None:
    """A finding read back from the document is the finding."""
    assert tuple(Finding.from_dict(each) for each in document(report)["findings"]) == report.findings


def test_json_lines_hold_the_entries_of_the_document(report: Report) -> None:
    """Each line is an object with a type: the entries of the document, unproven findings apart, and the exit code."""
    live = replace(report, live=True)
    lines = [json.loads(line) for line in rendered(live, "json-lines").splitlines()]
    document = json.loads(rendered(live, "json"))
    kinds = ["finding", "unproven", "refuted", "not_checked", "report"]
    assert [each.pop("type") for each in lines] == kinds
    assert lines[:2] == document["findings"]
    assert lines[1:4] == [*document["unproven"], *document["refuted"], *document["not_checked"]]
    last = lines[4]
    assert last.pop("exit_code") == 1
    assert last.items() <= document.items()
    assert document.keys() - last.keys() == {"findings", *kinds[1:4], "known", "coverage"}
