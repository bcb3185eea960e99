"""Models named in `[tool.regcheck]` or by a conftest, as items of the suite."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


def test_configured_rules_and_models(project: Project) -> None:
    """`[tool.regcheck]` chooses rules, and its models become items that fail when their check fails."""
    (project.folder / "pytest.ini").unlink()
    project.write(
        "pyproject.toml",
        """
        [tool.pytest.ini_options]
        pythonpath = ["."]
        [tool.regcheck]
        ignore = ["REG201"]
        models = ["models:Leaky", "models.py:Sound", "models:NeedsSize"]
        """,
    )
    done, document = project.report("-k", "regcheck", "-rs", "-v")
    assert done.returncode == 1
    assert "regcheck::models:Leaky FAILED" in done.stdout
    assert "regcheck::models.py:Sound PASSED" in done.stdout
    assert "regcheck::models:NeedsSize ERROR" in done.stdout
    assert "takes arguments: size" in done.stdout
    assert "3 deselected" in done.stdout
    assert "1 finding, 1 not checked, 2 models examined" in done.stdout
    assert [each["code"] for each in document["findings"]] == ["REG202"]
    assert "seen in regcheck::models:Leaky" in done.stdout
    assert done.stdout.count("still drops") == 1, "the failure shows the place, the section the finding"
    assert "REG202 dropout-ignores-mode\n1 finding; the section `regcheck` below says more" in done.stdout
    assert project.run("--regcheck", "-k", "Sound", "-q").returncode == 0
    assert "models:Leaky" not in project.run("--regcheck", "test_models.py::test_sound", "-v").stdout
    assert "models:Leaky" not in project.run("-v").stdout


CONFTEST = """
import pytest
import torch

@pytest.hookimpl(optionalhook=True)
def pytest_regcheck_targets(config):
    from models import Leaky, NeedsSize, Sound

    def broken():
        raise RuntimeError("no such weights")

    return {"leaky": Leaky, "given": lambda: (Sound(), torch.ones(4, 8)), "broken": broken, "no model": dict}
"""


def test_a_conftest_names_models(project: Project) -> None:
    """`pytest_regcheck_targets` gives functions that make a model, or a model and its inputs, or fail with a reason."""
    project.write("conftest.py", CONFTEST)
    done, document = project.report("-v", "-rs")
    assert "regcheck::leaky FAILED" in done.stdout
    assert "regcheck::given PASSED" in done.stdout
    assert "regcheck::broken ERROR" in done.stdout
    assert "RuntimeError: no such weights" in done.stdout
    assert "regcheck::no model ERROR" in done.stdout
    assert [each["subject"] for each in document["not_checked"]] == ["broken", "no model"]
    assert "audit takes an nn.Module, not dict" in done.stdout
    assert ("given" in str(document["coverage"])) is True
    assert "pytest_regcheck_targets" not in project.run("-p", "no:regcheck", alone=True).stderr


def test_a_conftest_in_a_subfolder_names_targets(project: Project) -> None:
    """Every conftest is asked, wherever it lies; what two of them name is checked once."""
    for folder in ("one", "two"):
        (project.folder / folder).mkdir()
        project.write(f"{folder}/conftest.py", "def pytest_regcheck_targets():\n    return ['models:Sound']\n")
        project.write(f"{folder}/test_{folder}.py", "def test_it():\n    pass\n")
    done = project.run("--regcheck", "-v", "one", "two")
    assert done.stdout.count("regcheck::models:Sound PASSED") == 1


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("'models:Sound'", "returns a list of targets, or a dictionary"),
        ("[1]", "returns a list of targets, or a dictionary"),
        ("{'a': 1}", "returns a list of targets, or a dictionary"),
        ("{'models:Sound': dict}", "two models are called 'models:Sound'"),
    ],
)
def test_what_a_conftest_names_must_be_clear(project: Project, returned: str, message: str) -> None:
    """A hook that returns something else, or a name that is taken, ends the run with what to do."""
    project.write("pyproject.toml", '[tool.regcheck]\nmodels = ["models:Sound"]\n')
    project.write("conftest.py", f"def pytest_regcheck_targets():\n    return {returned}\n")
    done = project.run("--regcheck")
    assert done.returncode == 4
    assert message in done.stderr


@pytest.fixture
def named(project: Project) -> Project:
    """The project with two of its models in the configuration."""
    project.write("pyproject.toml", '[tool.regcheck]\nmodels = ["models:Leaky", "models:Sound"]\n')
    return project


def test_a_model_is_selected_by_its_node_id(named: Project) -> None:
    """`regcheck::TARGET` on the command line runs that model, alone or beside tests; an unknown one is named."""
    done = named.run("--regcheck", "regcheck::models:Sound", "-v")
    assert done.returncode == 0
    assert "1 passed" in done.stdout
    done = named.run("--regcheck", "regcheck::models:Sound", "test_models.py::test_sound", "-v")
    assert "2 passed" in done.stdout
    done = named.run("--regcheck", "regcheck::models:Sund")
    assert done.returncode == 4
    assert "there is no model 'models:Sund' (did you mean 'models:Sound'?)" in done.stderr


def test_a_model_can_be_deselected_and_run_again(named: Project) -> None:
    """`--deselect` leaves a model out, `--lf` runs only those that failed."""
    done = named.run("--regcheck", "-v", "--deselect", "regcheck::models:Leaky")
    assert "models:Leaky" not in done.stdout.replace("--deselect", "")
    assert "1 deselected" in done.stdout
    named.run("--regcheck", "-p", "cacheprovider")
    done = named.run("--regcheck", "-p", "cacheprovider", "--lf", "-v")
    assert "regcheck::models:Leaky FAILED" in done.stdout
    assert "1 failed" in done.stdout
    assert "passed" not in done.stdout


def test_models_are_listed_and_not_built(named: Project) -> None:
    """`--collect-only` lists the models beside the tests, and imports none of them."""
    named.write("models.py", "raise ImportError\n")
    done = named.run("--regcheck", "--collect-only", "-q", "--ignore", "test_models.py", alone=True)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "::" in line] == [
        "regcheck::models:Leaky",
        "regcheck::models:Sound",
    ]


def test_models_run_in_workers(named: Project) -> None:
    """Workers share the models out, and what they show reaches the report."""
    done, document = named.report("-n", "2", "-v", "-k", "regcheck", alone=True)
    assert "PASSED regcheck::models:Sound" in done.stdout
    assert "FAILED regcheck::models:Leaky" in done.stdout
    assert [each["code"] for each in document["findings"]] == ["REG202"]
    assert "seen in regcheck::models:Leaky" in done.stdout


DRAWING = """
import random

import numpy
import torch

def pytest_regcheck_targets(config):
    def drawing():
        random.random(), numpy.random.rand(), torch.rand(1)
        return torch.nn.Linear(2, 2)

    return {"drawing": drawing}

def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.name != "drawing")
"""
DRAWN = """
import random

import numpy
import torch

def test_draws():
    print("drawn", random.random(), numpy.random.rand(), torch.rand(1).item())
"""


def test_building_a_model_draws_nothing_from_the_suite(project: Project) -> None:
    """A test that runs behind a configured model draws the same numbers, of each stream, as without it."""
    project.write("test_draws.py", DRAWN)
    seeded = "import random, numpy, torch\nrandom.seed(1), numpy.random.seed(1), torch.manual_seed(1)\n"

    def drawn(conftest: str, *flags: str) -> str:
        project.write("conftest.py", seeded + conftest)
        told = project.run("-s", "-p", "no:randomly", *flags, "-k", "draws or drawing").stdout
        return next(line for line in told.splitlines() if "drawn" in line).partition("drawn")[2]

    assert drawn("") == drawn(DRAWING, "--regcheck")
