"""Programs whose validation leaves eval mode behind, on each path or on some, and those that are right."""

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
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.drop(x))

def validate(model, batches):
    model.eval()
    with torch.no_grad():
        return sum(nn.functional.cross_entropy(model(x), y) for x, y in batches)

def learn(model, x, y, optimizer):
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()

"""

TRAINER = """
class Trainer:
    def __init__(self, model, batches):
        self.model, self.batches = model, batches
        self.optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def validate(self):
        self.model.eval()
        for x, y in self.batches:
            print(self.model(x).argmax())

    def train_epoch(self):
        self.model.train()
        for step, (x, y) in enumerate(self.batches):
            if step % 100 == 0:
                self.validate()
                {after}
            loss = nn.functional.cross_entropy(self.model(x), y){mark}
            loss.backward()
            self.optimizer.step()

def main(batches):
    trainer = Trainer(Net(), batches)
    for epoch in range(3):
        trainer.train_epoch()

main(open("batches"))
"""

LOOP = """
def main(batches, logger):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    for step, (x, y) in enumerate(batches):
        {before}
        loss = nn.functional.cross_entropy(model(x), y){mark}
        loss.backward()
        optimizer.step()
        {after}

main(open("batches"), open("log"))
"""

WRONG = {
    "a trainer validates now and then": TRAINER.format(after="pass", mark="  # <-"),
    "at the end of a step": LOOP.format(before="", after="if step % 9 == 0: validate(model, batches)", mark="  # <-"),
    "without a word about train mode": LOOP.replace("    model.train()\n", "").format(
        before="", after="if batches.full: validate(model, batches)", mark="  # <-"
    ),
    "each epoch but for the last": """
def main(batches):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.train()
    for epoch in range(3):
        for x, y in batches:
            loss = nn.functional.cross_entropy(model(x), y)  # <-
            loss.backward()
            optimizer.step()
        if epoch < 2 and batches:
            print(validate(model, batches))

main(open("batches"))
""",
}

RIGHT = {
    "given back after the validation": TRAINER.format(after="self.model.train()", mark=""),
    "given back to the whole, or perhaps to it": TRAINER.format(after="if step: self.model.train()", mark=""),
    "each step asks for its mode": LOOP.format(
        before="model.train()", after="if step % 9 == 0: validate(model, batches)", mark=""
    ),
    "nothing is trained after it": LOOP.format(
        before="", after="if step % 9 == 0:\n            validate(model, batches)\n            break", mark=""
    ),
    "a stranger may have given it back": LOOP.format(
        before="", after="if step % 9 == 0: validate(model, batches)\n        logger.log(model)", mark=""
    ),
    "statistics are frozen on purpose": "def freeze(model):\n    model.eval()\n"
    + LOOP.format(before="if step > 9: freeze(model)", after="", mark=""),
    "it was in eval mode from the start": LOOP.replace("model.train()", "model.eval()").format(
        before="", after="if step > 9: validate(model, batches)", mark=""
    ),
    "nothing in it depends on the mode": LOOP.replace("Net()", "nn.Linear(16, 4)").format(
        before="", after="if step % 9 == 0: validate(model, batches)", mark=""
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_validation_that_may_leave_eval_mode_on_is_found(tmp_path: Path, name: str) -> None:
    """The training step that meets the eval mode of a validation, on any path, is reported, and nothing else is."""
    source = HEADER + WRONG[name]
    path = tmp_path / "program.py"
    path.write_text(source)
    report = scan([path])
    assert {(each.code, each.line) for each in report.findings} == {("REG206", line) for line in Example(source).marked}


@pytest.mark.parametrize("name", RIGHT)
def test_a_mode_that_is_given_back_or_not_owed_is_left_alone(tmp_path: Path, name: str) -> None:
    """Where the mode is given back, or may be, or was never asked for, nothing is reported."""
    path = tmp_path / "program.py"
    path.write_text(HEADER + RIGHT[name])
    assert [(each.code, each.line) for each in scan([path]).findings] == []
