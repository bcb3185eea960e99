"""What CI services run: the steps of the GitHub action and of the GitLab template do what their files say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
NET = """\
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(8, 32), nn.Linear(32, 2)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x)))
"""
TEST = """\
import torch
from net import Net


def test_it():
    assert Net().eval()(torch.randn(4, 8)).shape == (4, 2)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small faulty project."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "fixtures" / "projects" / "quickstart", folder, dirs_exist_ok=True)
    return folder


def ran(script: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A step, as a service runs it: each line must succeed."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "GITHUB_ACTIONS": "true", "XDG_CACHE_HOME": str(folder), **variables}
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def act(folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """The step of the action that checks a project, with these inputs."""
    document = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    inputs = {name: given.get(name, each["default"]) for name, each in document["inputs"].items()}
    (step,) = (each for each in document["runs"]["steps"] if each.get("id") == "check")
    variables = {}
    for name, expression in step["env"].items():
        variables[name] = inputs[expression.removeprefix("${{ inputs.").removesuffix(" }}")]
    return ran(step["run"], folder, variables)


def codes(report: dict[str, Any]) -> set[str]:
    return {each["ruleId"] for run in report["runs"] for each in run["results"]}


def test_the_action_scans(project: Path) -> None:
    """The action annotates the lines, writes the report for code scanning, and fails where there are findings."""
    done = act(project)
    assert done.returncode == 1, done.stderr
    assert "::error file=quickstart/train.py,line=28" in done.stdout
    assert "REG201" in codes(json.loads((project / "regcheck.sarif").read_text(encoding="utf-8")))
    assert act(project, arguments="--select REG501").returncode == 0


def test_the_action_watches_tests(tmp_path: Path) -> None:
    """With the door pytest the action runs the tests under watch: the report holds what a measurement confirmed."""
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "test_net.py").write_text(TEST, encoding="utf-8")
    done = act(tmp_path, door="pytest", paths="test_net.py")
    assert done.returncode == 1, done.stderr
    assert "1 passed" in done.stdout
    assert codes(json.loads((tmp_path / "regcheck.sarif").read_text(encoding="utf-8"))) == {"REG202"}


def test_the_action_refuses_an_unknown_door(project: Path) -> None:
    """A misspelled input is an error that says which there are."""
    done = act(project, door="scna")
    assert (done.returncode, done.stdout) == (2, "::error::the input door is scan or pytest, not scna\n")


def test_the_template_scans(project: Path) -> None:
    """GitLab's job writes the code quality report, shows the findings, and fails."""
    _, job = yaml.safe_load_all((ROOT / "templates" / "scan.yml").read_text(encoding="utf-8"))
    done = ran("\n".join(job["regcheck"]["script"]), project, {"PATHS": ".", "ARGUMENTS": ""})
    assert done.returncode == 1, done.stderr
    assert "REG202 dropout-ignores-mode" in done.stdout
    report = json.loads((project / job["regcheck"]["artifacts"]["reports"]["codequality"]).read_text(encoding="utf-8"))
    assert "dropout-ignores-mode" in {each["check_name"] for each in report}
