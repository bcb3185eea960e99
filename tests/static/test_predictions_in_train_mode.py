"""Predictions in train mode, from source: inputs that come once or again, validations between and after epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = """\
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.drop(x))

def loaded():
    net = Net()
    net.load_state_dict(torch.load("weights.pt"))
    return net

"""

ONCE = {
    "at the top of a script": """
net = loaded()
net.train()
with torch.no_grad():
    for x in read("rows"):
        print(net(x).argmax(1))  # <-
""",
    "in a comprehension": """
@torch.no_grad()
def label(net, rows):
    net.train()
    return torch.cat([net(x).argmax(1) for x in rows])  # <-

label(loaded(), read("rows"))
""",
    "a batch of a dict": """
class Labeller:
    def __init__(self):
        self.net = loaded()

    def run(self, loader):
        self.net.train()
        classes = []
        for batch in loader:
            pixels = batch["pixels"].cuda()
            with torch.inference_mode():
                scores = self.net(pixels)  # <-
            classes.append(scores.topk(1))
        return classes

Labeller().run(read("images"))
""",
    "a closure": """
def main():
    net = loaded()
    net.train()

    def score(x, y):
        with torch.no_grad():
            return [F.cross_entropy(net(one), other).item() for one, other in zip(x, y)]  # <-

    print(score(read("x"), read("y")))

if __name__ == "__main__":
    main()
""",
    "slices of an array": """
def main(rows):
    net = loaded().train()
    with torch.no_grad():
        for start in range(0, len(rows), 32):
            print(net(rows[start : start + 32]).argmax(-1))  # <-

main(read("rows"))
""",
    "a loop with a condition": """
def main(stream):
    net = loaded()
    net.train(True)
    while stream:
        x = next(stream)
        with torch.no_grad():
            print(net(x).argmax(-1))  # <-

main(read("rows"))
""",
}
AGAIN = {
    "twenty passes over each row": """
def label(net, rows):
    net.train()
    for x in rows:
        with torch.no_grad():
            print(torch.stack([net(x) for _ in range(20)]).mean(0).argmax(1))

label(loaded(), read("rows"))
""",
    "passes over all rows": """
def label(net, rows):
    net.train()
    votes = []
    for _ in range(20):
        with torch.no_grad():
            votes.append([net(x).argmax(1) for x in rows])
    return votes

label(loaded(), read("rows"))
""",
    "votes of a function": """
@torch.no_grad()
def label(net, rows):
    net.train()
    return [net(x).argmax(1) for x in rows]

net = loaded()
votes = [label(net, read("rows")) for _ in range(20)]
""",
    "copies within the batch": """
def label(net, rows):
    net.train()
    with torch.no_grad():
        for x in rows:
            print(net(x.repeat(20, 1)).argmax(1))

label(loaded(), read("rows"))
""",
    "eval mode": """
def label(net, rows):
    net.eval()
    with torch.no_grad():
        for x in rows:
            print(net(x).argmax(1))

label(loaded(), read("rows"))
""",
    "statistics of the test batches": """
class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.norm(x))

net = Normed()
net.load_state_dict(torch.load("weights.pt"))
net.train()
with torch.no_grad():
    for x in read("rows"):
        print(net(x).argmax(1))
""",
}

LOOP = """
def main(batches, held_out):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for epoch in range(3):
        net.train()
        {before}
        for x, y in batches:
            {step}
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        {after}

main(read("batches"), read("held out"))
"""
BETWEEN = {
    "a validation in the loop over epochs": LOOP.format(
        before="",
        step="",
        after="with torch.no_grad():\n            for x, y in held_out: print((net(x).argmax(1) == y).sum())  # <-",
    ),
    "a sum over a comprehension": LOOP.format(
        before="",
        step="",
        after="with torch.no_grad(): print(sum((net(x).argmax(1) == y).sum() for x, y in held_out))  # <-",
    ),
}
BESIDE = {
    "a validation in eval mode": LOOP.format(
        before="",
        step="",
        after="net.eval()\n        with torch.no_grad():\n            for x, _ in held_out: print(net(x).argmax(1))",
    ),
    "pseudo-labels ahead of each epoch": LOOP.format(
        before="with torch.no_grad(): batches = [(x, net(x).argmax(1)) for x, _ in batches]", step="", after=""
    ),
    "targets of each step": LOOP.format(before="", step="with torch.no_grad(): y = net(x).argmax(1)", after=""),
    "features that nothing decides by": LOOP.format(
        before="", step="", after="with torch.no_grad(): torch.save([net(x) for x, _ in held_out], 'features.pt')"
    ),
}


@pytest.mark.parametrize("program", [pytest.param(text, id=name) for name, text in {**ONCE, **BETWEEN}.items()])
def test_a_prediction_in_train_mode_is_found(tmp_path: Path, program: str) -> None:
    """One pass for each input after `train()`, and a validation in a function that trains, are reported."""
    (tmp_path / "program.py").write_text(HEADER + program)
    found = {(each.code, each.line) for each in scan([tmp_path]).findings}
    assert found == {("REG201", line) for line in Example(HEADER + program).marked}


@pytest.mark.parametrize("program", [pytest.param(text, id=name) for name, text in {**AGAIN, **BESIDE}.items()])
def test_train_mode_that_may_be_meant_is_left_alone(tmp_path: Path, program: str) -> None:
    """Monte-Carlo dropout, statistics of the test batch, pseudo-labels and what decides nothing are silent."""
    (tmp_path / "program.py").write_text(HEADER + program)
    assert [(each.code, each.line) for each in scan([tmp_path]).findings] == []
