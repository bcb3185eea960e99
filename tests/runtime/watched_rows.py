"""Programs with the findings that the rules about modes report of them: the rows of the decision tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

PARTS = """\
from torch.nn import functional as F

y = torch.zeros(4, dtype=torch.long)


def fit(model, optimizer, steps=2):
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.01)


def trained():
    model = Net()
    fit(model, sgd(model))
    return model


class Pretrained(Net):
    @classmethod
    def from_pretrained(cls):
        model = cls()
        model.eval()
        return model


class Classifier(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.drop, self.top = backbone, nn.Dropout(0.2), nn.Linear(2, 2)

    def forward(self, x):
        return self.top(self.drop(self.backbone(x)))


"""


@dataclass(frozen=True)
class Row:
    """A program, and its findings as `"CODE severity"`, each at a line that ends in `# <-`."""

    program: str
    reports: tuple[str, ...] = ()
    name: str = "program.py"


CheckRow = Callable[[Row], None]
"""Runs the program of a row under a recorder, and holds the report against the row."""
