"""REG203 fails noise in hidden values, and advises on draws whose forward shows that they are meant."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from regcheck import audit
from regcheck.core.finding import Severity
from regcheck.engine.scan import scan

PROGRAM = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(8, 16)
        self.join = nn.Linear(24, 16)
        self.noise = nn.Linear(8, 16)
        self.core = nn.Linear(16, 16)
        self.memory = nn.GRU(16, 16, batch_first=True)
        self.mean, self.spread = nn.Linear(16, 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, 8)

    def forward(self, x):
        {body}


model = Net()
inputs = (torch.randn(12, 8),)
"""

FAULTY = {
    "added": "h = self.enter(x).relu()\nreturn self.out(h + 0.1 * torch.randn_like(h))",
    "added_in_fresh_shape": "h = self.enter(x).relu()\nreturn self.out(h + torch.randn(h.shape) * 0.1)",
    "multiplied": "h = self.enter(x).relu()\nreturn self.out(h * (1 + 0.2 * torch.randn_like(h)))",
    "masked": "h = self.enter(x).relu()\nreturn self.out(h * (torch.rand_like(h) > 0.2) / 0.8)",
    "on_the_input": "return self.out(self.enter(x + 0.1 * torch.randn_like(x)).relu())",
    "on_the_output": "y = self.out(self.enter(x))\nreturn y + 0.1 * torch.randn_like(y)",
    "first_state": (
        "h = self.enter(x)[:, None]\nh, _ = self.memory(h, torch.randn(1, len(x), 16))\nreturn self.out(h[:, 0])"
    ),
    "layer_over_noise_like_hidden": "h = self.enter(x)\nreturn self.out(h + self.core(torch.randn_like(h)))",
    "loss_beside_prediction": (
        "h = self.enter(x)\nh = h + 0.1 * torch.randn_like(h)\ny = self.out(h)\nreturn F.mse_loss(y, x), y"
    ),
    "mean_over_features": "h = self.enter(x)\nh = h + 0.1 * torch.randn_like(h)\nreturn self.out(h).mean(1)",
}
MEANT = {
    "vocoder": "z = torch.randn(x.size(0), 8)\nreturn self.out(self.noise(z) + self.enter(x))",
    "conditional_generator": "z = torch.randn(len(x), 16)\nreturn self.out(self.join(torch.cat([x, z], 1)).relu())",
    "scaled_start": "z = 0.7 * torch.randn(len(x), 8)\nreturn self.out(self.noise(z) * self.enter(x))",
    "uniform_start": "z = torch.empty(len(x), 8).uniform_(-1, 1)\nreturn self.out(self.noise(z) + self.enter(x))",
    "sampler": (
        "y = torch.randn(x.shape)\nfor _ in range(3):\n"
        "    y = y - self.out(self.core(self.noise(y) + self.enter(x)).relu())\n"
        "    y = y + 0.1 * torch.randn_like(y)\nreturn y"
    ),
    "start_like_the_input": "z = torch.randn_like(x)\nreturn self.out(self.noise(z) + self.enter(x))",
    "noise_to_predict": (
        "noise = torch.randn_like(x)\ny = self.out(self.enter(0.8 * x + 0.6 * noise).relu())\n"
        "return F.mse_loss(y, noise)"
    ),
    "loss_by_hand": (
        "noise = torch.randn_like(x)\ny = self.out(self.enter(0.8 * x + 0.6 * noise).relu())\n"
        "return ((y - noise) ** 2).mean()"
    ),
    "pretraining_mask": (
        "hidden = torch.rand_like(x) < 0.5\ny = self.out(self.enter(x.masked_fill(hidden, 0.0)).relu())\n"
        "return ((y - x).abs() * hidden).sum() / hidden.sum()"
    ),
    "mask_returned": (
        "hidden = torch.rand_like(x) < 0.5\ny = self.out(self.enter(x.masked_fill(hidden, 0.0)).relu())\n"
        "return y, hidden"
    ),
    "posterior_in_a_loss": (
        "h = self.enter(x).relu()\nmean, spread = self.mean(h), F.softplus(self.spread(h))\n"
        "z = mean + spread * torch.randn_like(mean)\n"
        "return F.mse_loss(self.out(z), x) + (mean ** 2 + spread ** 2 - spread.log()).mean()"
    ),
}


def written(folder: Path, variants: dict[str, str]) -> None:
    for name, body in variants.items():
        (folder / f"{name}.py").write_text(PROGRAM.format(body=body.replace("\n", "\n        ")))


def severities(path: Path) -> dict[str, set[Severity]]:
    """The severities that a scan gives, by the name of the file."""
    report = scan([path], options={"select": ["REG203"], "fail_on": "info"})
    found: dict[str, set[Severity]] = {}
    for each in report.findings:
        found.setdefault(Path(each.path or "").stem, set()).add(each.severity)
    return found


def measured(path: Path) -> set[Severity]:
    spec = spec_from_file_location(f"noise_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        torch.manual_seed(0)
        spec.loader.exec_module(module)
        report = audit(module.model, *module.inputs, options={"select": ["REG203"], "devices": ["cpu"]})
        return {each.severity for each in report.findings}
    finally:
        del sys.modules[spec.name]


def test_a_scan_warns_of_noise_and_advises_on_what_is_meant(tmp_path: Path) -> None:
    """Noise in hidden values is a warning from source; starts, losses and returned draws are advice."""
    written(tmp_path, FAULTY | MEANT)
    expected = {name: {Severity.WARNING if name in FAULTY else Severity.INFO} for name in FAULTY | MEANT}
    assert severities(tmp_path) == expected


@pytest.mark.parametrize("name", [*FAULTY, *MEANT])
def test_a_measurement_fails_noise_alone(name: str, tmp_path: Path) -> None:
    """Measured, noise in hidden values is an error; starts, losses and returned draws are advice."""
    written(tmp_path, FAULTY | MEANT)
    assert measured(tmp_path / f"{name}.py") == {Severity.ERROR if name in FAULTY else Severity.INFO}
