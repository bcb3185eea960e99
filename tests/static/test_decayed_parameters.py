"""What an optimizer decays beside weights is told from source where it is certain, and not guessed elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = "import torch\nfrom torch import nn, optim\n"
NET = (
    HEADER
    + """
class Net(nn.Module):
    def __init__(self, norm=None, bias=False, extra=False):
        super().__init__()
        self.fc = nn.Linear(8, 8, bias)
        self.norm = norm or nn.Identity()
        if extra:
            self.head = nn.Linear(8, 8)
"""
)

REPORTED = {
    "a layer": HEADER + "net = nn.Linear(4, 4)\noptim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)  # <-\n",
    "AdamW by default": HEADER + "net = nn.Sequential(nn.Conv2d(3, 4, 3))\noptim.AdamW(net.parameters())  # <-\n",
    "a norm of a module": NET + "optim.AdamW(Net(nn.BatchNorm1d(8)).parameters())  # <-\n",
    "a branch that is taken": NET + "optim.AdamW(Net(extra=True).parameters())  # <-\n",
    "one group of several": NET
    + "groups = [{'params': Net(bias=True).parameters()}, {'params': [], 'weight_decay': 0.0}]\n"
    "optim.AdamW(groups)  # <-\n",
    "its own parameters": NET
    + "    def configure_optimizers(self):\n        return optim.SGD(self.parameters(), 0.1, weight_decay=0.1)\n"
    "class Biased(Net):\n    def __init__(self):\n        super().__init__(bias=True)\n"
    "    def configure(self):\n        return optim.SGD(self.parameters(), 0.1, weight_decay=0.1)  # <-\n",
}

SILENT = {
    "no decay": HEADER + "net = nn.Linear(4, 4)\noptim.SGD(net.parameters(), lr=0.1)\n",
    "decay of the command line": HEADER
    + "import sys\nnet = nn.Linear(4, 4)\noptim.SGD(net.parameters(), lr=0.1, weight_decay=float(sys.argv[1]))\n",
    "a model that is not known": HEADER + "def f(net):\n    return optim.AdamW(net.parameters())\n",
    "neither bias nor norm": NET + "optim.AdamW(Net().parameters())\n",
    "a norm without scale": NET + "optim.AdamW(Net(nn.LayerNorm(8, elementwise_affine=False)).parameters())\n",
    "an instance norm": NET + "optim.AdamW(Net(nn.InstanceNorm1d(8)).parameters())\n",
    "a branch that may not be taken": NET + "import sys\noptim.AdamW(Net(extra=len(sys.argv) > 1).parameters())\n",
    "a bias of the command line": NET + "import sys\noptim.AdamW(Net(bias=len(sys.argv) > 1).parameters())\n",
    "parameters that are sorted": NET
    + "net = Net(bias=True)\nw = [p for p in net.parameters() if p.dim() > 1]\noptim.AdamW(w)\n",
    "parameters that are filtered": NET
    + "net = Net(bias=True)\noptim.AdamW(filter(lambda p: p.dim() > 1, net.parameters()))\n",
    "parameters that are frozen": NET
    + "net = Net(bias=True)\nnet.fc.bias.requires_grad_(False)\noptim.AdamW(net.parameters())\n",
    "its own parameters only": NET + "optim.AdamW(Net(bias=True).parameters(recurse=False))\n",
    "a group of biases": NET
    + "net = Net()\noptim.AdamW([{'params': net.parameters()}, {'params': [net.fc.bias], 'weight_decay': 0.1}])\n",
    "norms alone": HEADER + "optim.AdamW(nn.LayerNorm(8).parameters(), weight_decay=0.1)\n",
    "another library's optimizer": "from apex.optimizers import AdamW\n"
    + NET
    + "AdamW(Net(bias=True).parameters(), weight_decay=0.1)\n",
}


@pytest.mark.parametrize("source", [pytest.param(each, id=name) for name, each in (REPORTED | SILENT).items()])
def test_exactly_the_marked_lines_are_reported(tmp_path: Path, source: str) -> None:
    """A model that is certain to have biases or norm scales is reported where they are decayed, and no other."""
    path = tmp_path / "train.py"
    path.write_text(source)
    report = scan([path], Options(select=("REG302",)))
    assert {each.line for each in report.findings} == set(Example(source).marked)
    assert report.not_checked == ()


def test_it_is_advice(tmp_path: Path) -> None:
    """Nobody who did not ask for it hears of it."""
    path = tmp_path / "train.py"
    path.write_text(REPORTED["a layer"])
    assert scan([path]).findings == ()


def test_the_message_names_the_groups(tmp_path: Path) -> None:
    """Of several parameter groups, the message gives the indices of those that decay too much."""
    path = tmp_path / "train.py"
    path.write_text(
        HEADER + "a, b, c = nn.Linear(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 4)\n"
        "optim.AdamW([{'params': each.parameters()} for each in (a, b, c)])\n"
    )
    (finding,) = scan([path], Options(select=("REG302",))).findings
    assert "in parameter groups 0, 2" in finding.message
