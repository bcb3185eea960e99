"""How coverage is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator

from regcheck.core.coverage import Coverage, coverage_lines
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.report import rendered
from regcheck.report.json import schema

NET = Coverage("Net", "recorded", "pretrained_cfg", ("train", "eval"), 43, 41, never_called=("aux", "aux.drop"))
FILE = Coverage("net.py", "source", "", ("train", "eval"), 3, 2, opaque=("Deep",))


def test_one_line_for_each_model() -> None:
    """A line has the count, where the inputs came from, and what was left."""
    assert (
        NET.line == "Net: 41 of 43 modules traced on inputs inferred from pretrained_cfg; never called: aux, aux.drop"
    )
    sealed = replace(NET, inputs="given", opaque=("", "b", "c", "d", "e"), never_called=())
    assert sealed.line.endswith("traced on the inputs given; opaque: the model itself, b, c and 2 more")
    assert FILE.line == "net.py: 2 of 3 model classes read; not read: Deep"


def test_many_share_a_line() -> None:
    """More than five models are told in one line, files always in one."""
    models = [replace(NET, subject=f"Net{number}") for number in range(6)]
    assert coverage_lines(models[:5]) == [each.line for each in models[:5]]
    assert coverage_lines(models) == ["6 models: 246 of 258 modules traced"]
    assert coverage_lines([FILE, replace(FILE, subject="b.py")]) == [
        "2 files: 4 of 6 model classes read; not read: Deep, Deep"
    ]
    assert coverage_lines([]) == []


@pytest.mark.parametrize("format", ["full", "concise"])
def test_the_texts_say_it_just_before_the_headline(format: str) -> None:
    """Both texts and `print(report)` end in the coverage and the headline."""
    report = Report(coverage=(NET,))
    assert rendered(report, format).splitlines()[-2:] == [NET.line, report.headline]
    assert str(report).splitlines() == [NET.line, report.headline]


def test_the_document_has_it_and_obeys_the_schema() -> None:
    """Coverage is written under the schema, survives the round trip, and is gathered once."""
    report = join([Report(coverage=(NET, FILE)), Report(coverage=(NET,))])
    written = json.loads(rendered(report, "json"))
    Draft202012Validator(schema()).validate(written)
    assert tuple(map(Coverage.from_dict, written["coverage"])) == report.coverage == (NET, FILE)
