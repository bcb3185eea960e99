"""Classes with a `train()` or `eval()` of their own: both doors report what stays on after `train()` and `eval()`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from regcheck.core.finding import Verdict
from regcheck.core.rule import Example
from regcheck.engine.audit import audit
from regcheck.engine.scan import scan

HEADER = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.part = Part()
        self.last = nn.Linear(32, 3)
    def forward(self, x):
        return self.last(self.part(torch.relu(self.first(x))))
"""


def part(methods: str, forward: str = "return self.drop(x)", init: str = "self.drop = nn.Dropout(0.5)") -> str:
    """A network around a part with these methods."""
    return (
        HEADER
        + f"class Part(nn.Module):\n    def __init__(self):\n        super().__init__()\n{_in(init)}\n"
        + (f"{_in(methods, 4)}\n    def forward(self, x):\n{_in(forward)}\n{NET}")
    )


def _in(text: str, width: int = 8) -> str:
    return "\n".join(" " * width + line for line in text.strip("\n").splitlines())


FLAG = "self.active = False"
BY_FLAG = "return F.dropout(x, 0.5, self.active)"

WRONG = {
    "a flag that eval() never takes back": part(
        "def train(self, mode=True):\n    if mode:\n        self.active = True\n    return super().train(mode)",
        f"{BY_FLAG}  # <- REG202",
        FLAG,
    ),
    "a flag that is set whatever the mode": part(
        "def train(self, mode=True):\n    super().train(mode)\n    self.active = True\n    return self",
        f"{BY_FLAG}  # <- REG202",
        FLAG,
    ),
    "a word for the mode that only train() writes": part(
        "def train(self, mode=True):\n    if mode is True:\n        self.phase = 'train'\n"
        "    return super().train(mode)",
        "if self.phase == 'train':\n    x = F.dropout(x, 0.5)  # <- REG202\nreturn x",
        "self.phase = 'test'",
    ),
    "a rate that train() restores and eval() leaves": part(
        "def train(self, mode=True):\n    if mode:\n        self.rate = 0.5\n    return super().train(mode)",
        "return F.dropout(x, self.rate)  # <- REG202",
        "self.rate = 0.0",
    ),
    "train() forgets the mode": part(
        "def train(self, mode=True):\n    return super().train()", "return self.drop(x)  # <- REG204"
    ),
    "train() requests train mode whatever is asked": part(
        "def train(self, mode=True):\n    nn.Module.train(self, True)\n    return self",
        "return self.drop(x)  # <- REG204",
    ),
    "train() sets its own flag only": part(
        "def train(self, mode=True):\n    self.training = mode\n    return self", "return self.drop(x)  # <- REG204"
    ),
    "train() reaches the children, and not the module itself": part(
        "def train(self, mode=True):\n    for child in self.children():\n        child.train(mode)\n    return self",
        "return F.dropout(self.drop(x), 0.5, self.training)  # <- REG202",
    ),
    "train() switches one child of two": part(
        "def train(self, mode=True):\n    self.training = mode\n    self.drop.train(mode)\n    return self",
        "return self.other(self.drop(x))  # <- REG204",
        "self.drop = nn.Dropout(0.5)\nself.other = nn.Dropout(0.2)",
    ),
    "train() switches a child back on": part(
        "def train(self, mode=True):\n    super().train(mode)\n    self.drop.train()\n    return self",
        "return self.drop(x)  # <- REG204",
    ),
    "eval() of a part is never called": part(
        "def train(self, mode=True):\n    self.active = True\n    return super().train(mode)\n"
        "def eval(self):\n    self.active = False\n    return super().eval()",
        f"{BY_FLAG}  # <- REG202",
        FLAG,
    ),
    "a training loop under the name of train()": part(
        "def train(self, epochs=3):\n    for _ in range(epochs):\n        self.steps += 1",
        "return self.drop(x)  # <- REG204",
        "self.drop = nn.Dropout(0.5)\nself.steps = 0",
    ),
    "a batch norm that train() leaves on": part(
        "def train(self, mode=True):\n    super().train(mode)\n    self.norm.training = True\n    return self",
        "return self.norm(x)  # <- REG204",
        "self.norm = nn.BatchNorm1d(32)",
    ),
    "eval() of the model forgets its parts": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(32, 3)
    def eval(self):
        self.training = False
        return self
    def forward(self, x):
        return self.last(self.drop(self.first(x)))  # <- REG204
""",
    "eval() of the model only sets a flag": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.predicting = False
        self.last = nn.Linear(32, 3)
    def eval(self):
        self.predicting = True
    def forward(self, x):
        return self.last(F.dropout(self.first(x), 0.5, self.training))  # <- REG202
""",
}

SOUND = {
    "a flag that follows the mode": part(
        "def train(self, mode=True):\n    self.active = mode\n    return super().train(mode)", BY_FLAG, FLAG
    ),
    "a flag that is on before the first switch": part(
        "def train(self, mode=True):\n    self.active = bool(mode)\n    super().train(mode)\n    return self",
        BY_FLAG,
        "self.active = True",
    ),
    "a word for the mode": part(
        "def train(self, mode=True):\n    self.phase = 'train' if mode else 'test'\n    return super().train(mode)",
        "if self.phase == 'train':\n    x = F.dropout(x, 0.5)\nreturn x",
        "self.phase = 'test'",
    ),
    "a rate that follows the mode": part(
        "def train(self, mode=True):\n    self.rate = 0.5 if mode else 0.0\n    return super().train(mode)",
        "return F.dropout(x, self.rate)",
        "self.rate = 0.5",
    ),
    "train() returns nothing": part("def train(self, mode=True):\n    super().train(mode)"),
    "train() under torch's name": part("def train(self, mode=True):\n    nn.Module.train(self, mode)\n    return self"),
    "train() by hand": part(
        "def train(self, mode=True):\n    self.training = mode\n    for child in self.children():\n"
        "        child.train(mode)\n    return self"
    ),
    "train() by hand over all modules": part(
        "def train(self, mode=True):\n    for name, module in self.named_modules():\n        module.training = mode\n"
        "    return self"
    ),
    "frozen batch norm, as in mmdet": part(
        "def train(self, mode=True):\n    super().train(mode)\n    self._freeze()\n    if mode and self.norm_eval:\n"
        "        for m in self.modules():\n            if isinstance(m, nn.BatchNorm1d):\n                m.eval()\n"
        "def _freeze(self):\n    self.norm.eval()\n"
        "    for p in self.norm.parameters():\n        p.requires_grad = False",
        "return self.drop(self.norm(x))",
        "self.norm = nn.BatchNorm1d(32)\nself.drop = nn.Dropout(0.5)\nself.norm_eval = True",
    ),
    "always in eval mode": part("def train(self, mode=True):\n    return super().train(False)"),
    "train() disabled on a part that is in eval mode": part(
        "def train(self, mode=True):\n    return self",
        init="self.drop = nn.Dropout(0.5)\nsuper().train(False)",
    ),
    "weights that eval() merges": part(
        "def train(self, mode=True):\n    super().train(mode)\n    if mode:\n        if self.merged:\n"
        "            self.merged = False\n    elif not self.merged:\n        self.merged = True\n    return self",
        "if self.merged:\n    return self.linear(x)\nreturn self.linear(x) + self.low(self.drop(x))",
        "self.linear = nn.Linear(32, 32)\nself.low = nn.Linear(32, 32)\nself.drop = nn.Dropout(0.2)\n"
        "self.merged = False",
    ),
    "a branch that is fused for deployment": part(
        "def switch_to_deploy(self):\n    self.deploy = True\ndef train(self, mode=True):\n    if self.deploy:\n"
        "        return self\n    return super().train(mode)",
        "if self.deploy:\n    return x\nreturn self.drop(x)",
        "self.drop = nn.Dropout(0.5)\nself.deploy = False",
    ),
    "a plain list that train() reaches": part(
        "def train(self, mode=True):\n    super().train(mode)\n    for each in self.drops:\n        each.train(mode)\n"
        "    return self",
        "for each in self.drops:\n    x = each(x)\nreturn x",
        "self.drops = [nn.Dropout(0.2), nn.Dropout(0.3)]",
    ),
    "all modules by apply": part(
        "def train(self, mode=True):\n    def switch(module):\n        module.training = mode\n"
        "    self.apply(switch)\n    return self"
    ),
    "modes set by unknown code": HEADER
    + "from elsewhere import switch_all\n"
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(32, 3)
    def eval(self):
        switch_all(self, False)
        return self
    def forward(self, x):
        return self.last(self.drop(self.first(x)))
""",
    "eval() of the model calls train(False)": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.predicting = False
        self.last = nn.Linear(32, 3)
    def eval(self):
        self.predicting = True
        return self.train(False)
    def forward(self, x):
        return self.last(F.dropout(self.first(x), 0.5, self.training))
""",
    "a wrapper that hands both modes on": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    def train(self):
        self.net.train()
    def eval(self):
        self.net.eval()
    def forward(self, x):
        return self.net(x)
""",
    "an average that is never trained": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.online = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 3))
        self.average = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 3))
        self.average.eval()
    def train(self, mode=True):
        super().train(mode)
        self.average.eval()
        return self
    def forward(self, x):
        return self.online(x) if self.training else self.average(x)
""",
    "a model for predictions only": part(
        "def train(self, mode=True):\n    if mode:\n        raise RuntimeError('it only predicts')\n"
        "    return super().train(False)"
    ),
    "a training loop under the name of train(), beside modes set by hand": HEADER
    + """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    def train(self, loader, epochs=3):
        self.net.train()
        for x, y in loader:
            F.cross_entropy(self.net(x), y).backward()
    def eval(self):
        self.net.eval()
        return self
    def forward(self, x):
        return self.net(x)
""",
}
UNFOLLOWED = ("modes set by unknown code",)
"""Sources that do not run: they import what there is not."""


def marked(text: str) -> set[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    return {(number, line.rpartition("# <- ")[2]) for number, line in lines if "# <- " in line}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("overrides")
    paths = {}
    for number, (name, text) in enumerate({**WRONG, **SOUND}.items()):
        paths[name] = folder / f"case{number}.py"
        paths[name].write_text(text, "utf-8")
    return paths


@pytest.fixture(scope="module")
def scanned(files: dict[str, Path]) -> dict[str, set[tuple[int, str]]]:
    report = scan([next(iter(files.values())).parent])
    assert not report.not_checked
    found: dict[str, set[tuple[int, str]]] = {path.name: set() for path in files.values()}
    for each in report.findings:
        found[Path(each.path).name].add((each.line, each.code))
    return {name: found[path.name] for name, path in files.items()}


@pytest.mark.parametrize("name", [*WRONG, *SOUND])
def test_a_scan_follows_the_models_own_train_and_eval(name: str, scanned: dict[str, set[tuple[int, str]]]) -> None:
    """Exactly the lines that stay in train mode after `train()` and `eval()` are reported."""
    assert scanned[name] == marked({**WRONG, **SOUND}[name])


@pytest.mark.parametrize("name", [each for each in (*WRONG, *SOUND) if each not in UNFOLLOWED])
def test_an_audit_switches_the_modes_as_a_user_does(name: str, files: dict[str, Path]) -> None:
    """An audit confirms the same lines of a fresh model."""
    report = audit(imported(files[name]).Net(), torch.randn(16, 8))
    found = {(each.line, each.code) for each in report.findings if each.evidence.verdict is Verdict.CONFIRMED}
    assert found == marked({**WRONG, **SOUND}[name])
    assert not report.unproven


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROGRAM = (
    HEADER
    + """
class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.5)
    def train(self, mode=True):
        super().train(SWITCH)
        return self
    def forward(self, x):
        return self.drop(self.norm(x))
"""
    + NET
    + """
def main():
    net, batches = Net(), [(torch.randn(16, 8), torch.zeros(16).long()) for _ in range(2)]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    net.train()
    for _ in range(3):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()  # <-
            optimizer.step()
        net.eval()
        with torch.no_grad():
            print(sum((net(x).argmax(-1) == y).sum().item() for x, y in batches))
main()
"""
)


@pytest.mark.parametrize(("switch", "code"), [("mode", "REG206"), ("False", "")])
def test_a_program_follows_the_overrides_of_parts(switch: str, code: str, tmp_path: Path) -> None:
    """An `eval()` that is left on matters only where `train()` would switch something back on."""
    text = PROGRAM.replace("SWITCH", switch)
    (tmp_path / "program.py").write_text(text, "utf-8")
    found = {(each.line, each.code) for each in scan([tmp_path]).findings}
    assert found == ({(line, code) for line in Example(text).marked} if code else set())
