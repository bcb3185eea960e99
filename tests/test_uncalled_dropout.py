"""REG207: dropout layers that are registered and never called, and the same models in which some code calls them."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import nn

from regcheck.core.finding import Verdict
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

from .faulty_and_right import marked, marked_form

IMPORTS = """\
import argparse
import torch
from torch import nn
from torch.nn import functional as F
"""

MODELS = {
    "a script": """
class Rainfall(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.3)  # <-
        self.outer = nn.Linear(16, 3)
    def forward(self, x):
        h = torch.relu(self.inner(x))
        &return self.outer(h)
        #return self.outer(self.drop(h))
model = Rainfall()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
""",
    "a rate from the command line": """
class Quakes(nn.Module):
    def __init__(self, width, dropout):
        super().__init__()
        self.inner = nn.Linear(8, width)
        self.dropout = nn.Dropout(p=dropout)  # <-
        self.act = nn.ReLU()
        self.outer = nn.Linear(width, 3)
    def forward(self, x):
        &return self.outer(self.act(self.inner(x)))
        #return self.outer(self.dropout(self.act(self.inner(x))))
def build(args):
    return Quakes(args.width, args.dropout)
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--dropout", type=float, default=0.2)
model = build(parser.parse_args([]))
""",
    "a block, of which another class has a dropout of this name": """
class Attention(nn.Module):
    def __init__(self, width, rate):
        super().__init__()
        self.mix = nn.Linear(width, width)
        self.drop = nn.Dropout(rate)
    def forward(self, x):
        return self.drop(self.mix(x))
class Block(nn.Module):
    def __init__(self, width, rate=0.1):
        super().__init__()
        self.attention = Attention(width, rate)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.drop = nn.Dropout(rate)  # <-
    def forward(self, x):
        x = x + self.attention(x)
        &return x + self.feed(x)
        #return x + self.drop(self.feed(x))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(8, 0.2) for _ in range(2)])
        self.head = nn.Linear(8, 2)
    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)
model = Net()
""",
    "a base class whose subclasses write the forward": """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)
        self.between: nn.Module = nn.AlphaDropout(0.2)  # <-
class Net(Base):
    def forward(self, x):
        &return self.outer(F.selu(self.inner(x)))
        #return self.outer(self.between(F.selu(self.inner(x))))
model = Net()
""",
    "helpers and an initialization": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)
        self.input_drop = nn.Dropout(0.1)
        self.hidden_drop = nn.Dropout(0.4)  # <-
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
        self.apply(self._init)
    def _init(self, module):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
    def encode(self, x):
        return torch.relu(self.inner(self.input_drop(x)))
    def forward(self, x):
        &return self.outer(self.encode(x))
        #return self.outer(self.hidden_drop(self.encode(x)))
model = Net()
for part in model.modules():
    part.requires_grad_(True)
""",
    "a closure that builds the class": """
def make(width):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv1d(2, width, 3)
            self.spatial = nn.Dropout1d(0.25)  # <-
            self.outer = nn.Linear(width, 3)
        def forward(self, x):
            h = torch.relu(self.inner(x.view(-1, 2, 4)))
            &return self.outer(h.mean(2))
            #return self.outer(self.spatial(h).mean(2))
    return Net()
model = make(16)
""",
    "only its rate is read": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 16), nn.Linear(16, 3)
        self.rate = 0.3
        self.drop = nn.Dropout(self.rate)  # <-
    def forward(self, x):
        h = torch.relu(self.inner(x))
        &h = F.dropout(h, self.rate, self.training)
        #h = F.dropout(h, self.drop.p, self.training)
        return self.outer(h)
model = Net()
""",
    "a list beside the list of layers": """
class Soil(nn.Module):
    def __init__(self, widths=(8, 16, 16), rate=0.2):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in zip(widths, widths[1:])])
        self.drops = nn.ModuleList([nn.Dropout(rate) for _ in widths[1:]])  # <-
        self.head = nn.Linear(widths[-1], 2)
    def forward(self, x):
        &for layer in self.layers:
        &    x = torch.relu(layer(x))
        #for layer, drop in zip(self.layers, self.drops):
        #    x = drop(torch.relu(layer(x)))
        return self.head(x)
model = Soil()
""",
    "a list that grows": """
class Crops(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList()
        self.drops = nn.ModuleList()
        for _ in range(2):
            self.layers.append(nn.Linear(8, 8))
            self.drops.append(nn.Dropout(0.3))  # <-
        self.head = nn.Linear(8, 2)
    def forward(self, x):
        for index, layer in enumerate(self.layers):
            &x = torch.relu(layer(x))
            #x = self.drops[index](torch.relu(layer(x)))
        return self.head(x)
model = Crops()
""",
    "a dict and a sequence": """
class Ferns(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.heads = nn.ModuleDict({"age": nn.Linear(8, 2), "size": nn.Linear(8, 2)})
        self.drops = nn.ModuleDict({"age": nn.Dropout(0.3), "size": nn.Identity()})  # <-
        self.noise = nn.Sequential(nn.Identity(), nn.Dropout(0.1))  # <-
    def forward(self, x):
        #x = self.noise(x)
        #x = self.drops["age"](x)
        x = self.inner(x)
        return self.heads["age"](x), self.heads["size"](x)
model = Ferns()
""",
    "registered by a call": """
class Moths(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.add_module("inner", nn.Linear(8, 16))
        self.add_module("drop", nn.Dropout(rate))  # <-
        setattr(self, "between", nn.AlphaDropout(0.1))  # <-
        self.register_module("outer", nn.Linear(16, 3))
    def forward(self, x):
        h = F.selu(self.inner(x))
        #h = self.between(self.drop(h))
        return self.outer(h)
model = Moths()
""",
    "children of other models": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
        self.drop = nn.Dropout(0.3)  # <-
        self.outer = nn.Linear(16, 3)
    def forward(self, x):
        for each in self.body.children():
            x = each(x)
        &return self.outer(x)
        #return self.outer(self.drop(x))
class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
    def forward(self, x):
        return self.body(x)
def pictures():
    from torchvision import models
    backbone = models.resnet18()
    backbone = backbone.to("cpu")
    return nn.Sequential(*list(backbone.children())[:-1], *list(backbone.modules())[:1])
model = Net()
other = Features().eval()
first = nn.Sequential(*list(other.children())[:1])
""",
}

RIGHT = {
    "a rate of zero": """
class Net(nn.Module):
    def __init__(self, rate=0.0):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(rate)
    def forward(self, x):
        return self.inner(x)
model = Net()
""",
    "called by some branch only": """
class Net(nn.Module):
    def __init__(self, deep=False):
        super().__init__()
        self.deep = deep
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        x = self.inner(x)
        return self.drop(x) if self.deep else x
model = Net()
""",
    "read by name": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.drop1 = nn.Linear(8, 3), nn.Dropout(0.3)
        self.drop2 = nn.Dropout(0.3)
        self.stage = 1
    def forward(self, x):
        x = self.inner(x)
        return getattr(self, f"drop{self.stage}")(x)
model = Net()
""",
    "run as a child": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
        self.depth = 1
    def forward(self, x):
        for number, child in enumerate(self.children()):
            x = child(x) if number < self.depth else x
        return x
model = Net()
""",
    "members of a list": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drops = nn.ModuleList([nn.Dropout(0.1), nn.Dropout(0.2)])
    def forward(self, x):
        return self.drops[0](self.inner(x))
model = Net()
""",
    "a list of which one is called in some branch": """
class Net(nn.Module):
    def __init__(self, depth=1):
        super().__init__()
        self.inner, self.depth = nn.Linear(8, 3), depth
        self.drops = nn.ModuleList([nn.Dropout(0.1) for _ in range(3)])
    def forward(self, x):
        x = self.inner(x)
        for index in range(1, self.depth):
            x = self.drops[index](x)
        return x
model = Net()
""",
    "a list with a layer that nothing calls": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.former = nn.ModuleList([nn.Linear(8, 8), nn.Dropout(0.2)])
    def forward(self, x):
        return self.inner(x)
model = Net()
""",
    "registered under a computed name": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        for index in range(2):
            self.add_module(f"drop{index}", nn.Dropout(0.3))
    def forward(self, x):
        return getattr(self, "drop" + str(0))(self.inner(x))
model = Net()
""",
    "registered by a call and run by another name": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.add_module("drop", nn.Dropout(0.3))
    def forward(self, x):
        return self._modules["drop"](self.inner(x))
model = Net()
""",
    "children of a subclass": """
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
class Net(Base):
    pass
model = Base()
net = Net().to("cpu")
features = nn.Sequential(*net.children())
""",
    "modules of a model around it": """
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = Part()
    def forward(self, x):
        return self.part(x)
model = Net()
drops = [each for each in model.modules() if isinstance(each, nn.Dropout)]
""",
    "restored from older pickles": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def __setstate__(self, state):
        super().__setstate__({**state, "version": 2})
    def forward(self, x):
        return self.inner(x)
model = Net()
""",
    "one of several remnants": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.former = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
model = Net()
""",
    "called by the program": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
model = Net()
def loss(x):
    return model.drop(model(x)).sum()
""",
    "called by a subclass": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
class Dropping(Net):
    def forward(self, x):
        return self.drop(super().forward(x))
model = Net()
""",
    "a base class of a library of torch": """
class Net(nn.LSTM):
    def __init__(self):
        super().__init__(8, 4)
        self.dropout = nn.Dropout(0.3)
    def forward(self, x):
        return super().forward(x)[0]
model = nn.Linear(8, 8)
""",
    "an alias in a container": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        drop = nn.Dropout(0.3)
        self.drop = drop
        self.body = nn.Sequential(nn.Linear(8, 3), drop)
    def forward(self, x):
        return self.body(x)
model = Net()
""",
    "children listed for another model": """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 3)
        self.drop = nn.Dropout(0.3)
    def forward(self, x):
        return self.inner(x)
model = Net()
features = nn.Sequential(*list(model.children())[:2])
""",
}


def imported(source: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The model of a program."""
    spec = spec_from_file_location(source.stem, source)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, source.stem, module)
    spec.loader.exec_module(module)
    model: nn.Module = module.model
    return model


SELECT = {"select": ["REG207"], "devices": ("cpu",)}
FORMS = [(name, faulty) for name in MODELS for faulty in (True, False)] + [(name, False) for name in RIGHT]


@pytest.fixture(name="source", params=FORMS, ids=lambda each: f"{each[0]}-{'faulty' if each[1] else 'right'}")
def source_of(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, faulty = request.param
    file = tmp_path / "program_without_dropout.py"
    file.write_text(IMPORTS + (marked_form(MODELS[name], faulty) if name in MODELS else RIGHT[name]) + "\n")
    return file


def test_the_source_shows_which_dropout_is_never_called(source: Path) -> None:
    """A scan reports a registered dropout that no code reads, at the line that builds it, and no other."""
    report = scan([source], SELECT)
    assert {each.line for each in report.findings} == marked(source.read_text())
    assert not report.not_checked


def test_runs_confirm_which_dropout_is_never_called(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit reports it at the same line, confirmed by train-mode runs that never call the layer."""
    report = audit(imported(source, monkeypatch), torch.randn(4, 8), options=SELECT)
    assert {each.line for each in report.findings} == marked(source.read_text())
    assert {each.evidence.verdict for each in report.findings} <= {Verdict.CONFIRMED}


@pytest.mark.parametrize("reads", [True, False])
def test_files_count_whether_or_not_they_are_loaded(
    reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the project that the program does not import may call the layer all the same, to both doors."""
    (tmp_path / "pyproject.toml").touch()
    model = tmp_path / "package" / "rainfall.py"
    model.parent.mkdir()
    model.write_text(IMPORTS + marked_form(MODELS["a script"], True) + "\n")
    user = tmp_path / "tools" / "uncertainty.py"
    user.parent.mkdir()
    user.write_text(f"from package.rainfall import model\nloss = model.{'drop' if reads else 'outer'}(model(x))\n")
    expected = set() if reads else marked(model.read_text())
    assert {each.line for each in scan([model], SELECT).findings} == expected
    report = audit(imported(model, monkeypatch), torch.randn(4, 8), options=SELECT)
    assert {each.line for each in report.findings} == expected
