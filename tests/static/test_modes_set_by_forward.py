"""A `forward` that sets modes itself, and loops that compare their layer with the last one."""

from __future__ import annotations

from pathlib import Path

from ..faulty_and_right import found_and_marked

HEADER = """\
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(4, width), nn.Dropout(0.2), nn.Linear(width, 2)


class Layered(nn.Module):
    def __init__(self, sizes=(4, 8, 8, 2)):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.drop = nn.Dropout(0.2)


def fit(net):
    for x, y in torch.load("rows.pt"):
        nn.functional.cross_entropy(net(x), y).backward()


"""

MODES = {
    "a dropout that is switched on": """
class Net(Base):
    def forward(self, x):
        &self.drop.train()
        #self.drop.train(self.training)
        return self.last(self.drop(self.first(x)))  # <-
""",
    "the whole model": """
class Net(Base):
    def forward(self, x):
        self.train(self.training)
        &self.train()
        x = torch.relu(self.first(x))
        x = self.drop(x)  # <-
        return self.last(x)
""",
    "in eval mode only": """
class Net(Base):
    def forward(self, x):
        &if not self.training:
        #if self.training:
            self.drop.train()
        return self.last(self.drop(self.first(x)))  # <-
""",
    "a part in a method": """
class Net(Base):
    def wake(self):
        self.drop.train(mode=True)

    def forward(self, x):
        &self.wake()
        return self.last(self.drop(self.first(x)))  # <-
""",
    "before it is switched off": """
class Net(Base):
    def forward(self, x):
        self.drop.train()
        #self.drop.eval()
        return self.last(self.drop(self.first(x)))  # <-
""",
    "a block of the model": """
class Block(Base):
    def forward(self, x):
        &self.drop.train()
        return self.last(self.drop(self.first(x)))  # <-


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = Block(), nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.block(x))
""",
}

ON_REQUEST = {
    "where the caller asks": """
class Net(Base):
    def forward(self, x, draws=False):
        if draws:
            self.drop.train()
        return self.last(self.drop(self.first(x)))
""",
    "in a method of its own": """
class Net(Base):
    def forward(self, x):
        return self.last(self.drop(self.first(x)))

    def spread(self, x, draws=20):
        self.drop.train()
        return torch.stack([self(x) for _ in range(draws)]).std(0)
""",
}

LAST_LAYERS = {
    "a break at the last layer": """
class Net(Layered):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            #if layer is self.layers[-1]:
                #break
            x = self.drop(x)  # <-
        return x
""",
    "all but the first": """
class Net(Layered):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            &if layer is not self.layers[0]:
            #if layer is not self.layers[-1]:
                x = self.drop(x)  # <-
        return x
""",
    "a choice": """
class Net(Layered):
    def forward(self, x):
        last = self.layers[-1]
        for layer in self.layers:
            &x = self.drop(layer(x)) if layer is last else torch.relu(layer(x))  # <-
            #x = layer(x) if layer is last else self.drop(torch.relu(layer(x)))
        return x
""",
}

LAST_OF_ANY = {
    "of any number": """
class Net(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))
        self.drop = nn.Dropout(0.2)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
            if layer is self.layers[-1]:
                break
            x = self.drop(torch.relu(x))
        return x
""",
}


def test_train_mode_that_forward_sets_is_found(tmp_path: Path) -> None:
    """A layer that each forward puts in train mode drops after `eval()`; one that a caller asks for does not."""
    found, expected = found_and_marked(tmp_path, "REG204", HEADER, MODES, ON_REQUEST)
    assert found == expected


def test_the_last_layer_is_told_from_the_others(tmp_path: Path) -> None:
    """A dropout of the last layer's result is found, and a loop that leaves that layer out is silent."""
    trained = {title: f"{text}\nfit(Net())\n" for title, text in LAST_LAYERS.items()}
    of_any = {title: f"{text}\nfit(Net([4, *torch.load('sizes.pt')]))\n" for title, text in LAST_OF_ANY.items()}
    found, expected = found_and_marked(tmp_path, "REG101", HEADER, trained, of_any)
    assert found == expected
