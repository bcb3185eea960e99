"""What a library does with models and optimizers on behalf of a tested project."""

from __future__ import annotations

from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

LIBRARY = """
import torch

class Estimator:
    def __init__(self, net, decay):
        self.net, self.decay = net, decay
    def fit(self, x):
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.1, weight_decay=self.decay)
        self.net.train()
        self.net(x).square().sum().backward()
        self.optimizer.step()
        return self

def infer(net, x):
    with torch.no_grad():
        return net(x)
"""

PACKAGE = """
import estimators

def fitted(net, x):
    return estimators.Estimator(net, 0.05).fit(x)  # <- REG301

def scores(net, x):
    return estimators.infer(net, x).argmax(1)  # <- REG201

def settled(net, x):
    return estimators.Estimator(net, 0.05).fit(x)  # regcheck: ignore[REG301] tuned with it
"""

THROUGH_THE_PACKAGE = """
import package, torch
from models import Sound

def test_fit():
    package.fitted(Sound(), torch.randn(4, 8))

def test_scores():
    assert package.scores(Sound(), torch.randn(4, 8)).shape == (4,)

def test_settled():
    package.settled(Sound(), torch.randn(4, 8))
"""

BY_TESTS_ALONE = """
import estimators, torch
from models import Sound

def test_fit():
    estimators.Estimator(Sound(), 0.05).fit(torch.randn(4, 8))

def test_scores():
    assert estimators.infer(Sound(), torch.randn(4, 8)).argmax(1).shape == (4,)
"""


@pytest.fixture
def using_a_library(project: Project) -> Project:
    project.write("pytest.ini", "[pytest]\npythonpath = . site-packages\n")
    (project.folder / "site-packages").mkdir()
    project.write("site-packages/estimators.py", LIBRARY)
    project.write("package.py", PACKAGE)
    return project


def test_a_fault_in_a_library_fails_at_the_line_of_the_package(using_a_library: Project) -> None:
    """The package's line is reported at full severity, unless a comment there suppresses it, and the session fails."""
    using_a_library.write("test_models.py", THROUGH_THE_PACKAGE)
    done, document = using_a_library.report()
    marked = [(line[-6:], number) for number, line in enumerate(PACKAGE.splitlines(), 1) if "# <-" in line]
    reported = [(each["code"], each["line"]) for each in document["findings"] if each["path"] == "package.py"]
    assert sorted(reported) == sorted(marked)
    assert len(document["findings"]) == 2
    assert {each["severity"] for each in document["findings"]} == {"warning", "error"}
    assert all(" (in estimators.py:" in each["message"] for each in document["findings"])
    assert done.returncode == 1


def test_a_fault_that_only_a_test_asks_for_is_advice(using_a_library: Project) -> None:
    """Where a test alone leads to the library, the finding stands in the test, as `info`, and fails nothing."""
    using_a_library.write("test_models.py", BY_TESTS_ALONE)
    done, document = using_a_library.report()
    reported = {(each["code"], each["severity"], each["path"]) for each in document["findings"]}
    assert reported == {("REG301", "info", "test_models.py"), ("REG201", "info", "test_models.py")}
    assert done.returncode == 0
