"""A penalty in the loss beside weight decay is told from source where it is sure; no other term is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = """
import copy
import sys
import torch
import torch.nn.functional as F
from torch import nn, optim
net, other = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), nn.Linear(4, 2)
x, y = torch.randn(8, 4), torch.randn(8, 2)
"""
DECAYED = HEADER + "optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-4)\n"
LOSS = "loss = F.mse_loss(net(x), y)\n"
STEP = "optimizer.zero_grad()\nloss.backward()\noptimizer.step()\n"


def added(penalty: str, before: str = DECAYED, mark: str = "", more: str = "") -> str:
    """A training step with a term added to the loss."""
    return f"{before}{LOSS}{more}loss = loss + {penalty}{mark}\n{STEP}"


SQUARES = "1e-4 * sum(p.pow(2).sum() for p in net.parameters())"
MARK = "  # <-"
REPORTED = {
    "power": added("1e-4 * sum((p ** 2).sum() for p in net.parameters())", mark=MARK),
    "product": added("sum((p * p).sum() for p in net.parameters()) / 2", mark=MARK),
    "norm": added("0.5 * sum(p.norm() for p in net.parameters())", mark=MARK),
    "norm of a name": added("0.5 * sum([torch.norm(p, p=2) for p in net.parameters()])", mark=MARK),
    "named and filtered": added(
        "1e-4 * sum(p.square().sum() for n, p in net.named_parameters() if 'bias' not in n)", mark=MARK
    ),
    "stacked": added(
        "torch.stack([torch.linalg.vector_norm(p) ** 2 for p in net.parameters()]).sum() * 1e-4", mark=MARK
    ),
    "gathered in a loop": added(
        "0.01 * l2",
        more="l2 = torch.tensor(0.0)\nfor p in net.parameters():\n    l2 = l2 + torch.norm(p, 2)\n",
        mark=MARK,
    ),
    "by a function": HEADER
    + "def l2(model):\n    return sum(p.pow(2.0).sum() for p in model.parameters())\n"
    + "def fit(model, decay=1e-2, strength=0.1):\n    optimizer = optim.AdamW(model.parameters(), weight_decay=decay)\n"
    + "    for _ in range(9):\n        loss = F.mse_loss(model(x), y) + strength * l2(model)  # <-\n"
    + "        (loss / 2).backward()\n        optimizer.step()\nfit(net)\n",
}


def looped(loop: str, mark: str = "") -> str:
    """A program whose loop sums up magnitudes in `reg`, which the loss takes in a statement of its own."""
    return DECAYED + LOSS + f"reg = torch.zeros(1)\n{loop}loss.add_(1e-4 * reg.squeeze()){mark}\n" + STEP


REPORTED |= {
    "weights by their name, in a loop": looped(
        "for name, p in net.named_parameters():\n    if 'weight' in name:\n        reg += p.pow(2).sum()\n", MARK
    ),
    "biases left out of a loop": looped(
        "for name, p in net.named_parameters():\n    if name.endswith('bias'):\n        continue\n"
        "    reg = reg + torch.norm(p) ** 2\n",
        MARK,
    ),
    "layers of a sequence": looped(
        "for layer in net:\n    if isinstance(layer, nn.Linear):\n        reg += layer.weight.square().sum()\n", MARK
    ),
}

ZEROS = "starts = [torch.zeros_like(p) for p in net.parameters()]\n"
TO_ZERO = "0.1 * sum((p - s).pow(2).sum() for p, s in zip(net.parameters(), starts))"
REPORTED |= {
    "the distance from zeros": added(TO_ZERO, more=ZEROS, mark=MARK),
    "the distance from zeros, in a loop": added(
        "0.1 * reg",
        more=f"reg = 0.0\n{ZEROS}for p, s in zip(net.parameters(), starts):\n    reg = reg + (p - s).pow(2).sum()\n",
        mark=MARK,
    ),
    "the distance from new zeros": added(
        "0.1 * sum(torch.norm(p - torch.zeros_like(p)) for p in net.parameters())", mark=MARK
    ),
}

TASK = """
import lightning as L
import torch
import torch.nn.functional as F
from torch import nn
class Tides(nn.Module):
    def __init__(self):
        super().__init__()
        self.rise = nn.Linear(4, 8)
        self.fall = nn.Linear(8, 2)
    def forward(self, x):
        return self.fall(torch.relu(self.rise(x)))
class Task(L.LightningModule):
    def __init__(self, strength=1e-4, decay=DECAY):
        super().__init__()
        self.net, self.strength, self.decay = Tides(), strength, decay
    def penalty(self):
        return PENALTY
    def training_step(self, batch, index):
        x, y = batch
        loss = F.mse_loss(self.net(x), y)
        self.log("loss", loss)
        return loss + self.strength * self.penalty()  # <-
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.OWNER.parameters(), lr=0.1, weight_decay=self.decay)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 3)]
"""


def task(penalty: str, owner: str = "net", decay: str = "1e-2") -> str:
    """A task that wraps its net, with a penalty in its loss."""
    text = TASK.replace("PENALTY", penalty).replace("self.OWNER", owner).replace("DECAY", decay)
    return text if decay != "0.0" else text.replace("  # <-", "")


LAYERS = "net[0].weight.pow(2).sum() + net[2].weight.pow(2).sum()"
REPORTED |= {
    "concatenated": added("1e-4 * torch.cat([p.view(-1) for p in net.parameters()]).pow(2).sum()", mark=MARK),
    "norm of all": added("1e-4 * torch.norm(torch.cat([p.flatten() for p in net.parameters()]))", mark=MARK),
    "vector": added("1e-4 * nn.utils.parameters_to_vector(net.parameters()).square().sum()", mark=MARK),
    "layer by layer": added(f"1e-4 * ({LAYERS})", mark=MARK),
    "layers in a list": added("1e-4 * sum(each.weight.norm() ** 2 for each in (net[0], net[2]))", mark=MARK),
    "layers of a kind": added(
        "1e-4 * sum(m.weight.pow(2).sum() for m in net.modules() if isinstance(m, nn.Linear))", mark=MARK
    ),
    "layers in a loop": added(
        "0.01 * l2",
        more="l2 = 0.0\nfor name, m in net.named_children():\n    if isinstance(m, nn.Linear):\n"
        "        l2 += (m.weight ** 2).sum()\n",
        mark=MARK,
    ),
    "of a task, its net decayed": task("sum(p.pow(2).sum() for p in self.parameters())", "self.net"),
    "of a net, its task decayed": task("sum(p.pow(2).sum() for p in self.net.parameters())", "self"),
    "of a task by layers": task("self.net.rise.weight.pow(2).sum() + self.net.fall.weight.pow(2).sum()", "self"),
    "of a task, concatenated": task("torch.cat([p.view(-1) for p in self.parameters()]).pow(2).sum()", "self"),
}

SILENT = {
    "the distance from the start": added(TO_ZERO, more="starts = [p.detach().clone() for p in net.parameters()]\n"),
    "the distance from ones": added(TO_ZERO, more=ZEROS.replace("zeros", "ones")),
    "zeros that a copy fills": added(
        TO_ZERO, more=f"{ZEROS}for s, p in zip(starts, net.parameters()):\n    s.copy_(p.detach())\n"
    ),
    "zeros that become an average": added(
        TO_ZERO, more=f"{ZEROS}for s, p in zip(starts, net.parameters()):\n    s += 0.1 * p.detach()\n"
    ),
    "zeros that are replaced by name": added(
        "0.1 * sum(((p - zeros[n]) ** 2).sum() for n, p in net.named_parameters())",
        more="zeros = {n: torch.zeros_like(p) for n, p in net.named_parameters()}\n"
        "for n, p in net.named_parameters():\n    zeros[n] = p.detach().clone()\n",
    ),
    "one of two layers, by its name": looped(
        "for name, p in net.named_parameters():\n    if '2.' in name:\n        reg += p.pow(2).sum()\n"
    ),
    "biases by their name": looped(
        "for name, p in net.named_parameters():\n    if 'bias' in name:\n        reg += p.pow(2).sum()\n"
    ),
    "layers that the sequence does not have": looped(
        "for layer in net:\n    if isinstance(layer, nn.Conv2d):\n        reg += layer.weight.square().sum()\n"
    ),
    "magnitudes by name": looped(
        "for name, p in net.named_parameters():\n    if 'weight' in name:\n        reg += p.abs().sum()\n"
    ),
    "one layer of several": added("1e-4 * net[2].weight.pow(2).sum()"),
    "layers of a kind that is not all": added(
        "1e-4 * sum(m.weight.pow(2).sum() for m in net.modules() if isinstance(m, nn.Conv2d))"
    ),
    "biases": added("1e-4 * (net[0].bias.pow(2).sum() + net[2].bias.pow(2).sum())"),
    "layers in an L1 term": added("1e-4 * (net[0].weight.abs().sum() + net[2].weight.abs().sum())"),
    "concatenated L1": added("1e-4 * torch.cat([p.view(-1) for p in net.parameters()]).abs().sum()"),
    "vector of another model": added("1e-4 * nn.utils.parameters_to_vector(other.parameters()).square().sum()"),
    "vector beside a constant": added("1e-4 * (nn.utils.parameters_to_vector(net.parameters()) - 1).square().sum()"),
    "layers beside a constant": added("(net[0].weight - 1).pow(2).sum() + (net[2].weight - 1).pow(2).sum()"),
    "rows of layers": added("sum(p.view(p.size(0), -1).norm(dim=1).sum() for p in net.parameters())"),
    "a task without decay": task("sum(p.pow(2).sum() for p in self.parameters())", "self", "0.0"),
    "a task without decay, by layers": task(
        "self.net.rise.weight.pow(2).sum() + self.net.fall.weight.pow(2).sum()", "self", "0.0"
    ),
    "no decay": added(SQUARES, HEADER + "optimizer = optim.SGD(net.parameters(), lr=0.1)\n"),
    "decay of the command line": added(
        SQUARES, HEADER + "optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=float(sys.argv[1]))\n"
    ),
    "decay of another model": added(
        SQUARES, HEADER + "optimizer = optim.SGD(other.parameters(), lr=0.1, weight_decay=0.1)\n"
    ),
    "decay of some": added(
        SQUARES,
        HEADER + "w = [p for p in net.parameters() if p.dim() > 1]\noptimizer = optim.SGD(w, 0.1, weight_decay=0.1)\n",
    ),
    "decay instead": HEADER
    + "l2 = len(sys.argv) > 1\n"
    + "optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-4) if not l2 else optim.SGD(net.parameters())\n"
    + LOSS
    + f"if l2:\n    loss = loss + {SQUARES}\n"
    + STEP,
    "penalty of another model": added("1e-4 * sum(p.pow(2).sum() for p in other.parameters())"),
    "strength zero": added("0.0 * sum(p.pow(2).sum() for p in net.parameters())"),
    "strength of the command line": added("float(sys.argv[1]) * sum(p.pow(2).sum() for p in net.parameters())"),
    "repulsion": added("-1e-4 * sum(p.pow(2).sum() for p in net.parameters())"),
    "elastic net": added("1e-4 * sum(p.abs().sum() for p in net.parameters())"),
    "elastic net by norm": added("1e-4 * sum(torch.norm(p, 1) for p in net.parameters())"),
    "penalty under a switch": DECAYED + LOSS + f"if len(sys.argv) > 1:\n    loss = loss + {SQUARES}\n" + STEP,
    "gradient penalty": added("sum(p.grad.norm() for p in net.parameters())"),
    "gradient penalty of a critic": added(
        "10 * ((g.norm(2, dim=1) - 1) ** 2).mean()",
        more="x.requires_grad_()\n(g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)\n",
    ),
    "sparse activations": added("1e-4 * net[0](x).pow(2).sum()"),
    "distance from the start": added(
        "sum((p - q).pow(2).sum() for p, q in zip(net.parameters(), start.parameters()))",
        more="start = copy.deepcopy(net)\n",
    ),
    "distance from the start, times importance": added(
        "sum((f * (p - q) ** 2).sum() for p, q, f in zip(net.parameters(), start, fisher))",
        more="start = [p.clone() for p in net.parameters()]\nfisher = torch.load('f.pt')\n",
    ),
    "orthogonality": added("sum((p @ p.t() - torch.eye(4)).pow(2).sum() for p in net.parameters())"),
    "orthogonality by norm": added("sum(torch.norm(p.t() @ p - torch.eye(4)) for p in net.parameters())"),
    "divergence": added("-0.5 * torch.sum(1 + v - m.pow(2) - v.exp())", more="m, v = net(x).chunk(2, -1)\n"),
    "a penalty that is constant": added("1e-4 * sum(p.data.pow(2).sum() for p in net.parameters())"),
    "a penalty that is detached": added("1e-4 * sum(p.pow(2).sum() for p in net.parameters()).detach()"),
    "a penalty that is logged": DECAYED + LOSS + f"print(loss + {SQUARES})\n" + STEP,
    "a penalty for the record": DECAYED + LOSS + f"with torch.no_grad():\n    total = loss + {SQUARES}\n" + STEP,
    "sums of weights": added("1e-4 * sum(p.sum() for p in net.parameters())"),
    "norms along an axis": added("sum(p.norm(2, 0).max() for p in net.parameters())"),
    "norms of rows": added("sum(p.norm(dim=0).sum() for p in net.parameters())"),
    "sharpness": DECAYED
    + LOSS
    + "loss.backward()\nscale = 0.05 / torch.norm(torch.stack([p.grad.norm() for p in net.parameters()]))\n"
    + "with torch.no_grad():\n    for p in net.parameters():\n        p.add_(p.grad * scale)\n"
    + "loss = F.mse_loss(net(x), y)\n"
    + STEP,
    "a model that is not known": "import torch\ndef step(net, x, loss):\n"
    "    optimizer = torch.optim.SGD(net.parameters(), 0.1, weight_decay=0.1)\n"
    "    loss = loss(net(x)) + sum(p.pow(2).sum() for p in net.parameters())\n    loss.backward()\n",
}


@pytest.mark.parametrize("source", [pytest.param(each, id=name) for name, each in (REPORTED | SILENT).items()])
def test_exactly_the_marked_lines_are_reported(tmp_path: Path, source: str) -> None:
    """Squares and 2-norms of the decayed weights are reported where they join the loss, and nothing else is."""
    path = tmp_path / "train.py"
    path.write_text(source)
    report = scan([path], {"select": ["REG303"]})
    assert [(each.code, each.line) for each in report.findings] == [("REG303", line) for line in Example(source).marked]
    assert report.not_checked == ()
