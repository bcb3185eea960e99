"""REG406: models that draw a mask once for every batch, and the same models with a mask for each call."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Severity, Verdict
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

from .faulty_and_right import marked, marked_form

PRELUDE = """\
import functools

import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.inner = nn.Linear(8, 40)
        self.outer = nn.Linear(40, 3)

    def draw(self, like):
        return torch.bernoulli(torch.full_like(like, 1 - self.rate)) / (1 - self.rate)


"""

FORWARDS = {
    "an attribute that the first call fills": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.mask = None
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            &if self.mask is None or self.mask.shape != h.shape:
            #if True:
                self.mask = torch.bernoulli(torch.full_like(h, 0.7)) / 0.7
            h = h * self.mask  # <-
        return self.outer(h)
""",
    "an attribute that the constructor draws": """
class Net(Base):
    def __init__(self):
        super().__init__()
        keep = (torch.rand(40) > self.rate).float()
        self.mask = keep / (1 - self.rate)
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if not self.training:
            return self.outer(h)
        #self.mask = (torch.rand(40) > self.rate).float() / (1 - self.rate)
        return self.outer(h * self.mask)  # <-
""",
    "a buffer": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("links", torch.bernoulli(torch.full((40,), 0.5)))
    def forward(self, x):
        h = torch.relu(self.inner(x))
        #self.links.bernoulli_(0.5)
        return self.outer(h * self.links * 2 if self.training else h)  # <-
""",
    "a local name, and a product in place": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.kept = (torch.rand(1, 40) < 0.6) / 0.6
    def forward(self, x):
        h = torch.tanh(self.inner(x)) + 0.0
        if self.training:
            &mask = self.kept.to(h.dtype)
            #mask = ((torch.rand(1, 40) < 0.6) / 0.6).to(h.dtype)
            h *= mask  # <-
        return self.outer(h)
""",
    "a missing attribute": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            &if not hasattr(self, "zeros"):
            #if True:
                self.zeros = torch.rand_like(h) < self.rate
            h = h.masked_fill(self.zeros, 0.0) / (1 - self.rate)  # <-
        return self.outer(h)
""",
    "a method with a cache": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self._kept = None
    def kept(self, h):
        &if self._kept is not None:
            &return self._kept
        self._kept = F.dropout(torch.ones_like(h), self.rate)
        return self._kept
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            h = h * self.kept(h)  # <-
        return self.outer(h)
""",
    "a dictionary of masks": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.masks = {}
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            key = tuple(h.shape)
            &if key not in self.masks:
            #if True:
                self.masks[key] = torch.bernoulli(torch.full(key, 0.8)) / 0.8
            h = self.masks[key] * h  # <-
        return self.outer(h)
""",
    "a default argument": """
&def thin(h, training, mask=torch.bernoulli(torch.full((40,), 0.5)) * 2):
#def thin(h, training):
    if not training:
        return h
    #mask = torch.bernoulli(torch.full((40,), 0.5)) * 2
    return torch.mul(h, mask)  # <-
class Net(Base):
    def forward(self, x):
        return self.outer(thin(torch.relu(self.inner(x)), self.training))
""",
    "a constant of the module": """
KEPT = (torch.rand(40) > 0.25).float() / 0.75
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        #KEPT = (torch.rand(40) > 0.25).float() / 0.75
        if self.training:
            h = h * KEPT  # <-
        return self.outer(h)
""",
    "a cached function": """
&@functools.lru_cache(maxsize=None)
def mask_of(width, keep):
    return torch.bernoulli(torch.full((width,), keep)) / keep
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            h = h * mask_of(h.shape[-1], 0.6)  # <-
        return self.outer(h)
""",
    "a layer of its own in a sequence": """
class Thin(nn.Module):
    def __init__(self, width, keep):
        super().__init__()
        self.build(width, keep)
    def build(self, width, keep):
        self.mask = torch.bernoulli(torch.full((width,), keep)) / keep
    def forward(self, x):
        #self.build(x.shape[-1], 0.5)
        return torch.where(self.mask > 0, x * 2, 0.0) if self.training else x  # <-
class Net(Base):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), Thin(40, 0.5), nn.Linear(40, 3))
    def forward(self, x):
        return self.body(x)
""",
}

RIGHT = {
    "sparse links, in both modes": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("links", (torch.rand(40, 8) < 0.5).float())
    def forward(self, x):
        h = torch.relu(F.linear(x, self.inner.weight * self.links))
        return self.outer(h)
""",
    "reset by the loop": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.mask = None
    def reset_mask(self):
        self.mask = None
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            if self.mask is None:
                self.mask = self.draw(h)
            h = h * self.mask
        return self.outer(h)
""",
    "reset from outside": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.mask = None
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            if self.mask is None:
                self.mask = torch.bernoulli(torch.full_like(h, 0.5)) * 2
            h = h * self.mask
        return self.outer(h)
def begin_epoch(net):
    net.mask = None
""",
    "one mask for all steps": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 40)
        self.mask = None
    def forward(self, x):
        self.mask = None
        state = torch.zeros(x.size(0), 40)
        for _ in range(3):
            state = self.cell(x, state)
            if self.training:
                if self.mask is None:
                    self.mask = torch.bernoulli(torch.full_like(state, 0.5)) * 2
                state = state * self.mask
        return self.outer(state)
""",
    "one mask for each sequence": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.mask = None
    def step(self, h, t):
        if self.training:
            if self.mask is None or t == 0:
                self.mask = torch.bernoulli(torch.full_like(h, 0.5)) * 2
            h = h * self.mask
        return h
    def forward(self, x):
        h = torch.relu(self.inner(x))
        for t in range(2):
            h = self.step(h, t)
        return self.outer(h)
""",
    "drawn anew every hundred calls": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.age = 0
        self.mask = (torch.rand(40) < 0.5) * 2.0
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            self.age += 1
            if self.age % 100 == 0:
                self.mask = (torch.rand(40) < 0.5) * 2.0
            h = h * self.mask
        return self.outer(h)
""",
    "random features": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("projection", torch.randn(8, 40))
        self.register_buffer("scales", torch.rand(40))
    def forward(self, x):
        h = torch.cos(x @ self.projection)
        if self.training:
            h = h * self.scales
        return self.outer(h)
""",
    "a causal mask": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("causal", torch.ones(40, 40).tril())
        self.shuffle = torch.rand(3)
    def forward(self, x):
        h = torch.relu(self.inner(x))
        if self.training:
            h = h * self.causal[-2]
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
def scanned(folder: Path) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for number in range(len(SOURCES)):
        for each in scan([folder / f"model_{number}.py"], {"select": ["REG406"]}).findings:
            found.setdefault(Path(each.path or "").name, set()).add(each.line or 0)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_scan_reports_each_reused_mask(name: str, scanned: dict[str, set[int]]) -> None:
    """A scan reports the products with a mask that is drawn once, and no other."""
    assert scanned.get(f"model_{[*SOURCES].index(name)}.py", set()) == marked(SOURCES[name])


@pytest.mark.parametrize("name", SOURCES)
def test_an_audit_confirms_each_reused_mask(name: str, folder: Path) -> None:
    """An audit reports the same lines, and confirms that two calls drop the same units."""
    path = folder / f"model_{[*SOURCES].index(name)}.py"
    scope: dict[str, object] = {"__name__": "models"}
    exec(compile(SOURCES[name], str(path), "exec"), scope)
    report = audit(scope["model"], *scope["inputs"], options={"select": ["REG406"], "devices": ["cpu"]})
    found = {(each.line, each.severity, each.evidence.verdict) for each in report.findings}
    assert found == {(line, Severity.WARNING, Verdict.CONFIRMED) for line in marked(SOURCES[name])}
