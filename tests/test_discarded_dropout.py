"""REG405: forwards that lose the result of a dropout, and the same forwards with the result read."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.audit import audit

from .faulty_and_right import marked, marked_form, scanned_lines

PRELUDE = """\
import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.drop = nn.Dropout(rate)
        self.inner = nn.Linear(8, 16)
        self.outer = nn.Linear(16, 3)
        self.log = []


"""

FORWARDS = {
    "a function as a statement": """
class Net(Base):
    def forward(self, x):
        h = torch.tanh(self.inner(x))
        &F.dropout(h, p=self.rate, training=self.training)  # <-
        #h = F.dropout(h, p=self.rate, training=self.training)
        return self.outer(h)
""",
    "a layer as a statement, in place or not": """
class Net(Base):
    def __init__(self):
        super().__init__()
        &self.mask = nn.Dropout(0.4)
        #self.mask = nn.Dropout(0.4, inplace=True)
    def forward(self, x):
        h = torch.tanh(self.inner(x)) + 0.0
        self.mask(h)  # <-
        return self.outer(h)
""",
    "a function in place or not": """
class Net(Base):
    def forward(self, x):
        h = torch.tanh(self.inner(x)) + 0.0
        &F.dropout(h, 0.4, self.training)  # <-
        #F.dropout(h, 0.4, self.training, True)
        return self.outer(h)
""",
    "a name that is overwritten": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        out = self.drop(h)  # <-
        &out = self.outer(h)
        #out = self.outer(out)
        return out
""",
    "one name of two": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        one, other = self.drop(h), h * 0.5  # <-
        &return self.outer(other)
        #return self.outer(one + other)
""",
    "a loop over layers": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.stack = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
    def forward(self, x):
        for layer in self.stack:
            &dropped = self.drop(x)  # <-
            #x = self.drop(x)
            x = torch.relu(layer(x))
        return self.outer(torch.relu(self.inner(x)))
""",
    "a branch": """
class Net(Base):
    def forward(self, x, deep: bool = True):
        h = torch.relu(self.inner(x))
        if deep:
            &F.dropout2d(h, 0.2, self.training)  # <-
            #h = F.dropout(h, 0.2, self.training)
        return self.outer(h)
""",
    "a helper method": """
class Net(Base):
    def hidden(self, x):
        h = self.inner(x)
        masked: torch.Tensor = F.alpha_dropout(h, 0.2, self.training)  # <-
        &return torch.selu(h)
        #return torch.selu(masked)
    def forward(self, x):
        return self.outer(self.hidden(x))
""",
    "a conditional statement": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        &self.drop(h) if self.training else h  # <-
        #h = self.drop(h) if self.training else h
        return self.outer(h)
""",
    "a residual block": """
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.body, self.drop = nn.LayerNorm(8), nn.Linear(8, 8), nn.Dropout(0.1)
    def forward(self, x):
        update = self.body(self.norm(x))
        _ = self.drop(update)  # <-
        &return x + update
        #return x + _
class Net(Base):
    def __init__(self):
        super().__init__()
        self.block = Block()
    def forward(self, x):
        return self.outer(torch.relu(self.inner(self.block(x))))
""",
}

RIGHT = {
    "kept for a log": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        self.log.append(float(self.drop(h).mean().detach()))
        return self.outer(h)
""",
    "kept as an attribute": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        self.features = self.drop(h)
        return self.outer(h)
""",
    "returned in a dict": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        dropped = self.drop(h)
        return {"logits": self.outer(h), "projection": self.outer(dropped * 2)}
""",
    "read in train mode only": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        noisy = self.drop(h)
        if self.training:
            h = noisy
        return self.outer(h)
""",
    "read on the next pass": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        total, dropped = 0, h
        for _ in range(3):
            total = total + dropped
            dropped = F.dropout(h, 0.1, self.training)
        return self.outer(total)
""",
    "read by an inner function": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        dropped = self.drop(h)
        def head(scale):
            return self.outer(dropped * scale)
        return head(2.0)
""",
    "read after a break": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        for turn in range(2):
            dropped = self.drop(h)
            if turn:
                break
            dropped = h
        return self.outer(dropped)
""",
    "read by a hook": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.tap = nn.Dropout(0.3)
        self.tap.register_forward_hook(lambda module, args, out: self.log.append(out.shape))
    def forward(self, x):
        h = torch.relu(self.inner(x))
        self.tap(h)
        return self.outer(h)
""",
    "a head that runs for its statistics": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.side = nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.3))
    def forward(self, x):
        h = torch.relu(self.inner(x))
        self.side(h)
        return self.outer(h)
""",
    "a rate of zero": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        F.dropout(h, 0.0, self.training)
        return self.outer(h)
""",
}


MODELS = {
    **{f"{name} (faulty)": marked_form(forward, True) for name, forward in FORWARDS.items()},
    **{f"{name} (right)": marked_form(forward, False) for name, forward in FORWARDS.items()},
    **RIGHT,
}
END = "\n\nmodel = Net()\ninputs = (torch.randn(6, 8),)\n"
SOURCES = {name: PRELUDE + model + END for name, model in MODELS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    for number, source in enumerate(SOURCES.values()):
        (path / f"model_{number}.py").write_text(source, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scanned(folder: Path) -> dict[str, list[int]]:
    return scanned_lines([folder], "REG405")


@pytest.mark.parametrize("name", SOURCES)
def test_a_scan_reports_each_lost_result(name: str, scanned: dict[str, list[int]]) -> None:
    """A scan reports the dropouts whose result no code reads, and no other."""
    assert set(scanned.get(f"model_{[*SOURCES].index(name)}.py", ())) == marked(SOURCES[name])


@pytest.mark.parametrize("name", SOURCES)
def test_an_audit_confirms_each_lost_result(name: str, folder: Path) -> None:
    """An audit reports the same lines, and confirms that the call changes no output."""
    path = folder / f"model_{[*SOURCES].index(name)}.py"
    scope: dict[str, object] = {"__name__": "models"}
    exec(compile(SOURCES[name], str(path), "exec"), scope)
    report = audit(scope["model"], *scope["inputs"], options={"select": ["REG405"], "devices": ["cpu"]})
    found = {(each.line, each.severity, each.evidence.verdict) for each in report.findings}
    assert found == {(line, Severity.WARNING, Verdict.CONFIRMED) for line in marked(SOURCES[name])}
