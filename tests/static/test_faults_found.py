"""Wrong code in the many ways it is written: exactly the marked lines are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.core.rule import Example
from regcheck.engine.scan import scan

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn, optim\n"

WRONG = {
    ("REG202", "the base is of another library, and the class is a module for what it does"): HEADER
    + """
from elsewhere import BaseModel
class Net(BaseModel):
    def __init__(self, config):
        super().__init__(config)
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(F.dropout(x, 0.5))  # <-
""",
    ("REG202", "a framework's base, through a class of another file"): HEADER
    + """
from ..modeling import PreTrainedModel
class Base(PreTrainedModel):
    pass
class Net(Base):
    def __init__(self, config):
        super().__init__(config)
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(F.dropout(x, 0.5))  # <-
""",
    ("REG202", "an attention rate from a configuration, as in nanoGPT"): HEADER
    + """
class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.dropout = config.dropout
        self.flash = hasattr(F, "scaled_dot_product_attention")
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.flash:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout, is_causal=True)  # <-
        return F.dropout(F.softmax(q @ k.transpose(-2, -1), -1), self.dropout, self.training) @ v
""",
    ("REG202", "attention of other packages"): HEADER
    + """
import xformers.ops as xops
from xformers.ops import memory_efficient_attention
try:
    from flash_attn import flash_attn_func, flash_attn_qkvpacked_func
    from flash_attn.flash_attn_interface import flash_attn_varlen_func
except ImportError:
    flash_attn_func = None
class Attention(nn.Module):
    def __init__(self, dim, rate=0.1):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.drop = nn.Dropout(rate)
        self.rate = rate
    def forward(self, x, starts, longest):
        qkv = self.qkv(x)
        q, k, v = qkv.chunk(3, dim=-1)
        a = flash_attn_func(q, k, v, self.rate, causal=True)  # <-
        b = flash_attn_qkvpacked_func(qkv, self.drop.p)  # <-
        c = flash_attn_varlen_func(q, k, v, starts, starts, longest, longest, dropout_p=self.rate)  # <-
        d = xops.memory_efficient_attention(q, k, v, p=self.rate)  # <-
        e = memory_efficient_attention(q, k, v, None, 0.1)  # <-
        return a + b + c + d + e
""",
    ("REG202", "behind a switch that is off by default"): HEADER
    + """
class Attention(nn.Module):
    def __init__(self, dim, rate, use_sdpa: bool = False, *, full_dropout=False, causal=False):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.rate, self.use_sdpa, self.full_dropout, self.causal = rate, use_sdpa, full_dropout, causal
        self.drop = nn.Dropout(rate)
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.full_dropout:
            v = F.dropout(v, self.rate)  # <-
        if self.causal:
            return F.dropout(v, self.rate)
        if self.use_sdpa:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)  # <-
        return self.drop((q @ k.transpose(-2, -1)).softmax(-1)) @ v
class Encoder(nn.Module):
    def __init__(self, use_flash=False):
        super().__init__()
        self.attend = Attention(16, 0.2, use_flash)
    def forward(self, x):
        return self.attend(x)
""",
    ("REG203", "a mask that is drawn into a new tensor"): HEADER
    + """
class Net(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        mask = x.new().resize_((x.size(1), 1)).bernoulli_(1 - self.rate).expand_as(x) / (1 - self.rate)  # <-
        return self.fc(mask * x)
""",
    ("REG202", "aliases"): """
import torch.nn.functional as TF
from torch.nn import Module as Base, Linear as L
from torch.nn.functional import dropout as thin
class Net(Base):
    def __init__(self):
        super(Net, self).__init__()
        self.fc = L(4, 4)
    def forward(self, x):
        x = thin(x, 0.5)  # <-
        x = TF.dropout2d(x)  # <-
        return self.fc(TF.dropout(x, training=self.training))
""",
    ("REG202", "a layer imported from torch.nn.modules"): """
import torch
from torch.nn.modules.dropout import Dropout
class Net(torch.nn.Module):
    def forward(self, x):
        return Dropout(0.5)(x)  # <-
""",
    ("REG202", "the mode is asked elsewhere in the class"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        if self.training:
            print("training")
        return self.fc(F.dropout(x, 0.5))  # <-
""",
    ("REG202", "a flash path ungated beside a gated path"): HEADER
    + """
class Attention(nn.Module):
    def __init__(self, dim, rate=0.1):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.rate = rate
        self.flash = hasattr(F, "scaled_dot_product_attention")
        self.drop = nn.Dropout(rate)
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.flash:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate)  # <-
        return self.drop((q @ k.transpose(-2, -1)).softmax(-1)) @ v
""",
    ("REG202", "a rate that is zero by default and set where the class is used"): HEADER
    + """
class Attention(nn.Module):
    def __init__(self, rate=0.0):
        super().__init__()
        self.rate = rate
    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, x, dropout_p=self.rate)  # <-
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = Attention(rate=0.2)
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return self.fc(self.attend(x))
""",
    ("REG202", "in a helper function of the file"): HEADER
    + """
def thinned(x, p=0.5):
    return F.dropout(x, p)  # <-
class Net(nn.Module):
    def forward(self, x):
        return thinned(x)
""",
    ("REG202", "in a method, by keyword, in a loop, through a dict"): HEADER
    + """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
    def body(self, x):
        for index, layer in enumerate(self.layers):
            x = F.dropout(layer(x), p=self.p, training=True)  # <-
        return x
    def forward(self, x):
        return {"features": self.body(x)}
""",
    ("REG202", "where a fixed setting decides"): HEADER
    + """
class Net(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p
    def forward(self, x):
        if self.p > 0:
            x = F.dropout(x, self.p)  # <-
        return x
""",
    ("REG204", "an unregistered layer in a plain list"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.drops = [nn.Dropout(0.5), nn.Dropout(0.5)]
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        for drop in self.drops:
            x = self.fc(drop(x))  # <-
        return x
""",
    ("REG202", "inherited"): HEADER
    + """
class Base(nn.Module):
    def forward(self, x):
        return self.tail(F.dropout(x))  # <-
class Net(Base):
    def __init__(self):
        super().__init__()
        self.tail = nn.Linear(4, 4)
""",
    ("REG202", "a gate that is no gate"): HEADER
    + """
class Net(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, training=self.training or True)  # <-
""",
    ("REG202", "a rate by a name that settings have, too"): HEADER
    + """
class Attention(nn.Module):
    def __init__(self, dropout=0.1):
        super().__init__()
        self.dropout = dropout
        self.out = nn.Linear(4, 4)
    def forward(self, q, k, v):
        return self.out(F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout))  # <-
def architecture(args, run):
    args.dropout = getattr(args, "dropout", 0.3)
    run.base_config.dropout = 0.2
""",
    ("REG203", "a drawn result, over which a part is written"): HEADER
    + """
class Tokens(nn.Module):
    def __init__(self, rate=0.1, drop_whole=False):
        super().__init__()
        self.rate, self.drop_whole = rate, drop_whole
        self.embed = nn.Embedding(8, 4)
        self.shared = nn.Parameter(torch.zeros(1, 2))
    def forward(self, x):
        out = self.embed(x)
        if self.drop_whole:
            mask = out.new().resize_(out.size(1), 1).bernoulli_(1 - self.rate)  # <-
            out = out * mask / (1 - self.rate)
        out[:, : self.shared.shape[1]] = self.shared.expand(out.shape[0], -1)
        return out
""",
    ("REG203", "values set to zero at drawn places, and others scaled in place"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        x = self.fc(x)
        x[torch.rand_like(x) < 0.1] = 0.0  # <-
        x[:, 2:] *= torch.rand(x.shape[0], 1)  # <-
        x[:, 0].mul_(torch.rand(x.shape[0]))  # <-
        return x
""",
    ("REG101", "predictions put together of parts"): HEADER
    + """
class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.drop = nn.Linear(16, 32), nn.Dropout(0.3)
        self.scores, self.boxes = nn.Linear(32, 6), nn.Linear(32, 4)
    def forward(self, x):
        x = torch.relu(self.body(x))
        result = x.new_zeros(x.size(0), 10)
        result[:, :6] = self.drop(self.scores(x))  # <-
        result[:, 6:] = self.boxes(x)
        return result
head = Head()
F.mse_loss(head(torch.ones(2, 16)), torch.zeros(2, 10)).backward()
""",
    ("REG203", "in place, and as a mask"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        mask = torch.empty_like(x).bernoulli_(0.5)  # <-
        noise = torch.zeros(4)
        noise.normal_()  # <-
        return self.fc(x * mask) + noise
""",
    ("REG203", "a pooling that draws"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.pool = nn.FractionalMaxPool2d(2, output_ratio=0.5)
    def forward(self, x):
        return self.pool(self.conv(x))  # <-
""",
    ("REG203", "gumbel softmax of a hidden layer"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
    def forward(self, x):
        return F.gumbel_softmax(self.fc(x), hard=True)  # <-
""",
    ("REG101", "through a criterion and backward"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), nn.Dropout(0.2))  # <-
    def forward(self, x):
        return self.body(x)
def train(loader):
    net, criterion = Net().to("cuda"), nn.CrossEntropyLoss()
    for x, y in loader:
        criterion(net(x), y).backward()
""",
    ("REG101", "one output of a dict"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 2)
        self.b = nn.Linear(4, 2)
        self.drop = nn.Dropout(0.2)
    def forward(self, x):
        return {"a": self.a(self.drop(x)), "b": self.drop(self.b(x)).sigmoid()}  # <-
out = Net()(torch.randn(4, 4))
F.binary_cross_entropy(out["b"], torch.zeros(4, 2)).backward()
""",
    ("REG101", "a Sequential bound to a name"): HEADER
    + """
net = nn.Sequential(
    nn.Linear(4, 4),
    nn.Linear(4, 2),
    nn.Dropout(0.2),  # <-
)
loss = net(torch.randn(4, 4)).sum()
""",
    ("REG102", "layers appended in a loop"): HEADER
    + """
class Net(nn.Module):
    def __init__(self, widths=(3, 8, 16)):
        super().__init__()
        layers = []
        for before, after in zip(widths[:-1], widths[1:]):
            layers.append(nn.Conv2d(before, after, 3))
            layers += [nn.ReLU(inplace=True), nn.Dropout(0.1)]  # <-
        self.features = nn.Sequential(*layers, nn.Conv2d(16, 4, 3))
    def forward(self, x):
        return self.features(x)
""",
    ("REG102", "a factory of blocks"): HEADER
    + """
from collections import OrderedDict
def block(a, b):
    return nn.Sequential(OrderedDict([("conv", nn.Conv2d(a, b, 3)), ("drop", nn.Dropout(0.1))]))  # <-
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = block(3, 8), block(8, 8)
    def forward(self, x):
        return self.two(self.one(x))
""",
    ("REG102", "a factory that returns one of several"): HEADER
    + """
def block(kind, a, b):
    if kind == "plain":
        return nn.Sequential(nn.Conv2d(a, b, 3))
    layers = [nn.Conv2d(a, b, 3), nn.Dropout(0.1)]  # <-
    if kind == "normed":
        layers.append(nn.BatchNorm2d(b))
        return nn.Sequential(*layers, nn.Conv2d(b, b, 3))
    return nn.Sequential(*layers)
""",
    ("REG201", "a trainer object"): HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
    def forward(self, x):
        return self.norm(self.fc(x))
class Trainer:
    def __init__(self, model):
        self.model = model
    def predict(self, x):
        with torch.inference_mode():
            return self.model(x).argmax(1)  # <-
if __name__ == "__main__":
    trainer = Trainer(Net())
    print(trainer.predict(torch.randn(4, 4)))
""",
    ("REG201", "validation after training in each epoch"): HEADER
    + """
net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2))
optimizer = optim.SGD(net.parameters(), lr=0.1)
def train(loader):
    net.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
@torch.no_grad()
def validate(loader):
    return sum((net(x).argmax(1) == y).sum() for x, y in loader)  # <-
def main(loader):
    for epoch in range(10):
        train(loader)
        print(validate(loader))
main(torch.load("batches.pt"))
""",
    ("REG201", "scores before the epochs of a training in helpers, and after each"): HEADER
    + """
net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2))
optimizer = optim.SGD(net.parameters(), lr=0.1)
def loss(x, y):
    return F.cross_entropy(net(x), y)
def descend(value):
    value.backward()
    optimizer.step()
def train(loader):
    for x, y in loader:
        descend(loss(x, y))
@torch.no_grad()
def hits(loader):
    return sum((net(x).argmax(1) == y).sum() for x, y in loader)  # <-
def main(loader):
    print(hits(loader))
    for epoch in range(10):
        train(loader)
        print(hits(loader))
main(torch.load("batches.pt"))
""",
    ("REG301", "aliases, constants, groups, positions"): """
import torch
from torch.optim import Adam as A
from torch.optim.adagrad import Adagrad
DECAY = 1e-4
def never_called(net, decay=1e-2):
    one = A(net.parameters(), weight_decay=decay)  # <-
    two = Adagrad(net.parameters(), 0.1, 0, DECAY)  # <-
    groups = [{"params": net.a, "weight_decay": 0.0}, {"params": net.b, "weight_decay": DECAY}]
    return one, two, A(groups)  # <-
class Lit:
    def __init__(self, decay=0.1):
        self.decay = decay
    def configure_optimizers(self):
        return torch.optim.NAdam(self.parameters(), weight_decay=self.decay)  # <-
""",
    ("REG301", "in one arm of a choice"): """
import sys
import torch
def build(net, name="sgd"):
    if name == "sgd":
        return torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    elif name == "adam":
        return torch.optim.Adam(net.parameters(), weight_decay=0.1)  # <-
    raise ValueError(name)
""",
}


@pytest.mark.parametrize(("code", "source"), [pytest.param(c, s, id=f"{c}: {n}") for (c, n), s in WRONG.items()])
def test_exactly_the_marked_lines_are_reported(tmp_path: Path, code: str, source: str) -> None:
    """Each marked line is reported by its rule, and no other line by any rule."""
    path = tmp_path / "wrong.py"
    path.write_text(source)
    report = scan([path])
    assert {(each.code, each.line) for each in report.findings} == {(code, line) for line in Example(source).marked}
    assert report.not_checked == ()


def test_eval_without_parentheses_leaves_the_mode(tmp_path: Path) -> None:
    """The method that is not called is reported, and so is the prediction in train mode after it."""
    path = tmp_path / "wrong.py"
    model = "net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2))\n"
    path.write_text(HEADER + model + "net.eval\nwith torch.no_grad():\n    print(net(torch.ones(4)))\n")
    assert {(each.code, each.line) for each in scan([path]).findings} == {("REG210", 5), ("REG201", 7)}


def test_files_of_a_project_are_read_together(tmp_path: Path) -> None:
    """A model of one file, built and evaluated by others, is judged with the mode its callers left it in."""
    package = tmp_path / "shop"
    (package / "nets").mkdir(parents=True)
    for folder in (package, package / "nets"):
        (folder / "__init__.py").write_text("")
    (package / "nets" / "__init__.py").write_text("from .small import *  # torch\n")
    (package / "nets" / "small.py").write_text(
        HEADER + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(4, 4)\n        self.drop = nn.Dropout(0.5)\n"
        "    def forward(self, x):\n        return self.fc(self.drop(x))\n"
    )
    (package / "scoring.py").write_text(
        "import torch\n@torch.no_grad()\ndef score(model, x):\n    return model(x).argmax()\n"
    )
    (package / "main.py").write_text(
        "import torch\nfrom shop.nets import Net\nfrom . import scoring\n"
        "if __name__ == '__main__':\n    print(scoring.score(Net(), torch.ones(4)))\n"
    )
    report = scan([tmp_path])
    assert [(Path(each.path or "").name, each.line, each.code) for each in report.findings] == [
        ("scoring.py", 4, "REG201")
    ]


def test_what_is_too_long_to_follow_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that takes too many steps is not checked, with its place; the other models are."""
    monkeypatch.setattr("regcheck.static.interpreter.state.MOST_STEPS", 500)
    path = tmp_path / "long.py"
    long = "class Long(nn.Module):\n    def forward(self, x):\n" + "        x = x + 1\n" * 300
    long += "        return F.dropout(x, training=self.training)\n"
    drops = "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(x)\n"
    path.write_text(HEADER + long + drops)
    report = scan([path])
    assert [each.code for each in report.findings] == ["REG202"]
    assert [(each.subject, each.line, each.reason) for each in report.not_checked] == [
        ("Long", 4, "too long to follow from the source")
    ]


def test_a_helper_that_takes_too_long_is_opaque(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What calls a helper that takes more than its share of the steps is checked all the same."""
    monkeypatch.setattr("regcheck.static.interpreter.calls.STEP_SHARES", (10_000, 10_000, 100))
    path = tmp_path / "helped.py"
    helper = "def helper(x):\n" + "    x = x + 1\n" * 300 + "    return x\n"
    drops = "class Net(nn.Module):\n    def forward(self, x):\n        return F.dropout(helper(x))\n"
    path.write_text(HEADER + helper + drops)
    report = scan([path])
    assert [each.code for each in report.findings] == ["REG202"]
    assert report.not_checked == ()
