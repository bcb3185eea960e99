"""Measurements on a second device: a copy is moved there, its random stream is put back, and devices are compared."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot register a device that is written in Python",
)
TESTS = Path(__file__).parents[1]
FIXTURES = TESTS.parent / "fixtures"

SCRIPT = """
import importlib.util, json, sys, warnings
warnings.simplefilter("ignore")
folder, how, devices, *files = sys.argv[1:]
sys.path.insert(0, folder)
import torch
from planted_device import DEVICE, NAME, register
from regcheck import audit

how = json.loads(how)
if "widest" in how:
    how["widest"] = getattr(torch, how["widest"])
default = how.pop("default", None)
register(**how)
told = {}
for file in files:
    spec = importlib.util.spec_from_file_location("subject", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    streams = torch.get_rng_state(), DEVICE.module.get_rng_state()
    values = [each.clone() for each in module.model.state_dict().values()]
    torch.set_default_device(default)
    report = audit(module.model, *module.inputs, options={"devices": devices.split(",")})
    torch.set_default_device(None)
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
}
"""What cannot be measured there: such a device cannot pack sequences or transpose in place."""

INEXACT = {
    **UNABLE,
    "decoder_with_one_recurrent_layer": ["REG402"],
    "detector_with_dropped_scores": ["REG101"],
    "predictions_assembled_by_slices": ["REG101"],
}
"""What cannot be measured, either, where results differ from run to run by rounding: that nothing changes at all, and
which units of an output are lost that also holds others."""


def told(devices: str, *files: Path, **how: str) -> dict[str, Any]:
    """What audits of the models in these files say, in a process that has the second device.

    `how` is what it is registered with, by name, and the `default` device.
    """
    command = [sys.executable, "-c", SCRIPT, str(TESTS), json.dumps(how), devices, *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return {Path(path).stem: said for path, said in document.items()}


told_here = cache(partial(told, "cpu"))
"""The same on the CPU, which is the same for whatever the device does."""


def verdicts(said: dict[str, Any]) -> set[tuple[str, int, str]]:
    """What was found where, and how it was judged."""
    return {(each["code"], each["line"], each["evidence"]["verdict"]) for each in said["findings"]}


def subjects() -> list[Path]:
    """The faulty models among the fixtures."""
    return sorted(each for each in (FIXTURES / "models").glob("*.py") if "\ninputs = " in each.read_text())


def agree(files: list[Path], unable: dict[str, list[str]], **how: str) -> None:
    both = told("cpu,planted", *files, **how)
    here = told_here(*files)
    assert {name for name, said in both.items() if not said["untouched"]} == set()
    for name, said in both.items():
        assert said["devices"] == ["cpu", "planted"]
        assert verdicts(said) == verdicts(here[name])
        for each in said["findings"]:
            if each["evidence"]["samples"] and each["code"] not in unable.get(name, ()):
                assert each["evidence"]["device"] == "cpu, planted", (name, each)


def test_an_honest_device_says_what_the_cpu_says() -> None:
    """What is confirmed here is confirmed there, nothing disagrees, and no trace is left on either."""
    agree(subjects()[::13], UNABLE)


HONEST = {
    "as the CPU": ({}, UNABLE),
    "in short": ({"habit": "in short"}, UNABLE),
    "in any order": ({"habit": "in any order"}, INEXACT),
    "in float32": ({"widest": "float32"}, UNABLE),
}
"""How honest devices may compute, and what cannot be measured on each."""


@pytest.mark.slow
@pytest.mark.parametrize("start", range(7))
@pytest.mark.parametrize("how", HONEST)
def test_an_honest_device_says_what_the_cpu_says_of_every_fixture(start: int, how: str) -> None:
    """The same for all faulty models, also where factors are cut short, sums vary, or there is no float64."""
    traits, unable = HONEST[how]
    agree(subjects()[start::7], unable, **traits)


@pytest.mark.parametrize("how", ["in short", "in any order", "in float32"])
def test_rounding_is_no_disagreement(how: str) -> None:
    """The same for those that were taken for one: dropout before a norm, and one on a part of the output."""
    traits, unable = HONEST[how]
    names = ("tabular_network_with_dropout_before_norms", "predictions_assembled_by_slices")
    agree([FIXTURES / "models" / f"{name}.py" for name in names], unable, **traits)


def test_a_device_that_drops_nothing_disagrees(tmp_path: Path) -> None:
    """Dropout left on, as one device shows and the other does not, is a finding of its own with both figures."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=""))
    by_code = {each["code"]: each for each in told("cpu,planted", file, fault="drops nothing")["net"]["findings"]}
    assert by_code["REG202"]["evidence"]["device"] == "cpu"
    assert by_code["REG905"]["evidence"]["device"] == "cpu, planted"
    assert by_code["REG905"]["evidence"]["measured"] == 0 < by_code["REG905"]["evidence"]["expected"]


def test_the_only_device_is_believed(tmp_path: Path) -> None:
    """Where measurements run on one device alone nothing is compared."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=""))
    said = told("planted", file, fault="drops nothing")["net"]
    assert (said["findings"], said["refuted"]) == ([], ["REG202"])


def test_auto_means_the_cpu_and_the_accelerator(tmp_path: Path) -> None:
    """By default measurements run on the CPU and on the accelerator that is there."""
    file = tmp_path / "net.py"
    file.write_text(NET.format(mode=", self.training"))
    assert told("auto", file)["net"] == {
        "devices": ["cpu", "planted"],
        "untouched": True,
        "findings": [],
        "refuted": [],
    }


KEEPING = """
import torch
import torch.nn.functional as F
from torch import nn

{outside}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(16, 64)
        {kept}

    def forward(self, x):
        x = self.first(x)
        return F.dropout({made}, 0.5)


torch.manual_seed(0)
model, inputs = Net(), (torch.randn(32, 16),)
"""


@pytest.mark.parametrize(
    ("kept", "made"),
    [
        ("self.layers = [nn.Linear(64, 64)]", "self.layers[0](x)"),
        ("self.layers = {'last': (nn.Sequential(nn.Linear(64, 64)),)}", "self.layers['last'][0](x)"),
        ("self.table = torch.randn(64, 64)", "x @ self.table"),
        (
            "import functools; self.last = functools.partial(F.linear, weight=nn.Parameter(torch.randn(9, 64)))",
            "self.last(x)",
        ),
    ],
    ids=["list", "dict", "tensor", "partial"],
)
def test_what_a_model_keeps_in_plain_python_goes_with_its_copy(tmp_path: Path, kept: str, made: str) -> None:
    """Layers and tensors that `Module.to` does not move are on the device too, and the dropout is measured there."""
    file = tmp_path / "net.py"
    file.write_text(KEEPING.format(outside="", kept=kept, made=made))
    said = told("cpu,planted", file)["net"]
    assert said["untouched"]
    (found,) = (each for each in said["findings"] if each["code"] == "REG202")
    assert found["evidence"]["device"] == "cpu, planted"


def test_what_a_function_keeps_goes_with_its_copy(tmp_path: Path) -> None:
    """Layers in a closure are copied with the function: the dropout is measured on each device."""
    file = tmp_path / "net.py"
    outside = "def closed():\n    layer = nn.Linear(64, 64)\n    return lambda x: layer(x)"
    file.write_text(KEEPING.format(outside=outside, kept="self.last = closed()", made="self.last(x)"))
    said = told("cpu,planted", file)["net"]
    assert said["untouched"] and "REG905" not in {each["code"] for each in said["findings"]}
    (found,) = (each for each in said["findings"] if each["code"] == "REG202")
    assert found["evidence"]["verdict"] == "confirmed" and found["evidence"]["device"] == "cpu, planted"


def test_what_a_forward_writes_there_is_put_back_before_the_next(tmp_path: Path) -> None:
    """Parameters that grow in each run, behind autograd's back, are as they were at the beginning of each."""
    file = tmp_path / "net.py"
    file.write_text(KEEPING.format(outside="", kept="", made="self.first.weight.data.mul_(1.5).sum() + x"))
    said = told("cpu,planted", file)["net"]
    (found,) = (each for each in said["findings"] if each["code"] == "REG202")
    assert said["untouched"] and found["evidence"]["device"] == "cpu, planted"
    assert found["evidence"]["because"].endswith("they are identical")


def test_the_default_device_is_the_models_alone(tmp_path: Path) -> None:
    """What is drawn beside a model, inputs among it, is drawn on the CPU, whatever the program's default device."""
    names = ("dropout_built_in_forward", "pooled_features_dropped_before_norm", "generator_without_running_statistics")
    files = [FIXTURES / "models" / f"{name}.py" for name in names]
    for each in files[:1]:  # its inputs are drawn too
        files.append(tmp_path / f"{each.stem}_alone.py")
        files[-1].write_text(each.read_text().partition("\ninputs = ")[0] + "\ninputs = ()\n")
    said, here = told("cpu", *files, default="planted"), told("cpu", *files)
    assert {name: verdicts(each) for name, each in said.items()} == {
        name: verdicts(each) for name, each in here.items()
    }
    assert all(verdict == "confirmed" for each in said.values() for *_, verdict in verdicts(each))


ASIDE = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import torch
from planted_device import NAME, register
from torch import nn
from torch.nn import functional as F
register({how})
"""


def aside(code: str, how: str = "") -> str:
    """What a program prints that has the second device, registered with these arguments."""
    program = ASIDE.format(how=how) + code
    ran = subprocess.run([sys.executable, "-c", program, str(TESTS)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_streams_of_any_device_are_kept_alike() -> None:
    """A draw on a device is noticed, its stream follows the seed, and is put back as it was, one device's or all."""
    assert (
        aside("""
from regcheck.probe.seeds import Streams, draw_from, seed_streams, state_of
from regcheck.tracing.streams import TorchStream

device, stream = torch.device(NAME), TorchStream()
with Streams():
    seed_streams(3)
    assert stream.moved() and not stream.moved()
    drawn = torch.rand(5, device=device)
    assert stream.moved() and not stream.moved()
    state = state_of(device)
    following = torch.rand(5, device=device)
    draw_from(device, state)
    assert torch.equal(torch.rand(5, device=device).cpu(), following.cpu())
    seed_streams(3)
    assert torch.equal(torch.rand(5, device=device).cpu(), drawn.cpu())
    before = state_of(device)
assert state_of(device) != before
with Streams():
    before = state_of(device)
    torch.rand(5, device=device)
assert state_of(device) == before
""")
        == ""
    )


def test_a_device_holds_one_copy() -> None:
    """Beside the copy that is run here there is one on the device, and never more than parts of another anywhere."""
    peaks = aside("""
from torch.profiler import ProfilerActivity, profile

from regcheck import audit
from regcheck.probe import reductions


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Linear(256, 256) for _ in range(16)))
        self.kept = [nn.Linear(256, 256)]

    def forward(self, x):
        return F.dropout(self.kept[0](self.layers(x)), 0.5)


reductions.ELSEWHERE = 2**12
for devices in (["cpu"], [NAME], ["cpu", NAME]):
    model, x = Net(), torch.randn(8, 256)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        report = audit(model, x, options={"devices": devices})
    assert {each.evidence.device for each in report.findings} == {", ".join(devices)}
    held = most = 0
    for each in sorted(seen.profiler.kineto_results.events(), key=lambda each: each.start_ns()):
        if each.name() == "[memory]":
            held += each.nbytes()
            most = max(most, held)
    print(most / sum(each.nbytes for each in (*model.parameters(), *model.kept[0].parameters())))
""")
    here, there, both = map(float, peaks.split())
    assert 1 < here < 1.2 and 2 < there < 2.2 and 2 < both < 2.2


SELFTEST = """
from planted_device import DEVICE
from regcheck.selftest.dropout_layers import LAYERS
from regcheck.selftest.norm_checks import NORMS
from regcheck.selftest.results import CheckStatus
from regcheck.selftest.optimizer_checks import METHODS
from regcheck.selftest.checks import selftest

before = DEVICE.module.get_rng_state()
result = selftest((NAME,), ("eager",), layers=LAYERS{layers}, batch_norms=NORMS[:1], methods=METHODS{methods})
assert torch.equal(before, DEVICE.module.get_rng_state())
missed = {{(each.check, each.because.partition(":")[0]) for each in result.of(CheckStatus.NOT_RUN)}}
assert missed == {{("gradient", "RuntimeError"), ("the rest", "RuntimeError")}}, missed
print(*(each.check for each in result.of(CheckStatus.FAILS)), sep=",")
"""


@pytest.mark.parametrize("how", ["", "habit='in short'", "widest=torch.float32"])
def test_the_selftest_passes_on_an_honest_device(how: str) -> None:
    """Masks and steps hold, also in few digits; what needs a backward pass is not run, and its stream is put back."""
    assert not aside(SELFTEST.format(layers="", methods=""), how).strip()


def test_the_selftest_catches_a_device() -> None:
    """A device that drops half as much as it should fails the rate, and only that."""
    assert aside(SELFTEST.format(layers="[:1]", methods="[:1]"), "'drops half as much'").strip() == "rate"


def test_decay_is_not_measured_without_float64() -> None:
    """Where a device has none the optimizer's proof is that of the CPU, and the reason stands beside it."""
    because = aside(
        """
from regcheck import audit

model = nn.Linear(8, 8)
optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
report = audit(model, torch.randn(4, 8), optimizer=optimizer, options={"select": ["REG301"]})
(found,) = report.findings
print(found.evidence.verdict.value, found.evidence.device, found.evidence.because)
""",
        "widest=torch.float32",
    )
    assert because.startswith("confirmed cpu ") and "on planted: not measured: planted has no float64" in because
