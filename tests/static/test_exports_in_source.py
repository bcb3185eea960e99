"""Exports of models, as a scan sees them: `torch.jit.trace`, `torch.export.export` and `torch.onnx.export`."""

from __future__ import annotations

from pathlib import Path

from tests.faulty_and_right import found_and_marked

HEADER = """\
import torch
import torch.nn.functional as F
from torch import nn


class Quake(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 16)
        self.d = nn.Dropout(0.2)
        self.b = nn.Linear(16, 2)

    def forward(self, x):
        return self.b(self.d(torch.relu(self.a(x))))


def fit(model, batches):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


"""

PROGRAMS = {
    "a script that loads weights": """\
net = Quake()
net.load_state_dict(torch.load("quake.pt"))
#net.eval()
torch.jit.trace(net, torch.randn(1, 8)).save("quake.ts")  # <-
""",
    "after training": """\
def main(batches):
    net = Quake()
    net.train()
    fit(net, batches)
#    net.eval()
    program = torch.export.export(net, (torch.randn(1, 8),))  # <-
    torch.export.save(program, "quake.pt2")
""",
    "a class with a method that exports": """\
class Publisher:
    def __init__(self, path):
        self.net = Quake()
        self.net.load_state_dict(torch.load(path))

    def publish(self):
        with torch.no_grad():
&            return torch.jit.trace(self.net, torch.randn(1, 8))  # <-
#            return torch.jit.trace(self.net.eval(), torch.randn(1, 8))


Publisher("quake.pt").publish()
""",
    "to ONNX by tracing, in the model's own mode": """\
def main():
    net = Quake()
    kept = torch.onnx.TrainingMode.PRESERVE
    bn = nn.Sequential(net, nn.BatchNorm1d(2), nn.Linear(2, 2))
#    bn.eval()
    torch.onnx.export(bn, torch.randn(4, 8), "quake.onnx", training=kept, dynamo=False)  # <-


main()
""",
}

SOUND = {
    "trained on after the export": """\
def main(batches):
    net = Quake()
    torch.export.export(net, (torch.randn(1, 8),))
    fit(net, batches)
""",
    "train mode was asked for": """\
def main(batches):
    net = Quake()
    fit(net, batches)
    net.train()
    return torch.jit.trace(net, torch.randn(1, 8))
""",
    "to ONNX by tracing, which exports in eval mode": """\
def main(batches):
    net = Quake()
    fit(net, batches)
    torch.onnx.export(net, torch.randn(1, 8), "quake.onnx", dynamo=False)
""",
    "to ONNX, where runtimes remove dropouts": """\
def main(batches):
    net = Quake()
    fit(net, batches)
    torch.onnx.export(net, torch.randn(1, 8), "quake.onnx")
""",
    "a script of the model, which keeps the mode as a switch": """\
def main(batches):
    net = Quake()
    fit(net, batches)
    torch.jit.script(net).save("quake.ts")
""",
}


def test_exports_in_train_mode_are_reported(tmp_path: Path) -> None:
    """An export is reported where train mode is written down for ever, and nowhere else."""
    found, expected = found_and_marked(tmp_path, "REG201", HEADER, PROGRAMS, SOUND)
    assert found == expected
