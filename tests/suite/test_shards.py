"""A suite in shards: their merged report is that of the whole suite."""

from __future__ import annotations

import json
from typing import Any

import pytest

from regcheck.cli.main import main

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

SEEDED = """
import pytest
import torch

@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
"""

MORE = """
def test_leaky_again():
    Leaky()(torch.ones(4, 8))


def test_predict_again():
    predict(Sound(), torch.ones(4, 8))
"""

SHARDS = (("test_leaky", "test_predict"), ("test_sound",), ("test_leaky_again", "test_predict_again"))


def test_three_shards_merge_to_the_report_of_the_whole(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """Findings, evidence, coverage, tests, what is not checked, order and exit code: all as in one run."""
    project.write("conftest.py", SEEDED)
    project.write("test_models.py", project.tests + MORE)
    done, whole = project.report()
    names = []
    for number, tests in enumerate(SHARDS):
        _, document = project.report(*(f"test_models.py::{each}" for each in tests))
        names.append(str(project.write(f"shard{number}.json", json.dumps(document))))
    capsys.readouterr()
    assert main(["merge", *reversed(names), "--output-format", "json"]) == done.returncode == 1
    merged = json.loads(capsys.readouterr().out)
    assert {each["code"] for each in merged["findings"]} == {"REG201", "REG202"}
    assert merged == whole
