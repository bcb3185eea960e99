"""A class whose users are not scanned: they choose the options of its constructor."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.engine.scan import scan

from ..faulty_and_right import marked, marked_form

HEADER = "import torch\nfrom torch.nn import functional as F\nfrom data import batches_of, build\n"

PROGRAMS = {
    "validation several times an epoch, if asked for": """
class Classifier:
    def __init__(self, name, checks_per_epoch=1, epochs=10):
        self.name, self.checks_per_epoch, self.epochs = name, checks_per_epoch, epochs
        self.model = None

    def fit(self, rows, held_out):
        self.model = build(self.name)
        optimizer = torch.optim.AdamW(self.model.parameters())
        for _ in range(self.epochs):
            self._epoch(rows, held_out, optimizer)

    def _epoch(self, rows, held_out, optimizer):
        self.model.train()
        every = len(rows) // self.checks_per_epoch if self.checks_per_epoch > 1 else None
        for number, (x, y) in enumerate(batches_of(rows)):
            loss = F.cross_entropy(self.model(x), y)  # <-
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if every and number % every == 0:
                self.validate(held_out)
                #self.model.train()
        if every is None:
            self.validate(held_out)

    def validate(self, held_out):
        self.model.eval()
        with torch.no_grad():
            return sum((self.model(x).argmax(1) == y).sum().item() for x, y in batches_of(held_out))
""",
    "a flag": """
class Trainer:
    def __init__(self, model, optimizer, check_often=False):
        self.model, self.optimizer, self.check_often = model, optimizer, check_often

    def fit(self, rows, held_out):
        self.model.train()
        for step, (x, y) in enumerate(rows):
            self.optimizer.zero_grad()
            F.mse_loss(self.model(x), y).backward()  # <-
            self.optimizer.step()
            if self.check_often:
                self.score(held_out)
                #self.model.train()

    @torch.no_grad()
    def score(self, held_out):
        self.model.eval()
        print(sum(F.mse_loss(self.model(x), y).item() for x, y in held_out))
""",
    "a text": """
class Loop:
    def __init__(self, net, optimizer, *, check="epoch"):
        self.net, self.optimizer = net, optimizer
        self.check = check

    def run(self, rows, held_out):
        self.net.train()
        for x, y in rows:
            loss = F.cross_entropy(self.net(x), y)  # <-
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.check == "step":
                self.evaluate(held_out)
                #self.net.train(True)
        if self.check == "epoch":
            self.evaluate(held_out)

    def evaluate(self, held_out):
        self.net.eval()
        with torch.no_grad():
            for x, y in held_out:
                print((self.net(x).argmax(1) == y).float().mean())
""",
}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in PROGRAMS.items()])
def test_code_behind_an_option_of_an_unused_class_is_read(tmp_path: Path, text: str, faulty: bool) -> None:
    """Code that the default of an option switches off is read in a class that only others construct."""
    program = marked_form(HEADER + text, faulty)
    (tmp_path / "program.py").write_text(program)
    found = {(each.code, each.line) for each in scan([tmp_path]).findings}
    assert found == {("REG206", line) for line in marked(program)}


USE = "from {}loops import Trainer\nfrom data import net, rows\n\n"
FIT = "Trainer(net, None).fit(rows, rows)\n"
USERS = {
    "an example": ("examples/quick.py", USE.format("library.") + FIT),
    "a test": ("tests/test_loops.py", USE.format("library.") + "def test_fit():\n    " + FIT),
}


@pytest.mark.parametrize("faulty", [True, False], ids=["faulty", "right"])
@pytest.mark.parametrize(("user", "text"), [pytest.param(*each, id=name) for name, each in USERS.items()])
def test_a_library_has_more_users_than_its_tests_and_examples(
    tmp_path: Path, user: str, text: str, faulty: bool
) -> None:
    """Code of an installable package is read with other options than those that its tests and examples choose."""
    program = marked_form(HEADER + PROGRAMS["a flag"], faulty)
    files = {"setup.py": "", "library/__init__.py": "", "library/loops.py": program, user: text}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    found = {(Path(each.path or "").name, each.code, each.line) for each in scan([tmp_path]).findings}
    assert found == {("loops.py", "REG206", line) for line in marked(program)}


def test_a_program_without_an_option_is_read_as_it_runs(tmp_path: Path) -> None:
    """Code of no library is silent behind an option that the program which uses it leaves at its default."""
    (tmp_path / "loops.py").write_text(marked_form(HEADER + PROGRAMS["a flag"], True))
    (tmp_path / "quick.py").write_text(USE.format("") + FIT)
    assert scan([tmp_path]).findings == ()
