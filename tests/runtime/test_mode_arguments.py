"""REG202: the mode as an argument of forward, in programs that pass it rightly and in those that forget to."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.faulty_and_right import form

from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

PRELUDE = """\
import torch
import torch.nn.functional as F
from torch import nn

x, y = torch.randn(64, 8), torch.randn(64, 2)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 64)
        self.head = nn.Linear(64, 2)


def step(model, prediction):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    F.mse_loss(prediction, y).backward()
    optimizer.step()
"""

PROGRAMS = {
    "by name, from a script": """
class Net(Base):
    def forward(self, x, train=True):
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5, training=train))  # <-
model = Net()
step(model, model(x, train=True))
model.eval()
with torch.no_grad():
&    model(x)
#    model(x, train=False)
""",
    "by default in training": """
class Net(Base):
    def forward(self, x, training=True):
        x = torch.relu(self.hidden(x))
        if training:
            x = F.dropout(x, 0.5)  # <-
        return self.head(x)
def fit(model):
    model.train()
    step(model, model(x))
def predict(model):
    model.eval()
    with torch.inference_mode():
&        return model(x).argmax(1)
#        return model(x, training=False).argmax(1)
model = Net()
fit(model)
predict(model)
""",
    "by position, in a trainer": """
class Net(Base):
    def forward(self, x, is_training):
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5, is_training))  # <-
class Trainer:
    def __init__(self):
        self.model = Net()
    def fit(self):
        self.model.train()
        step(self.model, self.model(x, True))
    @torch.no_grad()
    def score(self):
        self.model.eval()
&        return F.mse_loss(self.model(x, True), y).item()
#        return F.mse_loss(self.model(x, False), y).item()
trainer = Trainer()
trainer.fit()
trainer.score()
""",
    "upside down, in closures": """
class Policy(Base):
    def forward(self, x, deterministic=False):
        x = torch.relu(self.hidden(x))
        return self.head(x if deterministic else F.dropout(x, 0.5))  # <-
def loop(policy):
    def learn():
        step(policy.train(), policy(x, deterministic=False))
    def act():
        with torch.no_grad():
&            return policy.eval()(x)
#            return policy.eval()(x, deterministic=True)
    return learn, act
for each in loop(Policy()):
    each()
""",
    "of a function around the model, for both modes": """
class Net(Base):
    def forward(self, x, is_eval=False):
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5, training=not is_eval))  # <-
model = Net()
def run(training):
    model.train(training)
    with torch.set_grad_enabled(training):
&        prediction = model(x, is_eval=False)
#        prediction = model(x, is_eval=not training)
    if training:
        step(model, prediction)
run(True)
run(False)
""",
    "beside layers with a mode": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
    def forward(self, x, *, train_mode=True):
        return self.head(F.dropout(torch.relu(self.norm(self.hidden(x))), 0.5, train_mode))  # <-
def main():
    model = Net()
    for epoch in range(2):
        model.train()
        step(model, model(x, train_mode=True))
        model.eval()
        with torch.no_grad():
&            print(model(x).mean())
#            print(model(x, train_mode=False).mean())
main()
""",
}


def lines_found(source: str, path: Path) -> tuple[list[int], list[int]]:
    """The marked lines, and those where a watched run of the program reports REG202."""
    path.write_text(PRELUDE + source, encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    with EventRecorder(root=str(path.parent)) as watch:
        exec(compile(text, str(path), "exec"), {"__name__": "program"})
    report = Session({"select": ["REG202"], "devices": ["cpu"]}).examine(watch.drain()).ledger.report()
    assert not report.not_checked
    marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# <-")]
    return marked, [each.line or 0 for each in report.findings]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_prediction_in_eval_mode_that_passes_the_mode_of_training_is_reported(name: str, tmp_path: Path) -> None:
    """Where the program's own call in eval mode drops, the run reports the dropout."""
    marked, found = lines_found(form(PROGRAMS[name], True), tmp_path / "program.py")
    assert found == marked


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_mode_that_each_call_passes_is_no_finding(name: str, tmp_path: Path) -> None:
    """A training call is replayed in eval mode with the mode that predictions have."""
    _, found = lines_found(form(PROGRAMS[name], False), tmp_path / "program.py")
    assert found == []
