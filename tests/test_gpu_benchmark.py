"""The run of benchmarks on a GPU."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """The names of the script, loaded as a module; a module `zoo` of another test is out of its way."""
    for name in [each for each in sys.modules if each.partition(".")[0] == "zoo"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(FOLDER / "gpu.py"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="it runs for minutes where there is a GPU")
def test_without_a_gpu_it_says_so_and_succeeds(
    script: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing runs, and the exit code is 0."""
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert script["main"]() == 0
    assert capsys.readouterr().out == "No GPU is present: nothing was run.\n"


def test_a_sample_is_audited_on_each_device(script: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each model has a line, and devices that agree are no failure."""
    models = [each for each in script["sample"]() if each.library == "torch"][:2]
    assert script["audit_sample"](models, ("cpu",)) == 0
    assert [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        f"torch:{each.name}" for each in models
    ]


def test_a_step_that_takes_too_long_fails(script: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """It is cut off and named; all steps together end within eight minutes."""
    assert script["run"]("sleep", ([sys.executable, "-c", "import time; time.sleep(60)"], 0.1)) == 1
    assert "sleep was cut off" in capsys.readouterr().out
    assert sum(seconds for _, seconds in script["STEPS"].values()) < 480
