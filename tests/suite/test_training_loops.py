"""The training loops under `pytest --regcheck` and `regcheck run`: all of them in one session, and in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..training_loops import LOOPS, RIGHT, marked, variant

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


def write_loops(folder: Path) -> set[tuple[str, str, int]]:
    """Write each loop and its sound twin as a program; return the expected findings."""
    faulty = {f"faulty_{number:02}.py": variant(loop, faulty=True) for number, loop in enumerate(LOOPS.values())}
    twins = [variant(each, faulty=False) for each in (*LOOPS.values(), *RIGHT.values())]
    for name, source in {**faulty, **{f"right_{number:02}.py": each for number, each in enumerate(twins)}}.items():
        (folder / name).write_text(source, encoding="utf-8")
    return {("REG206", name, marked(source)) for name, source in faulty.items()}


def confirmed(document: dict[str, Any]) -> set[tuple[str, str, int]]:
    assert document["not_checked"] == []
    assert all(each["evidence"]["verdict"] == "confirmed" for each in document["findings"])
    return {(each["code"], each["path"], each["line"]) for each in document["findings"]}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["alone", "workers"])
def test_a_suite_shows_each_loop_in_which_a_mode_lingers(project: Project, workers: tuple[str, ...]) -> None:
    """Every loop is reported at its training call, whichever process ran it, and every right one is silent."""
    expected = write_loops(project.folder)
    names = sorted(each.name for pattern in ("faulty_*", "right_*") for each in project.folder.glob(pattern))
    project.write(
        "test_models.py",
        f"import pytest, runpy\n\n@pytest.mark.parametrize('name', {names})\n"
        "def test_loop(name):\n    runpy.run_path(name, run_name='__main__')\n",
    )
    _, document = project.report(*workers, alone=True)
    assert confirmed(document) == expected
    assert {each["severity"] for each in document["findings"]} == {"warning"}


@pytest.mark.parametrize("kind", ["faulty", "right"])
def test_a_program_shows_each_loop_in_which_a_mode_lingers(tmp_path: Path, kind: str) -> None:
    """A program that runs all loops is reported at the training call of each faulty one, and at nothing else."""
    expected = write_loops(tmp_path)
    (tmp_path / "main.py").write_text(
        f"import pathlib, runpy\nfor each in sorted(pathlib.Path('.').glob('{kind}_*.py')):\n"
        "    runpy.run_path(str(each.absolute()), run_name='__main__')\n"
    )
    command = [sys.executable, "-m", "regcheck", "run", "--output-format", "json", "--output-file", "report.json"]
    done = subprocess.run([*command, "main.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == (1 if kind == "faulty" else 0), done.stderr
    found = confirmed(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")))
    assert found == (expected if kind == "faulty" else set())


TRAINING = """
import torch
from torch import nn
from torch.nn import functional as F

x, y = torch.randn(4, 8), torch.tensor([0, 1, 0, 1])

def network():
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 2))

def fit():
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        F.cross_entropy(net(x), y).backward()  # <-
        optimizer.step()
        score(net)
        #net.train()
    return net

def score(net):
    net.eval()
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean()
"""
FITS = "(training.fit(), right.fit())\n"
TESTS = {
    "as a test file is imported": ("", f"import right, training\nnets = {FITS}def test_it():\n    assert nets\n"),
    "as a script without a guard is imported": ("", "import script\ndef test_it():\n    assert script.nets\n"),
    "in a fixture of a conftest": (
        f"import pytest, right, training\n@pytest.fixture(scope='session')\ndef nets():\n    return {FITS}",
        "def test_it(nets):\n    assert nets\n",
    ),
    "in a method of a unittest": (
        "",
        "import right, training, unittest\nclass TestFit(unittest.TestCase):\n    def setUp(self):\n"
        f"        self.nets = {FITS}    def test_it(self):\n        assert self.nets\n",
    ),
}


@pytest.mark.parametrize("where", TESTS)
def test_training_outside_of_a_test_function_is_watched(project: Project, where: str) -> None:
    """What imports and fixtures train is reported like what a test function trains, and fails the session."""
    conftest, test = TESTS[where]
    project.write("conftest.py", conftest)
    project.write("test_models.py", test)
    project.write("script.py", f"import right, training\nnets = {FITS}")
    project.write("training.py", TRAINING)
    project.write("right.py", TRAINING.replace("#net", "net"))
    done, document = project.report()
    assert confirmed(document) == {("REG206", "training.py", marked(TRAINING))}
    assert done.returncode == 1
