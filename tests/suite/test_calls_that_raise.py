"""Tests that expect a model to refuse an input."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

HEAD = "import pytest\nimport torch\nfrom models import Leaky, Sound, predict\n\n"
REFUSED = """
def test_refused():
    for model in (Leaky(), Sound()):
        with pytest.raises(RuntimeError):
            predict(model, torch.ones(4, 7))

"""
FITTING = """
def test_fitting():
    assert Leaky()(torch.ones(4, 8)).shape == (4, 2)
    assert predict(Sound(), torch.ones(4, 8)).shape == (4, 2)

"""
BOTH = """
def test_both():
    for model in (Leaky(), Sound()):
        for width in (7, 8):
            try:
                predict(model, torch.ones(4, width))
            except RuntimeError:
                assert width == 7

"""


def test_a_call_that_raises_is_no_prediction(project: Project) -> None:
    """Nothing is said of a mode in which a model refused an input; that nothing is known of the model is."""
    project.write("test_models.py", HEAD + REFUSED)
    done, document = project.report()
    assert document["findings"] == []
    assert [(each["subject"], each["reason"]) for each in document["not_checked"]] == [
        ("Leaky", "its calls raised"),
        ("Sound", "its calls raised"),
    ]
    assert done.returncode == 0


@pytest.mark.parametrize(
    "tests", [REFUSED + FITTING, FITTING + REFUSED, BOTH], ids=["raises first", "raises last", "in one test"]
)
def test_another_call_is_looked_at_in_place_of_one_that_raises(project: Project, tests: str) -> None:
    """The models are examined with the inputs that they accept, whenever those come."""
    project.write("test_models.py", HEAD + tests)
    _, document = project.report()
    assert sorted({each["code"] for each in document["findings"]}) == ["REG201", "REG202"]
    assert {each["evidence"]["verdict"] for each in document["findings"]} == {"confirmed"}
    assert document["not_checked"] == []
