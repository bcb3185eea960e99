"""REG203 in source: forwards that draw numbers from the streams of Python and NumPy, and right twins of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity
from regcheck.core.report import Report
from regcheck.engine.scan import scan

from .faulty_and_right import marked, marked_form

IMPORTS = """\
import argparse
import os
import random
from random import gauss
import numpy as np
import torch
from torch import nn
"""

VALUES = {
    "added in a script": """
class Tide(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 1)
    def forward(self, x):
        h = torch.relu(self.inner(x))
        #if self.training:
        #    h = h + torch.from_numpy(np.random.randn(*h.shape)).float().to(h.device)
        &h = h + torch.from_numpy(np.random.randn(*h.shape)).float().to(h.device)  # <-
        return self.outer(h)
model = Tide()
model.eval()
print(model(torch.randn(4, 8)))
""",
    "a gain from a helper": """
def gain(low, high):
    return random.uniform(low, high)  # <-
class Whistle(nn.Module):
    def __init__(self, spread):
        super().__init__()
        self.spread = spread
        self.inner, self.outer = nn.Conv1d(1, 8, 3), nn.Linear(8, 4)
    def forward(self, x):
        h = self.inner(x)
        &h = h * gain(1 - self.spread, 1 + self.spread)
        #h = h * gain(0.9, 1.1) if self.training else h
        return self.outer(h.mean(2))
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--spread", type=float, default=0.1)
    Whistle(parser.parse_args().spread)
""",
    "a closure that blurs": """
def blur(level):
    def add(h):
        return h + level * torch.as_tensor(np.random.standard_normal(h.shape), dtype=h.dtype)  # <-
    return add
class Soil(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.blur = nn.Linear(8, 16), nn.Linear(16, 3), blur(0.2)
    def forward(self, x):
        h = self.body(x)
        &h = self.blur(h)
        #if self.training: h = self.blur(h)
        return self.head(h)
""",
    "a spread of zero in eval mode": """
class Wind(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        &spread = 0.1 if not self.training else 0.2
        #spread = 0.1 if self.training else 0.0
        h = self.body(x) + np.random.normal(0.0, spread)  # <-
        return self.head(h)
""",
    "a trainer of a class": """
class Wells(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        h = self.body(x)
        &shift = torch.tensor([gauss(0, 1) for _ in range(16)])  # <-
        #shift = torch.tensor([gauss(0, 1) for _ in range(16)]) * self.training
        return self.head(h + shift)
class Trainer:
    def __init__(self, model):
        self.model, self.optimizer = model, torch.optim.SGD(model.parameters(), 0.1)
    def fit(self, batches):
        for x, y in batches:
            nn.functional.cross_entropy(self.model(x), y).backward()
            self.optimizer.step()
Trainer(Wells())
""",
    "a mask in place": """
class Bees(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def drop(self, h):
        kept = np.random.rand(*h.shape) > 0.3  # <-
        return h * torch.tensor(kept.astype(np.float32)) / 0.7
    def forward(self, x):
        &return self.head(self.drop(self.body(x)))
        #return self.head(self.drop(self.body(x)) if self.training else self.body(x))
""",
    "seeded by the forward": """
class Rain(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        #np.random.seed(3)
        noise = torch.full((1,), float(np.random.uniform(-1.0, 1.0)))  # <-
        return self.head(self.body(x) + noise)
""",
    "a level that is chosen": """
class Gull(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        h = self.body(x)
        &return self.head(h * float(np.random.choice([0.8, 1.0, 1.2])))  # <-
        #return self.head(h * float(np.random.choice([0.8, 1.0, 1.2]) if self.training else 1.0))
""",
    "whole numbers of a new generator": """
class Heron(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def shift(self, h):
        &return torch.from_numpy(np.random.default_rng().integers(0, 3, size=h.shape)).float()  # <-
        #return torch.from_numpy(np.random.default_rng(3).integers(0, 3, size=h.shape)).float()
    def forward(self, x):
        h = self.body(x)
        return self.head(h + self.shift(h))
""",
    "a generator of the module": """
class Stork(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        self.body, self.head, self.rng = nn.Linear(8, 16), nn.Linear(16, 3), np.random.RandomState(seed)
    def forward(self, x):
        h = torch.relu(self.body(x))
        &noise = self.rng.randn(16)  # <-
        #noise = self.rng.randn(16) if self.training else np.zeros(16)
        return self.head(h + torch.as_tensor(noise, dtype=h.dtype))
if __name__ == "__main__":
    Stork()(torch.randn(2, 8))
""",
    "an order of features": """
class Crane(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
        #self.order = random.sample(range(16), 16)
    def forward(self, x):
        h = self.body(x)
        &order = random.sample(range(16), 16)  # <-
        #order = self.order
        return self.head(h[:, order])
""",
    "a closure over a generator of Python": """
def rattle(seed):
    stream = random.Random(seed)
    &return lambda h: h * stream.uniform(0.9, 1.1)  # <-
    #return lambda h: h * stream.uniform(1.0, 1.0)
class Swift(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.rattle = nn.Linear(8, 16), nn.Linear(16, 3), rattle(5)
    def forward(self, x):
        return self.head(self.rattle(self.body(x)))
""",
    "bytes of the operating system": """
class Rook(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        &gain = os.urandom(1)[0] / 255  # <-
        #gain = os.urandom(1)[0] / 255 if self.training else 0.5
        return self.head(self.body(x) * gain)
""",
}

BRANCHES = {
    "one of several names": """
class Finch(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 3)
    def forward(self, x):
        h = self.body(x)
        &kind = random.choice(["tanh", "relu"])  # <-
        #kind = "tanh"
        if kind == "tanh":
            return self.head(h.tanh())
        return self.head(h.relu())
""",
    "a layer that is skipped": """
class Moss(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.more, self.outer = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 1)
    def forward(self, x):
        h = self.inner(x)
        &if random.random() < 0.2:  # <-
        #if self.training and random.random() < 0.2:
            h = h + self.more(h)
        return self.outer(h)
""",
    "an early return": """
class Block(nn.Module):
    def __init__(self, p=0.2):
        super().__init__()
        self.p, self.inner = p, nn.Linear(8, 8)
    def forward(self, x):
        #if not self.training: return x + self.inner(x)
        if np.random.rand() > self.p:  # <-
            return x + self.inner(x)
        return x
class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
""",
    "a conditional expression over torch's numbers": """
class Fern(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 1)
    def forward(self, x):
        h = self.inner(x)
        &draw = torch.rand(1).item()  # <-
        #draw = torch.rand(1).item() if self.training else 1.0
        return self.outer(h if draw > 0.5 else 2 * h)
""",
    "a branch that only prints": """
class Elm(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 1)
    def forward(self, x):
        h = self.inner(x)
        if random.random() < 0.01:  # <-
            print(h.mean())
            &h = h.relu()
        return self.outer(h)
""",
}

RIGHT = """
class Samples(torch.utils.data.Dataset):
    def __getitem__(self, index):
        x = torch.randn(8) * random.uniform(0.9, 1.1)
        return x + torch.from_numpy(np.random.randn(8)).float() if random.random() < 0.5 else x
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        random.seed(3)
        self.scale = random.uniform(0.5, 1.5)
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)
        self.register_buffer("shift", torch.from_numpy(np.random.randn(16)).float())
        if random.random() < 0.5:
            nn.init.zeros_(self.inner.bias)
    def forward(self, x):
        seen = np.random.rand()
        layer = random.choice([self.inner])
        size = torch.zeros(int(8 * random.random()))
        return self.outer(self.inner(x) * self.scale + self.shift)
class Turned(nn.Module):
    def forward(self, x):
        return x * random.uniform(0.9, 1.1)
class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    def forward(self, count):
        return self.body(torch.from_numpy(np.random.standard_normal((4, 16))).float())  # <-
for x in torch.utils.data.DataLoader(Samples()):
    Net()(x * random.uniform(0.9, 1.1))
"""

FORMS = [(name, faulty) for name in (*VALUES, *BRANCHES) for faulty in (True, False)]


def form(name: str, faulty: bool) -> str:
    source = VALUES[name] if name in VALUES else BRANCHES[name]
    return IMPORTS + marked_form(source, faulty) + "\n"


@pytest.fixture(name="report", scope="module")
def report_of(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One scan of all forms, each in a file of its own."""
    folder = tmp_path_factory.mktemp("numbers")
    for index, each in enumerate(FORMS):
        (folder / f"form_{index}.py").write_text(form(*each))
    (folder / "right.py").write_text(IMPORTS + RIGHT)
    return scan([folder], {"select": ["REG203"]})


@pytest.mark.parametrize(("name", "faulty"), FORMS)
def test_a_draw_that_reaches_an_output_is_found(name: str, faulty: bool, report: Report) -> None:
    """A draw in the values is a finding, one that decides a branch is not checked, and a gated one is neither."""
    file = f"form_{FORMS.index((name, faulty))}.py"
    found = {each.line for each in report.findings if Path(each.path or "").name == file}
    open_lines = {each.line for each in report.not_checked if Path(each.path or "").name == file}
    lines = marked(form(name, faulty)) if faulty else set()
    assert (found, open_lines) == ((lines, set()) if name in VALUES else (set(), lines))


def test_draws_outside_of_predictions_are_right(report: Report) -> None:
    """Data, augmentations, initializations and draws that nothing reads are silent; noise to start from is advice."""
    entries = [each for each in (*report.findings, *report.not_checked) if Path(each.path or "").name == "right.py"]
    assert {(getattr(each, "severity", None), each.line) for each in entries} == {
        (Severity.INFO, line) for line in marked(IMPORTS + RIGHT)
    }
