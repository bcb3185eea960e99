"""`model.eval` and `model.train` without a call, in the shapes in which people write them, and what looks like it."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = """\
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return self.head(self.drop(x))
"""

WRONG = {
    "an attribute of a trainer that another method calls": """
class Trainer:
    def __init__(self, model):
        self.model = model
    def validate(self, batches):
        self.model.eval  # <-
        return [self.score(x) for x in batches]
    def score(self, x):
        return self.model(x)
""",
    "the model in a wrapper": """
def main(loader):
    net = nn.DataParallel(Net())
    net.module.eval  # <-
    for x in loader:
        net(x)
""",
    "the model in a wrapper that is handed in": """
def score(net, loader):
    net.module.eval  # <-
    with torch.no_grad():
        return [net(x) for x in loader]
""",
    "an item of a list": """
models = [Net(), Net()]
models[0].eval  # <-
""",
    "each of a list, in a loop": """
for each in [Net(), Net()]:
    each.eval  # <-
""",
    "each of a list, in a comprehension": """
ensemble = [Net() for _ in range(3)]
[each.eval for each in ensemble]  # <-
""",
    "two of them in a row": """
encoder, decoder = Net(), Net()
encoder.train, decoder.train()  # <-
""",
    "the throw-away name": """
net = Net()
_ = net.eval  # <-
""",
    "a choice of both": """
def switch(net, training, x):
    net.train if training else net.eval  # <-
    return net(x)
""",
    "behind an and": """
def main(args):
    net = Net()
    args.test and net.eval  # <-
""",
    "a condition": """
def step(net, x):
    if net.train:  # <-
        x = x + 0.1
    return net(x)
""",
    "the denial of a condition": """
def step(net, x):
    if not net.eval:  # <-
        x = x + 0.1
    return net(x)
""",
    "a condition among others": """
def step(net, x, noisy):
    if noisy and net.train:  # <-
        x = x + 0.1
    return net(x)
""",
    "a condition of an expression": """
def step(net, x):
    scale = 0.5 if net.train else 1.0  # <-
    return net(x) * scale
""",
    "a loop's condition": """
def run(net, stream):
    while net.train:  # <-
        net(next(stream))
""",
    "a model's own mode": """
class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
    def penalty(self, x):
        return x.sum() if self.train else 0.0  # <-
    def forward(self, x):
        return self.head(x)
print(Noisy().penalty(torch.ones(2)))
""",
    "an assertion of a parameter that is annotated": """
def export(net: nn.Module, path):
    assert net.eval, "set eval mode first"  # <-
    torch.save(net, path)
""",
    "a model that is loaded, used as only models are": """
def main(path, x):
    net = torch.load(path)
    net.load_state_dict(torch.load(path))
    net.eval  # <-
""",
}

SOUND = {
    "calls": """
def main(loader):
    net = nn.DataParallel(Net())
    net.module.eval()
    [each.eval() for each in [net]]
    _ = net.eval()
    while not net.training:
        net.train()
    assert net.training
""",
    "a method that is passed on": """
def main(hooks, x):
    net = Net()
    hooks.append(net.eval)
    switch = net.train if x else net.eval
    switch()
    hooks.extend([each.eval for each in (net,)])
    return net(x), net.eval
""",
    "settings of a program": """
def main(args, config, x):
    net = Net()
    if args.eval:
        return net(x)
    if config.train and not args.train:
        args.eval
    return net
""",
    "settings of a data set and of a model": """
class Data(torch.utils.data.Dataset):
    def __init__(self, train):
        self.train = train
    def __getitem__(self, index):
        return 1 if self.train else 0
class Flagged(nn.Module):
    def __init__(self, train=True):
        super().__init__()
        self.train = train
        self.head = nn.Linear(4, 2)
    def forward(self, x):
        return self.head(x) if self.train else x
print(Flagged()(torch.ones(4)))
""",
    "a property of a class": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
    @property
    def eval(self):
        return not self.training
    def forward(self, x):
        return self.head(x) if self.eval else x
net = Net()
net.eval
print(net(torch.ones(4)))
""",
    "a base class of a stranger": """
from elsewhere import BaseModel
class Net(BaseModel):
    def __init__(self, options):
        super().__init__(options)
        self.head = nn.Linear(4, 2)
        if self.train:
            self.other = nn.Linear(4, 2)
    def forward(self, x):
        return self.head(x)
""",
    "tables, symbols and models of other libraries": """
import pandas
from tensorflow import keras
def main(path, frame, session):
    table = pandas.read_csv(path)
    table.eval
    frame.eval
    session.train
    model = keras.Sequential()
    model.train
    if table.eval:
        return table.query
""",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[int]]:
    """The lines with a REG210 in each source, by its name; all are scanned at once."""
    folder, lines = tmp_path_factory.mktemp("uncalled"), dict[str, set[int]]()
    for number, (name, text) in enumerate({**WRONG, **SOUND}.items()):
        (folder / f"case{number}.py").write_text(HEADER + text, "utf-8")
        lines[name] = set()
    report = scan([folder], {"select": ["REG210"]})
    names = [*lines]
    for each in report.findings:
        lines[names[int(Path(each.path).stem.removeprefix("case"))]].add(each.line)
    return lines


@pytest.mark.parametrize("name", [*WRONG, *SOUND])
def test_exactly_the_marked_lines_name_a_method_for_nothing(name: str, found: dict[str, set[int]]) -> None:
    """A mode method that is named and not called is reported where its value is discarded or a condition."""
    assert found[name] == set(Example(HEADER + {**WRONG, **SOUND}[name]).marked)


ASSERTED = {
    "not net.eval().training": False,
    "net.eval()": False,
    "net.eval() is net": False,
    "not net.train(False).training and x.ndim == 2": False,
    "isinstance(net, Net)": True,
    "net(x).shape == (3, 2)": True,
    "net.drop.p == 0.5": True,
}
"""Conditions of an assertion ahead of a prediction, and whether the model then predicts in train mode."""


def test_an_assertion_that_calls_the_method_sets_the_mode(tmp_path: Path) -> None:
    """A call of `eval` or `train` in an assertion counts; other calls in it are no predictions."""
    for number, condition in enumerate(ASSERTED):
        body = f"    assert {condition}\n    with torch.no_grad():\n        return net(x).argmax(1)\n"
        program = f"def predict(path, x):\n    net = Net()\n    net.load_state_dict(torch.load(path))\n{body}"
        (tmp_path / f"program_{number}.py").write_text(f"{HEADER}{program}", encoding="utf-8")
    found = {Path(each.path or "").stem: each.code for each in scan([tmp_path]).findings}
    faulty = {f"program_{number}" for number, is_faulty in enumerate(ASSERTED.values()) if is_faulty}
    assert found == dict.fromkeys(faulty, "REG201")
