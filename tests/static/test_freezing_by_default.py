"""Frozen batch norm that `train()` undoes, where options choose the model: what their defaults do counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.engine.scan import scan

from ..faulty_and_right import marked, marked_form

MODELS = """\
import argparse
import torch
from torch import nn
from torch.nn import functional as F
from data import batches, find

class Own(nn.BatchNorm2d):
    pass

class Base(nn.Module):
    def freeze_bn(self):
        for each in self.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.eval()

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))

class Small(Base):
    def __init__(self, freeze_bn=False, norm=nn.BatchNorm2d):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), norm(8), nn.ReLU())
        if freeze_bn:
            self.freeze_bn()
        self.head = nn.Linear(8, 2)

class Large(Base):
    def __init__(self, freeze_bn=False, norm=nn.BatchNorm2d):
        super().__init__()
        self.body = find("large")
        if freeze_bn:
            for each in find("parts"):
                each.eval()
        self.head = nn.Linear(8, 2)

def epoch(net, optimizer):
    net.train()  # <-
    #net.freeze_bn()
    for x, y in batches("train"):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

parser = argparse.ArgumentParser()
parser.add_argument("--net", default="small")
parser.add_argument("--sync", action="store_true")
"""

PROGRAMS = {
    "a table of classes": """
NETS = {"small": Small, "large": Large}
args = parser.parse_args()
net = NETS[args.net](freeze_bn=True)
epoch(net, torch.optim.SGD(net.parameters(), 0.1))
""",
    "a chain of conditions": """
def build(name):
    if name == "large":
        return Large(freeze_bn=True)
    elif name == "small":
        return Small(freeze_bn=True)
    raise ValueError(name)

def main():
    args = parser.parse_args()
    net = build(args.net).cuda()
    epoch(net, torch.optim.SGD(net.parameters(), 0.1))

main()
""",
    "another norm, if asked for": """
def main():
    args = parser.parse_args()
    norm = Own if args.sync else nn.BatchNorm2d
    net = Small(freeze_bn=True, norm=norm)
    epoch(net, torch.optim.SGD(net.parameters(), 0.1))

if __name__ == "__main__":
    main()
""",
    "unknown code that gets the model, if asked for": """
args = parser.parse_args()
net = Small(freeze_bn=True)
if args.sync:
    find("sync")(net)
epoch(net, torch.optim.SGD(net.parameters(), 0.1))
""",
    "a class that trains": """
class Trainer:
    def __init__(self, args):
        self.net = Small(freeze_bn=True) if args.net == "small" else Large(freeze_bn=True)
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.1)

    def run(self):
        for _ in range(10):
            epoch(self.net, self.optimizer)

Trainer(parser.parse_args()).run()
""",
    "a prediction first, if asked for": """
def main(args):
    net = Small(freeze_bn=True)
    if args.sync:
        with torch.no_grad():
            print(net(batches("first")).argmax(1))
    for _ in range(10):
        epoch(net, torch.optim.SGD(net.parameters(), 0.1))

main(parser.parse_args())
""",
}

LET_GO = {
    "a prediction with the frozen norms first, always": """
net = Small(freeze_bn=True)
with torch.no_grad():
    print(net(batches("first")).argmax(1))
epoch(net, torch.optim.SGD(net.parameters(), 0.1))
""",
    "freezing and a prediction, both if asked for": """
args = parser.parse_args()
net = Small()
if args.sync:
    net.freeze_bn()
    with torch.no_grad():
        print(net(batches("first")).argmax(1))
epoch(net, torch.optim.SGD(net.parameters(), 0.1))
""",
    "unknown code that gets the model by default": """
args = parser.parse_args()
net = Small(freeze_bn=True)
if not args.sync:
    find("sync")(net)
epoch(net, torch.optim.SGD(net.parameters(), 0.1))
""",
}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PROGRAMS.items()])
def test_freezing_that_is_undone_by_default_is_found(tmp_path: Path, text: str, faulty: bool) -> None:
    """A `train()` that undoes frozen norms is reported, whatever other options than the defaults would do."""
    program = marked_form(MODELS + text, faulty)
    (tmp_path / "program.py").write_text(program)
    found = {(each.code, each.line) for each in scan([tmp_path]).findings}
    assert found == {("REG209", line) for line in marked(program)}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in LET_GO.items()])
def test_norms_that_anything_ran_with_are_let_go(tmp_path: Path, text: str) -> None:
    """Norms that the program used in eval mode, or may have, before `train()` are let go on purpose."""
    (tmp_path / "program.py").write_text(marked_form(MODELS + text, faulty=True))
    assert [(each.code, each.line) for each in scan([tmp_path]).findings if each.code != "REG201"] == []
