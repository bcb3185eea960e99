"""REG306: limits that programs apply once before training, and the same limits applied after each step."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from regcheck.core.finding import Verdict
from regcheck.engine.scan import scan
from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

from .faulty_and_right import marked, marked_form

PRELUDE = """\
import argparse
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x):
        return self.outer(torch.relu(self.inner(x)))


"""

PROGRAMS = {
    "a function around the loop": """
@torch.no_grad()
def keep_small(net, most=3.0):
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.renorm_(p=2, dim=0, maxnorm=most)  # <-

def fit(batches):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    &keep_small(net)
    for x, y in batches:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        #keep_small(net)

fit([(torch.randn(8, 16), torch.randint(4, (8,)))])
""",
    "a script with epochs": """
net = Net()
optimizer = torch.optim.Adam(net.parameters())
&for p in net.parameters():
    &p.data.clamp_(-0.1, 0.1)  # <-
for epoch in range(10):
    for step in range(100):
        optimizer.zero_grad()
        F.mse_loss(net(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
        optimizer.step()
    #for p in net.parameters():
        #p.data.clamp_(-0.1, 0.1)
""",
    "a class that trains": """
class Trainer:
    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

    def project(self):
        with torch.no_grad():
            weight = self.net.outer.weight
            weight.copy_(torch.renorm(weight, 2, 0, 1.0))  # <-

    def fit(self, epochs):
        &self.project()
        for _ in range(epochs):
            self.optimizer.zero_grad()
            F.mse_loss(self.net(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
            self.optimizer.step()
            #self.project()

Trainer().fit(5)
""",
    "a main function with arguments": """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clip", type=float, default=0.01)
    args = parser.parse_args()
    net = Net()
    optimizer = torch.optim.RMSprop(net.parameters(), lr=1e-4)
    &net.inner.weight.data.clamp_(-args.clip, args.clip)  # <-
    while True:
        #net.inner.weight.data.clamp_(-args.clip, args.clip)
        optimizer.zero_grad()
        loss = net(torch.randn(8, 16)).mean()
        loss.backward()
        optimizer.step()
        if loss < 0:
            break

if __name__ == "__main__":
    main()
""",
    "a method of the model": """
class Bounded(Net):
    def limit(self):
        self.outer.weight.data = self.outer.weight.data.clamp(min=0)  # <-

model = Bounded()
&model.limit()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    optimizer.zero_grad()
    F.mse_loss(model(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
    #model.limit()
""",
    "a constructor": """
class Bounded(Net):
    def __init__(self, most=1.0):
        super().__init__()
        self.most = most
        &self.inner.weight.data.renorm_(2, 0, most)  # <-

    def forward(self, x):
        #self.inner.weight.data.renorm_(2, 0, self.most)
        return super().forward(x)

model = Bounded()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    optimizer.zero_grad()
    F.mse_loss(model(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
""",
    "scaling by hand": """
def max_norm(model, most=2.0, eps=1e-8):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "bias" not in name:
                norm = p.norm(2, dim=0, keepdim=True)
                p.mul_(torch.clamp(norm, 0, most) / (eps + norm))  # <-

def train_epoch(model, optimizer):
    for _ in range(20):
        optimizer.zero_grad()
        F.mse_loss(model(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
        optimizer.step()

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
&max_norm(model)
for epoch in range(3):
    train_epoch(model, optimizer)
    #max_norm(model)
""",
    "a function applied to each part": """
def non_negative(layer):
    if isinstance(layer, nn.Linear):
        layer.weight.data.clamp_(min=0.0)  # <-

def run():
    net = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    &net.apply(non_negative)
    for _ in range(50):
        optimizer.zero_grad()
        net(torch.randn(8, 16)).square().mean().backward()
        optimizer.step()
        #net.apply(non_negative)

run()
""",
    "a method of the model that nobody calls": """
class Bounded(Net):
    def limit_norms(self):  # <-
        with torch.no_grad():
            for layer in (self.inner, self.outer):
                layer.weight.renorm_(2, 0, 1.0)

model = Bounded()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    optimizer.zero_grad()
    F.mse_loss(model(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
    #model.limit_norms()
""",
    "a function that nobody calls": """
def max_norm_(net, most):  # <-
    with torch.no_grad():
        for p in net.parameters():
            p.renorm_(2, 0, most)

net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(20):
    optimizer.zero_grad()
    F.mse_loss(net(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
    #max_norm_(net, 2.0)
""",
    "an object that clips": """
class Clipper:
    def __init__(self, low=-1, high=1):
        self.low, self.high = low, high
    def __call__(self, layer):
        if hasattr(layer, "weight"):
            clipped = layer.weight.data.clamp(self.low, self.high)
            layer.weight.data = clipped  # <-

net = Net()
clip = Clipper()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
&net.apply(clip)
for _ in range(20):
    optimizer.zero_grad()
    F.mse_loss(net(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
    #net.apply(clip)
""",
    "a task of Lightning": """
import lightning.pytorch as pl

class Task(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()
    &def on_train_start(self):
    #def on_train_batch_end(self, outputs, batch, index):
        with torch.no_grad():
            self.net.outer.weight.clamp_(-1, 1)  # <-
    def training_step(self, batch, index):
        x, y = batch
        return F.cross_entropy(self.net(x), y)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
""",
    "a method of the trainer that nobody calls": """
class Trainer:
    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

    @torch.no_grad()
    def clip_weights(self):  # <-
        for p in self.net.parameters():
            p.clamp_(-0.1, 0.1)

    def fit(self, epochs):
        for _ in range(epochs):
            self.optimizer.zero_grad()
            F.mse_loss(self.net(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
            self.optimizer.step()
            #self.clip_weights()

Trainer().fit(5)
""",
    "a closure": """
def prepared(lr):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=lr)

    def limit():
        with torch.no_grad():
            net.outer.weight.clamp_(-1, 1)  # <-

    def step(x, y):
        optimizer.zero_grad()
        F.mse_loss(net(x), y).backward()
        optimizer.step()
        #limit()

    &limit()
    for _ in range(10):
        step(torch.randn(8, 16), torch.zeros(8, 4))

prepared(0.1)
""",
}

RIGHT = {
    "weights that are filled and clamped": """
net = Net()
for layer in (net.inner, net.outer):
    nn.init.normal_(layer.weight, std=0.02)
    layer.weight.data.clamp_(-0.04, 0.04)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    optimizer.step()
""",
    "unit vectors as start": """
class Arc(nn.Module):
    def __init__(self):
        super().__init__()
        self.proxies = nn.Linear(16, 4, bias=False)
        self.proxies.weight.data.uniform_(-1, 1).renorm_(2, 1, 1e-5).mul_(1e5)
    def forward(self, x):
        return self.proxies(x)
net = Arc()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    optimizer.step()
""",
    "a function of initialization": """
def init_weights(layer):
    if isinstance(layer, nn.Linear):
        layer.weight.data.clamp_(-0.1, 0.1)
net = Net()
net.apply(init_weights)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    optimizer.step()
""",
    "a hook of the optimizer": """
def limit(optimizer=None, args=None, kwargs=None):
    with torch.no_grad():
        net.outer.weight.clamp_(-1, 1)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
optimizer.register_step_post_hook(limit)
limit()
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    optimizer.step()
""",
    "a method that a table of names calls": """
class Bounded(Net):
    def limit_norms(self):
        self.outer.weight.data.renorm_(2, 0, 1.0)

model = Bounded()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(20):
    F.mse_loss(model(torch.randn(8, 16)), torch.zeros(8, 4)).backward()
    optimizer.step()
    for name in ("limit_norms",):
        getattr(model, name)()
""",
    "gradients that are clipped": """
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    for p in net.parameters():
        p.grad.data.clamp_(-1, 1)
    optimizer.step()
""",
    "a critic and its rival": """
critic, rival = Net(), nn.Sequential(nn.Linear(4, 16), nn.Tanh())
of_critic, of_rival = torch.optim.RMSprop(critic.parameters()), torch.optim.RMSprop(rival.parameters())
for _ in range(10):
    for p in critic.parameters():
        p.data.clamp_(-0.01, 0.01)
    of_critic.zero_grad()
    (critic(rival(torch.randn(8, 4)).detach()).mean() - critic(torch.randn(8, 16)).mean()).backward()
    of_critic.step()
    of_rival.zero_grad()
    (-critic(rival(torch.randn(8, 4))).mean()).backward()
    of_rival.step()
""",
    "a model that is not trained": """
net = Net()
net.outer.weight.data.clamp_(-1, 1)
net.eval()
with torch.no_grad():
    print(net(torch.randn(8, 16)).argmax(1))
""",
    "a step for a loop elsewhere": """
class Learner:
    def __init__(self):
        self.net = Net()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
    def learn(self, x):
        self.net.outer.weight.data.clamp_(-1, 1)
        self.optimizer.zero_grad()
        self.net(x).mean().backward()
        self.optimizer.step()
""",
    "rounded once for a comparison": """
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
print(net.outer.weight.data.clamp(-1, 1).std())
for _ in range(3):
    net(torch.randn(8, 16)).mean().backward()
    optimizer.step()
""",
}
SOURCES = {
    **{f"{name} (faulty)": PRELUDE + marked_form(program, True) for name, program in PROGRAMS.items()},
    **{f"{name} (right)": PRELUDE + marked_form(program, False) for name, program in PROGRAMS.items()},
    **{name: PRELUDE + program for name, program in RIGHT.items()},
}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The reported lines of each program, of which each is scanned alone."""
    found: dict[str, set[int]] = {}
    for number, (name, source) in enumerate(SOURCES.items()):
        path = tmp_path_factory.mktemp("program") / f"program_{number}.py"
        path.write_text(source, encoding="utf-8")
        report = scan([path], {"select": ["REG306"]})
        assert not report.not_checked, name
        found[name] = {each.line or 0 for each in report.findings}
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_scan_reports_limits_without_effect(name: str, scanned: dict[str, set[int]]) -> None:
    """A scan reports the limits that are applied once before training, and no other."""
    assert scanned[name] == marked(SOURCES[name])


RUNS = {
    "a function applied to each part": Verdict.CONFIRMED,
    "a closure": Verdict.REFUTED,
    "scaling by hand": Verdict.UNMEASURED,
}
"""Programs whose weights leave the limit, stay within it, and never show it."""


@pytest.mark.parametrize("name", RUNS)
def test_a_run_measures_limits_without_effect(name: str, tmp_path: Path) -> None:
    """A run reports the line that a scan reports, with the verdict of the weights, and nothing of the right form."""
    for form in ("faulty", "right"):
        source = SOURCES[f"{name} ({form})"]
        path = tmp_path / f"{form}.py"
        path.write_text(source, encoding="utf-8")
        with torch.random.fork_rng(), EventRecorder(str(tmp_path)) as recorder:
            torch.manual_seed(0)
            runpy.run_path(str(path))
        report = Session({"select": ["REG306"]}).examine(recorder.drain()).ledger.report()
        found = {(each.line, each.evidence.verdict) for each in (*report.findings, *report.refuted)}
        assert found == {(line, RUNS[name]) for line in marked(source)}


def test_a_program_run_by_a_relative_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run finds the source of a program that a test runs by its name in the working directory."""
    source = SOURCES["a function applied to each part (faulty)"]
    (tmp_path / "program.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(), EventRecorder(str(tmp_path)) as recorder:
        torch.manual_seed(0)
        runpy.run_path("program.py")
    report = Session({"select": ["REG306"]}).examine(recorder.drain()).ledger.report()
    assert {each.line for each in report.findings} == marked(source)
