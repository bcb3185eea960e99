"""REG407: rates at places where the literature drops less, and the same rates at places where they are usual."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.finding import Verdict
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

from .faulty_and_right import marked, marked_form

PRELUDE = """\
import math
import torch
from torch import nn
from torch.nn import functional as F


class Base(nn.Module):
    shape = (8, 12, 32)

    def __init__(self, width=32):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.out, self.head = nn.Linear(width, width), nn.Linear(width, 4)
        self.drop, self.light = nn.Dropout(0.5), nn.Dropout(0.1)


class Pictures(nn.Module):
    shape = (4, 3, 16, 16)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, padding=1)
        self.norm, self.narrow = nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
        self.drop, self.light, self.maps = nn.Dropout(0.6), nn.Dropout(0.2), nn.Dropout2d(0.5)


"""

MODELS = {
    "attention by hand": """
class Net(Base):
    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(-2, -1) / math.sqrt(32)
        weights = scores.masked_fill(torch.ones(12, 12).triu(1) > 0, -1e9).softmax(dim=-1)
        &weights = self.drop(weights)  # <-
        #weights = self.light(weights)
        return self.head((weights @ self.value(x)).mean(1))
""",
    "attention by einsum in heads": """
class Net(Base):
    def heads(self, x):
        return x.view(8, 12, 4, 8).transpose(1, 2)
    def forward(self, x):
        q, k, v = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        weights = F.softmax(torch.einsum("bhqd,bhkd->bhqk", q, k) * 0.35, dim=-1)
        &weights = F.dropout(weights, 0.55, self.training)  # <-
        #weights = F.dropout(weights, 0.2, self.training)
        x = torch.matmul(weights, v).transpose(1, 2).reshape(8, 12, 32)
        return self.head(self.drop(torch.relu(self.out(x).mean(1))))
""",
    "attention in one function": """
class Net(Base):
    def forward(self, x):
        &rate = 0.5 if self.training else 0.0
        #rate = 0.1 if self.training else 0.0
        x = F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x), dropout_p=rate)  # <-
        return self.head(x.mean(1))
""",
    "attention as a layer": """
class Net(Base):
    def __init__(self):
        super().__init__()
        &self.attention = nn.MultiheadAttention(32, 4, dropout=0.6, batch_first=True)
        #self.attention = nn.MultiheadAttention(32, 4, dropout=0.1, batch_first=True)
    def forward(self, x):
        x, _ = self.attention(x, x, x)  # <-
        return self.head(x.mean(1))
""",
    "pooling by learned scores": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.score = nn.Parameter(torch.randn(32, 1))
    def forward(self, x):
        h = torch.tanh(self.out(x))
        #weights = self.drop((h @ self.score).softmax(1))
        &weights = self.drop((self.query(h) @ self.key(h).mT).softmax(-1))  # <-
        return self.head((weights.mT @ h).mean(1))
""",
    "a residual branch after its layer": """
class Net(Base):
    def forward(self, x):
        h = torch.relu(self.query(x))
        &x = x + self.drop(self.out(h))  # <-
        #x = x + self.out(self.drop(h))
        return self.head(x.mean(1))
""",
    "a residual branch in a stack of blocks": """
class Block(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)
        self.drop = nn.Dropout(rate)
    def forward(self, x):
        h = self.outer(F.gelu(self.inner(self.norm(x))))
        return self.drop(h).add(x)  # <-
class Net(Base):
    def __init__(self):
        super().__init__()
        &self.blocks = nn.Sequential(*[Block(0.5) for _ in range(2)])
        #self.blocks = nn.Sequential(*[Block(0.3) for _ in range(2)])
    def forward(self, x):
        return self.head(self.blocks(x).mean(1))
""",
    "a sum with an embedding of positions": """
class Net(Base):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(12, 32))
    def forward(self, x):
        x = torch.relu(self.query(x))
        &x = x + F.dropout(self.key(x), 0.7, self.training)  # <-
        #x = self.positions + F.dropout(x, 0.7, self.training)
        return self.head(self.out(x).mean(1))
""",
    "a residual connection of maps": """
class Net(Pictures):
    def forward(self, x):
        x = self.first(x)
        &x = x + self.maps(self.norm(self.second(x)))  # <-
        #x = x + self.light(self.norm(self.second(x)))
        return self.head(self.hidden(x.mean((2, 3))))
""",
    "maps between convolutions": """
class Net(Pictures):
    def forward(self, x):
        x = torch.relu(self.first(x))
        &x = self.maps(x)  # <-
        #x = F.dropout2d(x, 0.25, self.training)
        x = F.max_pool2d(torch.relu(self.norm(self.second(x))), 2)
        return self.head(self.hidden(x.mean((2, 3))))
""",
    "maps in a sequence": """
class Net(Pictures):
    def __init__(self):
        super().__init__()
        &self.body = nn.Sequential(self.first, nn.ReLU(), nn.Dropout2d(), nn.MaxPool2d(2), self.second)
        #self.body = nn.Sequential(self.first, nn.ReLU(), nn.Dropout2d(0.1), nn.MaxPool2d(2), self.second)
    def forward(self, x):
        for layer in self.body:
            x = layer(x)  # <-
        return self.head(self.hidden(x.amax((2, 3))))
""",
    "maps before the last pointwise layer": """
class Net(Pictures):
    def forward(self, x):
        x = torch.relu(self.first(x))
        &return self.second(self.maps(x))  # <-
        #return self.narrow(self.maps(x))
""",
    "maps of one moving axis": """
class Net(Pictures):
    &shape = (4, 3, 16, 16)
    #shape = (4, 3, 64)
    def __init__(self):
        super().__init__()
        #self.first, self.second = nn.Conv1d(3, 16, 3), nn.Conv1d(16, 16, 3)
    def forward(self, x):
        x = self.drop(torch.relu(self.first(x)))  # <-
        return self.head(self.hidden(self.second(x).flatten(2).mean(2)))
""",
    "maps of a generator": """
class Net(Pictures):
    def __init__(self):
        super().__init__()
        &self.up = nn.Conv2d(16, 16, 4)
        #self.up = nn.ConvTranspose2d(16, 16, 4)
    def forward(self, x):
        x = self.maps(torch.relu(self.up(self.first(x))))  # <-
        return self.second(x)
""",
    "hidden units and the last layer": """
class Net(Pictures):
    def forward(self, x):
        &x = F.relu(self.second(self.drop(F.relu(self.first(x)))))  # <-
        #x = F.relu(self.second(F.relu(self.first(x))))
        x = self.drop(x.mean((2, 3)))
        return self.head(self.drop(torch.relu(self.hidden(x))))
""",
    "features of an image as input": """
class Net(nn.Module):
    shape = (8, 28, 28)
    def __init__(self):
        super().__init__()
        &self.layers = nn.Sequential(nn.Dropout(0.5), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
        #self.layers = nn.Sequential(nn.Dropout(0.2), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    def forward(self, x):
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x)  # <-
        return x
""",
    "pixels as input": """
class Net(Pictures):
    def forward(self, x):
        &x = self.first(self.drop(x / 255))  # <-
        #x = self.drop(self.first(x / 255).relu().mean((2, 3)))
        #return self.head(self.hidden(x))
        return self.head(self.hidden(x.relu().mean((2, 3))))
""",
    "an autoencoder": """
class Net(nn.Module):
    shape = (8, 40)
    def __init__(self):
        super().__init__()
        &self.encoder, self.last = nn.Linear(40, 8), nn.Linear(8, 5)
        #self.encoder, self.decoder = nn.Linear(40, 8), nn.Linear(8, 40)
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        h = torch.tanh(self.encoder(self.drop(x)))  # <-
        &return self.last(h)
        #return self.decoder(h)
""",
    "a head on given features": """
class Net(nn.Module):
    shape = (8, 40)
    def __init__(self):
        super().__init__()
        &self.hidden, self.head = nn.Linear(40, 40), nn.Linear(40, 3)
        #self.hidden, self.head = nn.Identity(), nn.Linear(40, 3)
    def forward(self, x):
        x = F.dropout(x, 0.5, self.training)  # <-
        return self.head(torch.relu(self.hidden(x)))
""",
    "words and their embeddings": """
class Net(nn.Module):
    shape = (8, 40)
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(9, 40)
        self.hidden, self.head = nn.Linear(40, 16), nn.Linear(16, 3)
    def forward(self, x):
        &x = F.dropout(x, 0.5, self.training)  # <-
        #x = F.dropout(self.words(x.abs().long()), 0.5, self.training).mean(1)
        return self.head(torch.relu(self.hidden(x)))
""",
    "a rate that is reported at any place": """
class Net(Base):
    def forward(self, x):
        &h = F.dropout(self.out(torch.relu(self.query(x))), 0.79, self.training)  # <-
        #h = F.dropout(self.out(torch.relu(self.query(x))), 0.8, self.training)
        return self.head((x + h).mean(1))
""",
}
END = "\n\nmodel, inputs = Net(), (torch.randn(Net.shape),)\n"
SOURCES = {
    f"{name} ({'faulty' if faulty else 'right'})": PRELUDE + marked_form(model, faulty) + END
    for name, model in MODELS.items()
    for faulty in (True, False)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models")
    for number, source in enumerate(SOURCES.values()):
        (path / f"model_{number}.py").write_text(source, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scanned(folder: Path) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for each in scan([folder], {"select": ["REG407"]}).findings:
        found.setdefault(Path(each.path or "").name, set()).add(each.line or 0)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_scan_reports_rates_out_of_place(name: str, scanned: dict[str, set[int]]) -> None:
    """A scan reports the rates that are unusual at their place, and no other."""
    assert scanned.get(f"model_{[*SOURCES].index(name)}.py", set()) == marked(SOURCES[name])


@pytest.mark.parametrize("name", SOURCES)
def test_an_audit_confirms_rates_out_of_place(name: str, folder: Path) -> None:
    """An audit confirms the same findings by what the calls drop."""
    path = folder / f"model_{[*SOURCES].index(name)}.py"
    module: dict[str, object] = {"__name__": "models"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module)
    model, inputs = module["model"], module["inputs"]
    report = audit(model, *inputs, options={"select": ["REG407"]})
    assert {each.line for each in report.findings} == marked(SOURCES[name])
    assert all(each.evidence and each.evidence.verdict is Verdict.CONFIRMED for each in report.findings)
