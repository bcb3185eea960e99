"""REG401: keep probabilities that reach a dropout as its rate, and drop rates with keep in their neighbourhood."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

from regcheck import audit

from .faulty_and_right import marked, marked_form, scanned_lines

PRELUDE = """\
import torch
import torch.nn.functional as F
from torch import nn

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 2)

"""
MODELS = {
    "an attribute with another name": """
class Net(Base):
    def __init__(self, keep_prob=0.75):
        super().__init__()
        &self.p = keep_prob
        #self.p = 1 - keep_prob

    def forward(self, x):
        return self.outer(F.dropout(torch.relu(self.inner(x)), self.p, self.training))  # <-

model = Net()
""",
    "an argument of the constructor": """
class Net(Base):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return self.outer(F.dropout(torch.relu(self.inner(x)), p=self.rate, training=self.training))  # <-

retain_prob = 0.7
&model = Net(retain_prob)
#model = Net(1 - retain_prob)
""",
    "a local variable": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.keep_rate = 0.7

    def forward(self, x):
        &p = self.keep_rate
        #p = 1.0 - self.keep_rate
        return self.outer(F.dropout(torch.relu(self.inner(x)), p, self.training))  # <-

model = Net()
""",
    "a layer and an attribute of the class": """
class Net(Base):
    keep = 0.6

    def __init__(self):
        super().__init__()
        &self.drop = nn.Dropout(float(self.keep))
        #self.drop = nn.Dropout(float(1 - self.keep))

    def forward(self, x):
        return self.outer(self.drop(torch.relu(self.inner(x))))  # <-

model = Net()
""",
    "a constant of the file": """
KEEP_PROB = 0.7
&RATE = KEEP_PROB
#RATE = 1 - KEEP_PROB

class Net(Base):
    def forward(self, x):
        return self.outer(F.dropout(torch.relu(self.inner(x)), RATE, self.training))  # <-

model = Net()
""",
    "an attribute that is set twice": """
class Net(Base):
    def __init__(self, keep=0.7):
        super().__init__()
        self.rate = keep
        self.rate = 0.6

    def forward(self, x):
        return self.outer(F.dropout(torch.relu(self.inner(x)), self.rate, self.training))

model = Net()
""",
}
SOURCES = {
    f"{name} ({form})": PRELUDE + marked_form(text, form == "faulty")
    for name, text in MODELS.items()
    for form in ("faulty", "right")
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keep")
    paths = {name: folder / f"net_with_names_{number}.py" for number, name in enumerate(SOURCES)}
    for name, path in paths.items():
        path.write_text(SOURCES[name], encoding="utf-8")
    return paths


def test_a_scan_follows_the_name_of_a_rate(files: dict[str, Path]) -> None:
    """A scan reports each dropout whose rate has a name on its way that says keep."""
    lines = scanned_lines(files.values(), "REG401")
    assert {name: set(lines.get(path.name, ())) for name, path in files.items()} == {
        name: marked(source) for name, source in SOURCES.items()
    }


@pytest.mark.parametrize("name", SOURCES)
def test_an_audit_reports_the_same_lines(name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit reports the lines that a scan reports, each confirmed by the share that the call drops."""
    monkeypatch.syspath_prepend(files[name].parent)
    module = importlib.import_module(files[name].stem)
    report = audit(module.model, torch.randn(16, 8), options={"select": ["REG401"]})
    assert {each.line for each in report.findings} == marked(SOURCES[name])
    assert not report.unproven
