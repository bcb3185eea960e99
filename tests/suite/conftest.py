"""Small projects of users, and pytest to run in them."""

from __future__ import annotations

import json
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch._dynamo  # noqa: F401, it can be loaded once only: before pytester notes which modules there are

import regcheck.engine.audit
import regcheck.suite.report_plugin  # noqa: F401, the same: what one run has cached must fit what the next one loads
from regcheck.report.json import schema

PROJECTS = Path(__file__).parents[2] / "fixtures" / "projects"

MODELS = """
import torch
from torch import nn
import torch.nn.functional as F


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


class NeedsSize(nn.Module):
    def __init__(self, size):
        super().__init__()


def predict(model, x):
    with torch.no_grad():
        return model(x)
"""

TESTS = """
import torch
from models import Leaky, Sound, predict


def test_leaky():
    assert Leaky()(torch.ones(4, 8)).shape == (4, 2)


def test_sound():
    assert Sound()(torch.ones(4, 8)).shape == (4, 2)


def test_predict():
    assert predict(Sound(), torch.ones(4, 8)).shape == (4, 2)
"""


@dataclass
class Done:
    """How a run of pytest ended."""

    returncode: int
    stdout: str
    stderr: str


class Project:
    """A project in a folder of its own, and pytest to run in it."""

    models, tests = MODELS, TESTS
    always = ("-p", "no:cacheprovider", "-p", "no:randomly")

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.folder = pytester.path
        self._pytester = pytester

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(self, *arguments: str, alone: bool = False) -> Done:
        """Run pytest here; `alone` in a process of its own."""
        method = self._pytester.runpytest_subprocess if alone else self._pytester.runpytest_inprocess
        done = method(*self.always, *arguments)
        return Done(int(done.ret), done.stdout.str(), done.stderr.str())

    def report(self, *arguments: str, alone: bool = False) -> tuple[Done, dict[str, Any]]:
        """Run pytest under `--regcheck`, and read the JSON report."""
        done = self.run("--regcheck", "--regcheck-report", "json:report.json", *arguments, alone=alone)
        path = self.folder / "report.json"
        assert path.exists(), done.stdout + done.stderr
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(document, schema())
        return done, document


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    made = Project(pytester)
    made.write("pytest.ini", "[pytest]\npythonpath = .\n")
    made.write("models.py", MODELS)
    made.write("test_models.py", TESTS)
    return made


@pytest.fixture
def quickstart(pytester: pytest.Pytester) -> Project:
    shutil.copytree(PROJECTS / "quickstart", pytester.path, dirs_exist_ok=True)
    return Project(pytester)
