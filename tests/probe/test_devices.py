"""Measurements on a second device: a copy is moved there, its random stream is put back, and devices are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
FIXTURES = TESTS.parent / "fixtures"

SCRIPT = """
import importlib.util, json, sys, warnings
warnings.simplefilter("ignore")
folder, fault, devices, *files = sys.argv[1:]
sys.path.insert(0, folder)
import torch
from planted_device import DEVICE, NAME, register
from regcheck import audit

register(fault)
told = {}
for file in files:
    spec = importlib.util.spec_from_file_location("subject", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    streams = torch.get_rng_state(), DEVICE.module.get_rng_state()
    values = [each.clone() for each in module.model.state_dict().values()]
    report = audit(module.model, *module.inputs, options={"devices": devices.split(",")})
    now = torch.get_rng_state(), DEVICE.module.get_rng_state()
    left = all(map(torch.equal, streams, now))
    left = left and all(map(torch.equal, values, module.model.state_dict().values()))
    left = left and {each.device.type for each in module.model.state_dict().values()} <= {"cpu"}
    told[file] = {
        "devices": report.devices,
        "untouched": left,
        "findings": [each.to_dict() for each in report.findings],
        "refuted": [each.code for each in report.refuted],
    }
print(json.dumps(told))
"""

NET = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x):
        x = F.dropout(self.hidden(x).relu(), 0.5{mode})
        return self.head(x)


torch.manual_seed(0)
model, inputs = Net(), (torch.randn(32, 16),)
"""


UNABLE = {
    "packed_sequences_without_dropout": ["REG402"],
    "one_layer_with_dropout_between_layers": ["REG402"],
    "stochastic_depth_in_a_plain_list": ["REG103", "REG204"],
}
"""What cannot be measured there: such a device cannot pack sequences or transpose in place, and what a plain list holds
is not moved to it."""


def told(fault: str, devices: str, *files: Path) -> dict[str, Any]:
    """What audits of the models in these files say, in a process that has the second device."""
    command = [sys.executable, "-c", SCRIPT, str(TESTS), fault, devices, *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return {Path(path).stem: said for path, said in document.items()}


def subjects() -> list[Path]:
    """The faulty models among the fixtures."""
    return sorted(each for each in (FIXTURES / "models").glob("*.py") if "\ninputs = " in each.read_text())


def agree(files: list[Path]) -> None:
    both = told("", "cpu,planted", *files)
    here = told("", "cpu", *files)
    assert {name for name, said in both.items() if not said["untouched"]} == set()
    for name, said in both.items():
        assert said["devices"] == ["cpu", "planted"]
        found = {(each["code"], each["line"], each["evidence"]["verdict"]) for each in said["findings"]}
        assert found == {(each["code"], each["line"], each["evidence"]["verdict"]) for each in here[name]["findings"]}
        for each in said["findings"]:
            if each["evidence"]["samples"] and each["code"] not in UNABLE.get(name, ()):
                assert each["evidence"]["device"] == "cpu, planted", (name, each)


def test_an_honest_device_says_what_the_cpu_says() -> None:
    """What is confirmed here is confirmed there, nothing disagrees, and no trace is left on either."""
    agree(subjects()[::13])


@pytest.mark.slow
@pytest.mark.parametrize("start", range(7))
def test_an_honest_device_says_what_the_cpu_says_of_every_fixture(start: int) -> None:
    """The same for all faulty models among the fixtures."""
    agree(subjects()[start::7])


def test_a_device_that_drops_nothing_disagrees(tmp_path: Path) -> None:
    """Dropout left on, as one device shows and the other does not, is a finding of its own with both figures."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=""))
    by_code = {each["code"]: each for each in told("drops nothing", "cpu,planted", file)["net"]["findings"]}
    assert by_code["REG202"]["evidence"]["device"] == "cpu"
    assert by_code["REG905"]["evidence"]["device"] == "cpu, planted"
    assert by_code["REG905"]["evidence"]["measured"] == 0 < by_code["REG905"]["evidence"]["expected"]


def test_the_only_device_is_believed(tmp_path: Path) -> None:
    """Where measurements run on one device alone nothing is compared."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=""))
    said = told("drops nothing", "planted", file)["net"]
    assert (said["findings"], said["refuted"]) == ([], ["REG202"])


def test_auto_means_the_cpu_and_the_accelerator(tmp_path: Path) -> None:
    """By default measurements run on the CPU and on the accelerator that is there."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=", self.training"))
    assert told("", "auto", file)["net"] == {
        "devices": ["cpu", "planted"],
        "untouched": True,
        "findings": [],
        "refuted": [],
    }
