"""REG201: `train()` within a validation whose loop, as Lightning's, restores the modes of all modules at its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regcheck.session.block import watch

from .conftest import PRELUDE

LOOP = """\
import torch


def validate(net, batches):
    before = {name: module.training for name, module in net.named_modules()}
    net.eval()
    with torch.no_grad():
        for batch in batches:
            net.validation_step(batch)
    for name, module in net.named_modules():
        module.training = before[name]


def fit(net, batches, epochs, sanity_check):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    if sanity_check:
        validate(net, batches)
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            net.training_step(batch).backward()
            optimizer.step()
        validate(net, batches)
"""

PROGRAM = f"""{PRELUDE}
from PACKAGE.loops import evaluation_loop

class Trained(Net):
    def training_step(self, batch):
        return nn.functional.cross_entropy(self(batch), torch.tensor([0, 1, 0, 1]))

    def validation_step(self, batch):
        CALL
        print((self(batch).argmax(1) == 0).float().mean())

torch.manual_seed(0)
evaluation_loop.fit(Trained(), list(torch.randn(3, 4, 8)), epochs=2, sanity_check=CHECK)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of installed packages beside the project, which is the working directory."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    yield tmp_path / "site-packages"
    for each in [each for each in sys.modules if each.split(".")[0] in ("lightning", "pytorch_lightning")]:
        del sys.modules[each]


@pytest.mark.parametrize(
    ("package", "call", "sanity_check"),
    [
        ("pytorch_lightning", "self.train()", True),
        ("lightning.pytorch", "self.train()", False),
        ("pytorch_lightning", "pass", True),
        ("lightning.pytorch", "self.eval()", False),
    ],
)
def test_a_validation_step_that_undoes_eval_is_reported(
    site: Path, package: str, call: str, sanity_check: bool
) -> None:
    """A `train()` in a validation is for its predictions alone, whether or not one ran before the training."""
    file = site.joinpath(*package.split("."), "loops", "evaluation_loop.py")
    file.parent.mkdir(parents=True)
    file.write_text(LOOP, encoding="utf-8")
    for folder in file.relative_to(site).parents[:-1]:
        (site / folder / "__init__.py").touch()
    path = Path("program.py").absolute()
    source = PROGRAM.replace("PACKAGE", package).replace("CALL", call).replace("CHECK", str(sanity_check))
    path.write_text(source, encoding="utf-8")
    with watch(options={"select": ["REG201"], "devices": ["cpu"]}) as seen:
        exec(compile(source, str(path), "exec"), {"__name__": "program"})
    assert seen.report is not None and not seen.report.not_checked
    expected = ["print((self(batch).argmax(1) == 0).float().mean())"] if "train" in call else []
    lines = source.splitlines()
    assert [lines[(each.line or 0) - 1].strip() for each in seen.report.findings] == expected
