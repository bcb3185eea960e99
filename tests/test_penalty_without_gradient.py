"""REG305: programs whose penalty is a mere number, the same programs with a gradient, and look-alikes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from regcheck.core.finding import Verdict
from regcheck.engine import source_events
from regcheck.session.block import watch

from .faulty_and_right import marked as marked_lines
from .faulty_and_right import scanned_lines

PRELUDE = """\
import argparse
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
batches = [(torch.randn(8, 6), torch.randint(3, (8,))) for _ in range(2)]


class Tags(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        return self.head(torch.relu(self.embed(x)))


def update(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


net = Tags()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
"""

TWINS = {
    "in a script": (
        """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    loss = loss + 1e-3 * sum(torch.norm(SLOT, 1) for p in net.parameters())  # <-
    update(optimizer, loss)
""",
        "p.data",
        "p",
    ),
    "gathered in a loop over names": (
        """
for x, y in batches:
    optimizer.zero_grad()
    penalty = torch.tensor(0.0)
    for name, p in net.named_parameters():
        if "bias" not in name:
            penalty += SLOT.pow(2).sum()
    loss = F.cross_entropy(net(x), y)
    loss += 1e-2 * penalty  # <-
    loss.backward()
    optimizer.step()
""",
        "p.detach()",
        "p",
    ),
    "in a trainer": (
        """
class Trainer:
    def __init__(self, model, strength=1e-3):
        self.model, self.strength = model, strength
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.criterion = nn.CrossEntropyLoss()

    def penalty(self):
        total = 0.0
        for p in self.model.parameters():
            total = total + p.abs().sum()SLOT
        return self.strength * total

    def step(self, x, y):
        self.optimizer.zero_grad()
        data = self.criterion(self.model(x), y)
        loss = data + self.penalty()  # <-
        loss.backward()
        self.optimizer.step()
        return loss.item()

trainer = Trainer(net)
for x, y in batches:
    trainer.step(x, y)
""",
        ".item()",
        "",
    ),
    "by a decorated function": (
        """
SLOT
def ridge(model):
    return sum((p ** 2).sum() for p in model.parameters())

def train(model, optimizer, strength):
    for x, y in batches:
        loss = F.cross_entropy(model(x), y) + strength * ridge(model)  # <-
        update(optimizer, loss)

train(net, optimizer, 1e-3)
""",
        "@torch.no_grad()",
        "",
    ),
    "in a closure": (
        """
def with_lasso(model, strength):
    def criterion(logits, y):
        SLOT
            size = torch.cat([p.view(-1) for p in model.parameters()]).abs().mean()
        return F.cross_entropy(logits, y) + strength * size  # <-
    return criterion

criterion = with_lasso(net, 0.1)
for x, y in batches:
    update(optimizer, criterion(net(x), y))
""",
        "with torch.no_grad():",
        "if model.training:",
    ),
    "with options": (
        """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--l1", type=float, default=1e-4)
    args = parser.parse_args([])
    model = Tags()
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for epoch in range(2):
        warmth = min(1.0, (epoch + 1) / 2)
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            if args.l1 > 0:
                lasso = SLOT(sum(p.abs().sum() for p in model.parameters()))
                loss = loss + args.l1 * warmth * lasso  # <-
            update(adam, loss / 2)

main()
""",
        "float",
        "",
    ),
    "in numpy": (
        """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    penalty = 0
    for p in net.parameters():
        penalty += SLOT
    update(optimizer, loss + 0.01 * penalty)  # <-
""",
        "np.abs(p.detach().cpu().numpy()).sum()",
        "p.abs().sum()",
    ),
    "copied into a new tensor": (
        """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    norms = [p.norm(2) for p in net.parameters()]
    loss = loss + 1e-2 * torch.SLOT(norms).sum()  # <-
    update(optimizer, loss)
""",
        "tensor",
        "stack",
    ),
    "copied into a leaf of its own": (
        """
for x, y in batches:
    size = sum(p.pow(2).sum() for p in net.parameters())
    size = SLOT
    total = F.cross_entropy(net(x), y) + 0.5 * size  # <-
    update(optimizer, total)
""",
        "torch.tensor(float(size), requires_grad=True)",
        "size",
    ),
    "of one layer": (
        """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    sparsity = net.embed.weightSLOT.abs().sum()
    loss = loss + 1e-3 * sparsity  # <-
    update(optimizer, loss)
""",
        ".data",
        "",
    ),
    "of layers of one kind": (
        """
def decay_of(model):
    total = 0.0
    for module in model.modules():
        if isinstance(module, nn.Linear):
            total = total + SLOT
    return total

for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    loss = loss + 1e-3 * decay_of(net)  # <-
    update(optimizer, loss)
""",
        "module.weight.detach().square().sum()",
        "module.weight.square().sum()",
    ),
    "under a scaler": (
        """
scaler = torch.amp.GradScaler("cpu", enabled=False)
for x, y in batches:
    optimizer.zero_grad()
    loss = F.cross_entropy(net(x), y)
    reg = math.sqrt(sum((p ** 2).sum().item() for p in net.parameters())) if SLOT else net.head.weight.norm()
    loss = loss + 0.01 * reg  # <-
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
""",
        "True",
        "False",
    ),
    "beside an L2 term with a gradient": (
        """
lasso = lambda model: sum(torch.sum(torch.abs(pSLOT)) for p in model.parameters() if p.requires_grad)
for x, y in batches:
    loss = F.cross_entropy(net(x), y) + 1e-3 * sum(p.pow(2).sum() for p in net.parameters())
    loss = loss + 1e-3 * lasso(net)  # <-
    update(optimizer, loss)
""",
        ".detach()",
        "",
    ),
    "at the vector of all weights": (
        """
for x, y in batches:
    w = nn.utils.parameters_to_vector(net.parameters())SLOT
    loss = F.cross_entropy(net(x), y) + 1e-3 * w.norm(p=1) / w.numel()  # <-
    update(optimizer, loss)
""",
        ".detach()",
        "",
    ),
    "gathered where parameters need gradients": (
        """
def size_of(model):
    total = torch.zeros(1)
    for p in model.parameters():
        if p.requires_grad:
            total = total + torch.norm(pSLOT)
    return total

for x, y in batches:
    loss = (F.cross_entropy(net(x), y) + 0.01 * size_of(net)).mean()  # <-
    update(optimizer, loss)
""",
        ".data",
        "",
    ),
}

SOUND = {
    "only printed": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    size = sum(p.data.norm() for p in net.parameters())
    update(optimizer, loss)
    print(loss + size, loss.item() + 1e-3 * size.item())
""",
    "shown in the total": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    penalty = 1e-3 * sum(p.abs().sum() for p in net.parameters())
    update(optimizer, loss + penalty)
    total = loss.detach() + penalty.detach()
    losses = {"total": loss + penalty.item()}
""",
    "a pull to the starting weights": """
start = [p.detach().clone() for p in net.parameters()]
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    loss = loss + 0.1 * sum((p - q.detach()).pow(2).sum() for p, q in zip(net.parameters(), start))
    update(optimizer, loss)
""",
    "importance from the weights": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    loss = loss + 0.1 * sum((p.abs() / (p.detach().abs() + 1e-3)).sum() for p in net.parameters())
    update(optimizer, loss)
""",
    "straight through": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    loss = loss + sum((p + (p.sign() - p).detach()).pow(2).sum() for p in net.parameters())
    update(optimizer, loss)
""",
    "a teacher": """
teacher = Tags().requires_grad_(False)
for x, y in batches:
    with torch.no_grad():
        target = teacher(x).softmax(1)
    loss = F.cross_entropy(net(x), target) + 1e-3 * sum(p.data.norm() for p in teacher.parameters())
    update(optimizer, loss)
""",
    "close to a teacher's weights": """
teacher = Tags()
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    pairs = zip(net.parameters(), teacher.parameters())
    loss = loss + 1e-3 * sum(F.mse_loss(p, t.detach()) + (p - t.data).abs().sum() for p, t in pairs)
    update(optimizer, loss)
""",
    "a coefficient without a gradient": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    penalty = sum(p.abs().sum() for p in net.parameters())
    strength = loss.detach() / penalty.detach()
    loss = loss + 0.01 * strength * penalty
    update(optimizer, loss)
""",
    "a loss that is divided by a norm": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    scale = sum(p.detach().norm() for p in net.parameters())
    update(optimizer, loss / scale + 0 * scale)
""",
    "a value without its gradient's twin": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    penalty = sum(p.abs().sum() for p in net.parameters())
    loss = loss + (penalty - penalty.detach())
    update(optimizer, loss)
""",
    "never back-propagated": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    update(optimizer, loss)
    loss = loss + sum(p.data.norm() for p in net.parameters())
    print(loss.item())
with torch.no_grad():
    total = F.cross_entropy(net(x), y) + sum(p.norm() for p in net.parameters())
""",
    "a constant": """
for x, y in batches:
    loss = 0
    for each in (F.cross_entropy(net(x), y), torch.tensor(0.5)):
        loss = loss + each
    update(optimizer, loss + 1e-8)
""",
    "stopped by the size of the weights": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    if sum(p.data.abs().sum() for p in net.parameters()) > 1e6:
        break
    penalty = sum(p.norm() for p in net.parameters())
    penalty = torch.clamp(penalty, max=penalty.item() + 1)
    update(optimizer, loss + penalty)
""",
    "a penalty on activations": """
for x, y in batches:
    hidden = net.embed(x)
    loss = F.cross_entropy(net.head(hidden), y) + 1e-3 * hidden.abs().mean() + 1e-3 * hidden.detach().norm()
    update(optimizer, loss)
""",
    "a step of its own": """
for x, y in batches:
    loss = F.cross_entropy(net(x), y)
    update(optimizer, loss)
    with torch.no_grad():
        for p in net.parameters():
            p.data -= 1e-3 * p.data.sign()
            p.mul_(1 - 1e-3)
""",
}

PROGRAMS = {
    **{f"{name}, faulty": body.replace("SLOT", faulty) for name, (body, faulty, _) in TWINS.items()},
    **{name: body.replace("SLOT", sound).replace("  # <-", "") for name, (body, _, sound) in TWINS.items()},
    **SOUND,
}


def path_of(name: str, folder: Path) -> Path:
    return folder / f"program_{[*PROGRAMS].index(name)}.py"


def marked(name: str) -> list[int]:
    return sorted(marked_lines(PRELUDE + PROGRAMS[name]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    for name, body in PROGRAMS.items():
        path_of(name, folder).write_text(PRELUDE + body)
    return folder


@pytest.fixture(scope="module")
def scanned(folder: Path) -> dict[str, list[int]]:
    """The lines of the findings of one scan of all programs."""
    return scanned_lines([folder], "REG305")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_scan_reports_penalties_that_are_numbers(name: str, folder: Path, scanned: dict[str, list[int]]) -> None:
    """A scan reports each line that adds a penalty without a gradient to a back-propagated loss, and no other."""
    assert scanned.get(path_of(name, folder).name, []) == marked(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_run_confirms_penalties_that_are_numbers(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run reports the same lines, and each finding is confirmed by the graph of the loss."""
    monkeypatch.chdir(folder)
    path = path_of(name, folder)
    with warnings.catch_warnings(), watch({"select": ["REG305"], "devices": ["cpu"]}) as watched:
        warnings.filterwarnings("ignore", "Converting a tensor with requires_grad")  # of the program's own `float()`
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__", "__file__": str(path)})
    found = [(each.line, each.evidence.verdict) for each in watched.report.findings]
    assert found == [(line, Verdict.CONFIRMED) for line in marked(name)]


def test_only_a_file_with_a_backward_pass_is_read_for_penalties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test whose library sends gradients back costs no analysis of its project."""
    read = list[str]()

    def analyzed(path: str, content: bytes, start: object) -> tuple[()]:
        read.append(path)
        return ()

    monkeypatch.setattr(source_events, "_programs_in", analyzed)
    checks, trains = tmp_path / "test_gradients.py", tmp_path / "test_training.py"
    checks.write_text("import torch\n\n\ndef test_gradients():\n    assert torch.autograd.gradcheck(net, x)\n")
    trains.write_text("def test_training():\n    loss(net(x)).backward()\n")
    for each in (checks, trains):
        assert source_events._penalties_in(str(each)) == {}
    assert read == [str(trains)]
