"""Training loops of sixteen shapes, each with a mode that lingers, and the same loop with the mode set right."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.session.block import watch

from .conftest import PRELUDE

COMMON = """\
from torch.nn import functional as F

torch.manual_seed(0)
rows = torch.randn(6, 4, 8)
labels = torch.tensor([0, 1, 0, 1])
model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def update(loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def accuracy(net):
    net.eval()
    with torch.no_grad():
        return sum((net(row).argmax(1) == labels).float().mean().item() for row in rows[:2])


"""

LOOPS = {
    "validation inline, train() ahead of the epochs": """
def fit():
    &model.train()
    for epoch in range(3):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        model.eval()
        with torch.no_grad():
            print(sum(model(row).argmax(1).sum().item() for row in rows))
fit()
""",
    "a script that prints every fourth step": """
for step in range(12):
    #model.train()
    update(F.cross_entropy(model(rows[step % 6]), labels))  # <-
    if step % 4 == 3:
        model.eval()
        with torch.no_grad():
            print(model(rows[0]).argmax(1))
""",
    "validation in the middle of each epoch": """
def epoch():
    model.train()
    for number, row in enumerate(rows):
        update(F.cross_entropy(model(row), labels))  # <-
        if number % 3 == 2:
            accuracy(model)
            #model.train()
for _ in range(2):
    epoch()
    accuracy(model)
""",
    "one line for training and validation, in closures": """
def main():
    def loss_of(row):
        return F.cross_entropy(model(row), labels)  # <-
    def learn():
        model.train()
        for number, row in enumerate(rows):
            update(loss_of(row))
            if number == 3:
                look()
                #model.train()
    @torch.no_grad()
    def look():
        model.eval()
        return sum(loss_of(row).item() for row in rows[:2])
    for _ in range(3):
        learn()
        look()
main()
""",
    "validation with gradients on": """
def check():
    model.eval()
    return sum(F.cross_entropy(model(row), labels).item() for row in rows[:2])
def fit():
    &model.train()
    for _ in range(3):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        check()
fit()
""",
    "a helper that flips the mode ahead of the forward": """
def present(row):
    model.eval()
    with torch.no_grad():
        return model(row).argmax(1)
def loss_of(row):
    &model.train()
    guess = present(row)
    #model.train()
    scores = model(row)  # <-
    return F.cross_entropy(scores, labels) + 0.1 * F.cross_entropy(scores, guess)
for row in rows:
    update(loss_of(row))
""",
    "eval() of the module around": """
class Task(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
    def step(self, row):
        return F.cross_entropy(self.net(row), labels)  # <-
task = Task(model)
def validate():
    task.eval()
    with torch.no_grad():
        return (task.net(rows[0]).argmax(1) == labels).float().mean()
for row in rows:
    #task.train()
    update(task.step(row))
    validate()
""",
    "a trainer object that validates ahead of its first step": """
class Loop:
    def validate(self):
        model.eval()
        with torch.no_grad():
            return sum(F.cross_entropy(model(row), labels).item() for row in rows[:2])
    def epoch(self):
        model.train()
        for number, row in enumerate(rows):
            if number % 5 == 0:
                self.validate()
                #model.train()
            update(F.cross_entropy(model(row), labels))  # <-
loop = Loop()
loop.epoch()
loop.epoch()
""",
    "validation after every epoch but the last": """
for epoch in range(3):
    #model.train()
    for row in rows:
        update(F.cross_entropy(model(row), labels))  # <-
    if epoch < 2:
        accuracy(model)
""",
    "train() never called": """
def run(epochs=2):
    for _ in range(epochs):
        #model.train()
        for row in rows:
            update(F.cross_entropy(model(row), labels))  # <-
        accuracy(model)
run()
""",
    "a validation handed in as a callback": """
def fit(after):
    &model.train()
    for number, row in enumerate(rows):
        #model.train()
        update(F.cross_entropy(model(row), labels))  # <-
        after(number)
fit(lambda number: accuracy(model) if number % 2 else None)
""",
    "accumulated gradients": """
def fit():
    for start in range(0, 6, 2):
        #model.train()
        for row in rows[start:start + 2]:
            (F.cross_entropy(model(row), labels) / 2).backward()  # <-
        optimizer.step()
        optimizer.zero_grad()
        accuracy(model)
fit()
""",
    "an optimizer that calls a closure": """
def fit():
    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(rows[0]), labels)  # <-
        loss.backward()
        return loss
    for _ in range(3):
        #model.train()
        optimizer.step(closure)
        accuracy(model)
fit()
""",
    "eval mode set by train(False)": """
def validate(flag=False):
    model.train(flag)
    with torch.inference_mode():
        return model(rows[0]).argmax(1)
for row in rows:
    #model.train()
    update(F.cross_entropy(model(row), labels))  # <-
    validate()
""",
    "predictions written out by a generator": """
def predictions():
    model.eval()
    with torch.no_grad():
        for row in rows[:2]:
            yield model(row).argmax(1)
for row in rows:
    #model.train()
    update(F.cross_entropy(model(row), labels))  # <-
    list(predictions())
""",
    "a baseline taken ahead of the training": """
def fit():
    for row in rows:
        update(F.cross_entropy(model(row), labels))  # <-
accuracy(model)
#model.train()
fit()
""",
}
"""Lines that begin with `&` stand in the faulty loop only, lines that begin with `#` in the right one only."""

RIGHT = {
    "eval mode for the rest of the training": """
model.train()
update(F.cross_entropy(model(rows[0]), labels))
model.eval()
for row in rows:
    update(F.cross_entropy(model(row), labels))
""",
    "eval mode from the start, and a validation that sets it again": """
model.eval()
for _ in range(2):
    for row in rows:
        update(F.cross_entropy(model(row), labels))
    accuracy(model)
""",
    "eval mode set ahead of each epoch": """
for _ in range(2):
    accuracy(model)
    model.train(False)
    for row in rows:
        update(F.cross_entropy(model(row), labels))
""",
    "an attack on a model in eval mode": """
def attack(row):
    row = row.clone().requires_grad_()
    F.cross_entropy(model(row), labels).backward()
    return (row + row.grad.sign()).detach()
accuracy(model)
for row in rows:
    attack(row)
""",
}


@pytest.fixture(autouse=True)
def program_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def reported(tmp_path: Path, source: str) -> set[tuple[str, int, Severity, Verdict]]:
    path = tmp_path / "program.py"
    path.write_text(source, encoding="utf-8")
    with watch({"devices": ["cpu"]}) as watched:
        exec(compile(source, str(path), "exec"), {"__name__": "program"})
    return {(each.code, each.line or 0, each.severity, each.evidence.verdict) for each in watched.report.findings}


def variant(loop: str, faulty: bool) -> str:
    mine, other = ("&", "#") if faulty else ("#", "&")
    lines = [line for line in loop.splitlines() if not line.strip().startswith(other)]
    return (
        PRELUDE + COMMON + "\n".join(line.replace(mine, "", 1) if line.strip()[:1] == mine else line for line in lines)
    )


@pytest.mark.parametrize("name", LOOPS)
def test_a_mode_that_lingers_is_found(tmp_path: Path, name: str) -> None:
    """Each loop that trains in the eval mode of a prediction is reported at its training call, and confirmed."""
    source = variant(LOOPS[name], faulty=True)
    (line,) = [number for number, text in enumerate(source.splitlines(), 1) if text.endswith("# <-")]
    assert reported(tmp_path, source) == {("REG206", line, Severity.WARNING, Verdict.CONFIRMED)}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_that_sets_the_mode_is_silent(tmp_path: Path, name: str) -> None:
    """The same loop with `train()` in its place is not reported."""
    assert reported(tmp_path, variant(LOOPS[name], faulty=False)) == set()


@pytest.mark.parametrize("name", RIGHT)
def test_eval_mode_that_is_meant_is_silent(tmp_path: Path, name: str) -> None:
    """Training in eval mode on purpose, with no prediction between `eval()` and the training, is not reported."""
    assert reported(tmp_path, variant(RIGHT[name], faulty=False)) == set()
