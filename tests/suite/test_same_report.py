"""A suite's report does not depend on the order of its tests nor on how many processes run them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

FIXTURES = Path(__file__).parents[2] / "fixtures" / "models"
RUN = ("attention_behind_a_switch", "noisy_layers", "pooled_features_dropped_before_norm", "standardized_by_the_batch")

TEST = """
def test_{name}():
    torch.manual_seed(0)
    from {name} import inputs, model
    with torch.no_grad():
        model(*inputs)
"""

SERVING = """
import torch

def predict(model, x):
    with torch.no_grad():
        return model(x)
"""

PREDICT = """
def test_predict():
    torch.manual_seed(0)
    from serving import predict
    predict(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2)), torch.ones(4, 8))
"""

ORDER = """
import os

def pytest_collection_modifyitems(items):
    if "REVERSED" in os.environ:
        items.reverse()
"""


def test_findings_and_evidence_are_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backwards, and spread over two workers, the report is the same to the last figure, in the same order."""
    for name in RUN:
        shutil.copy(FIXTURES / f"{name}.py", project.folder)
    project.write("serving.py", SERVING)
    project.write("test_models.py", "import torch\n" + PREDICT + "".join(TEST.format(name=name) for name in RUN))
    project.write("conftest.py", ORDER)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process; more threads add in another order
    _, alone = project.report()
    _, workers = project.report("-n", "2", alone=True)
    monkeypatch.setenv("REVERSED", "1")
    _, backwards = project.report()
    assert {each["code"] for each in alone["findings"]} >= {"REG103", "REG201", "REG202", "REG203", "REG205"}
    assert alone == workers == backwards
