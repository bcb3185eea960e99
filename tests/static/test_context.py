"""Projects of several files: what one file says of another, and that it is the same whichever of them are named."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from regcheck.core.report import Report
from regcheck.engine.scan import scan
from regcheck.static.project import context
from regcheck.static.project.discovery import python_files

FIXTURES = Path(__file__).parents[2] / "fixtures"

NET = """\
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, rate=0.4):
        super().__init__()
        self.body, self.drop, self.out = nn.Linear(12, 24), nn.Dropout(rate), nn.Linear(24, 3)

    def forward(self, x):
        return self.out(self.drop(torch.tanh(self.body(x))))
"""
STILL = NET.replace("nn.Dropout(rate)", "nn.Identity()")

SCORE = """\
import torch
from {module} import {name}

net = {name}()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net(torch.randn(8, 12)).sum().backward()
optimizer.step()

@torch.no_grad()
def score(model, x, y):
    return (model(x).argmax(1) == y).float().mean(){mark}

print(score(net, torch.randn(8, 12), torch.zeros(8)))
"""

LOOP = """\
import torch
from torch.nn import functional as F

class Loop:
    def __init__(self, model, optimizer, data, held_out):
        self.model, self.optimizer, self.data, self.held_out = model, optimizer, data, held_out

    def validate(self):
        self.model.eval()
        with torch.no_grad():
            return sum(F.cross_entropy(self.model(x), y).item() for x, y in self.held_out)

    def epoch(self):
        self.model.train()
        for i, (x, y) in enumerate(self.data):
            if i % 10 == 0:
                print(self.validate()){after}
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y){mark}
            loss.backward()
            self.optimizer.step()
"""
LEFT_ON = LOOP.format(after="", mark="  # <- REG206")
SWITCHED_BACK = LOOP.format(after="; self.model.train()", mark="")

MAIN = """\
import kit
import torch

data = [(torch.randn(4, 12), torch.randint(0, 3, (4,))) for _ in range(12)]
net = kit.Net()
loop = kit.Loop(net, torch.optim.SGD(net.parameters(), lr=0.1), data, data[:2])
for _ in range(2):
    loop.epoch()
"""
NAMES = MAIN.replace("import kit\n", "from kit import Loop, Net\n").replace("kit.", "")
IN_MAIN = NAMES.replace("data = ", "def main():\n  data = ").replace("\nnet", "\n  net").replace("\nloop", "\n  loop")
IN_MAIN = (
    IN_MAIN.replace("\nfor", "\n  for").replace("\n    loop", "\n      loop")
    + "\nif __name__ == '__main__':\n    main()\n"
)
WITHOUT_TORCH = """\
from kit import Loop, Net, sgd, batches

net = Net()
Loop(net, sgd(net), batches(), batches()).epoch()
"""
PARTS = """\
import torch

def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)

def batches():
    return [(torch.randn(4, 12), torch.randint(0, 3, (4,))) for _ in range(12)]
"""
LAZY = """\
def __getattr__(name):
    if name == "Net":
        from .net import Net
        return Net
    if name == "Loop":
        from .loop import Loop
        return Loop
    raise AttributeError(name)
"""
TABLE = """\
from importlib import import_module

_HOMES = {"Net": ".net", "Loop": ".loop"}

def __getattr__(name):
    return getattr(import_module(_HOMES[name], __name__), name)
"""
LISTS = """\
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submod_attrs={"net": ["Net"], "loop": ["Loop"]})
"""

FACADES = {
    "names": ("from .loop import Loop\nfrom .net import Net\n", MAIN),
    "names, from": ("from .loop import Loop\nfrom .net import Net\n", NAMES),
    "names, in main": ("from kit.loop import Loop\nfrom kit.net import Net\n__all__ = ['Loop', 'Net']\n", IN_MAIN),
    "stars": ("from .loop import *\nfrom .net import *\n", NAMES),
    "a star of all": (
        "from .net import *\nfrom .loop import *\n__all__ = ('Net', 'Loop')\n",
        NAMES.replace("import Loop, Net", "import *"),
    ),
    "another name": ("from .loop import Loop\nfrom .net import Net as Tagger\n", MAIN.replace("kit.Net", "kit.Tagger")),
    "modules": (
        "from . import loop, net\n",
        MAIN.replace("kit.Net", "kit.net.Net").replace("kit.Loop", "kit.loop.Loop"),
    ),
    "on demand": (LAZY, NAMES),
    "on demand, from a table": (TABLE, MAIN),
    "on demand, from lists": (LISTS, NAMES),
    "a driver without the word": (
        "from .loop import Loop\nfrom .net import Net\nfrom .parts import *\n",
        WITHOUT_TORCH,
    ),
}


def facades(loop: str) -> Iterator[dict[str, str]]:
    for facade, main in FACADES.values():
        yield {
            "kit/__init__.py": facade,
            "kit/loop.py": loop,
            "kit/net.py": NET,
            "kit/parts.py": PARTS,
            "main.py": main,
        }


def scored(net: str, mark: str) -> Iterator[dict[str, str]]:
    """A model in one file and its evaluation in another, which finds it in different ways."""
    yield {"main.py": SCORE.format(module="tagger", name="Net", mark=mark), "tagger.py": net}
    yield {
        "pyproject.toml": "",
        "runs/main.py": SCORE.format(module="nets.tagger", name="Net", mark=mark),
        "nets/tagger.py": net,
    }
    yield {
        "setup.py": "",
        "src/kit/__init__.py": "",
        "src/kit/models/__init__.py": "from .tagger import Net\n",
        "src/kit/models/tagger.py": net,
        "src/kit/run.py": SCORE.format(module=".models", name="Net", mark=mark),
    }
    yield {
        "main.py": SCORE.format(module="made", name="make", mark=mark),
        "made.py": "from tagger import Net\n\ndef make():\n    return Net(0.2)\n",
        "tagger.py": net,
    }
    yield {
        "main.py": SCORE.format(module="base", name="Net", mark=mark),
        "base.py": "from tagger import Net\n",
        "tagger.py": net,
    }
    yield {
        "main.py": SCORE.format(module="child", name="Child", mark=mark),
        "child.py": "import tagger\n\nclass Child(tagger.Net):\n    pass\n",
        "tagger.py": net,
    }


def called(call: str, mark: str) -> Iterator[dict[str, str]]:
    """An evaluation in one file, and a caller in another that decides the mode."""
    score = SCORE.partition("@")[2].rpartition("print")[0].format(mark=mark)
    run = (
        "import torch\nfrom tagger import Net\n{imported}\nnet = Net()\nnet(torch.ones(2, 12)).sum().backward()\n"
        + call
    )
    yield {
        "metrics.py": f"import torch\n\n@{score}",
        "tagger.py": NET,
        "main.py": run.format(imported="from metrics import score", score="score"),
    }
    yield {
        "metrics.py": f"import torch\n\n@{score}",
        "tagger.py": NET,
        "main.py": run.format(imported="import metrics as m", score="m.score"),
    }
    yield {
        "kit/__init__.py": "from .metrics import score\n",
        "kit/metrics.py": f"import torch\n\n@{score}",
        "tagger.py": NET,
        "main.py": run.format(imported="import kit", score="kit.score"),
    }
    yield {
        "metrics.py": f"import torch\n\n@{score}",
        "steps.py": "from metrics import score\n\ndef report(net, x, y):\n    print(score(net, x, y))\n",
        "tagger.py": NET,
        "main.py": run.format(imported="from steps import report", score="report"),
    }


PLAIN = "print({score}(net, torch.ones(2, 12), torch.ones(2)))\n"
RATES = {
    "config.py": "RATE = {rate}\n",
    "net.py": "import torch.nn.functional as F\nfrom torch import nn\nfrom config import RATE\n\n"
    "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.out = nn.Linear(4, 2)\n\n"
    "    def forward(self, x):\n        return F.dropout(self.out(x), RATE, self.training){mark}\n",
    "fit.py": "import torch\nfrom net import Net\n\nnet = Net()\n"
    "torch.nn.functional.cross_entropy(net(torch.ones(2, 4)), torch.ones(2)).backward()\n",
}
PROJECTS = [
    *facades(LEFT_ON),
    *facades(SWITCHED_BACK),
    *scored(NET, "  # <- REG201"),
    *scored(STILL, ""),
    *called(PLAIN, "  # <- REG201"),
    *called("net.eval()\n" + PLAIN, ""),
    {name: text.format(rate=0.5, mark="  # <- REG101") for name, text in RATES.items()},
    {name: text.format(rate=0.0, mark="") for name, text in RATES.items()},
]


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def marked(files: dict[str, str]) -> set[tuple[str, int, str]]:
    return {
        (name, number, code)
        for name, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        for code in re.findall(r"# <- (REG\d+)", line)
    }


def found(report: Report) -> set[tuple[str, int, str]]:
    return {(each.path or "", each.line or 0, each.code) for each in report.findings}


@pytest.mark.parametrize("files", PROJECTS)
def test_a_file_is_read_with_the_files_around_it(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marked lines are found in the folder, and those of a file where it alone is named."""
    written(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    assert found(scan(["."])) == marked(files)
    for name in files:
        if name.endswith(".py"):
            assert found(scan([name])) == {each for each in marked(files) if each[0] == name}


@pytest.mark.parametrize("folder", [FIXTURES / "projects", FIXTURES / "programs"], ids=lambda each: each.name)
def test_a_named_file_has_the_findings_of_its_folder(folder: Path) -> None:
    """Each finding in a fixture, its message included, is the same where its file alone is named."""
    everything = {"extend_select": ["ALL"]}
    whole = scan([folder], everything).findings
    for path in python_files([folder]):
        alone = scan([path], everything).findings
        assert {each.path for each in alone} <= {each.path for each in whole if Path(each.path or "").name == path.name}
        assert [*alone] == [each for each in whole if Path(each.path or "").resolve() == path.resolve()]


def test_an_excluded_file_is_read_and_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an excluded file says of the others counts; its own findings do not, and it may be broken."""
    (files, *_) = scored(NET, "  # <- REG201")
    written(tmp_path, {**files, "broken.py": "import torch, main\ndef (\n"})
    monkeypatch.chdir(tmp_path)
    for exclude in (["tagger.py", "broken.py"], ["broken.py"]):
        report = scan(["."], {"exclude": exclude})
        assert found(report) == marked(files)
        assert report.not_checked == ()
    report = scan(["."], {"exclude": ["main.py", "broken.py"]})
    assert found(report) == set()


def test_a_change_in_a_file_around_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored result of a file is not used again after a change in what it imports."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    faulty, *_ = scored(NET, "  # <- REG201")
    sound, *_ = scored(STILL, "")
    for files in (faulty, sound, faulty):
        written(tmp_path, files)
        assert len(scan([tmp_path / "main.py"], cached=True).findings) == len(marked(files))


def test_users_beyond_the_limit_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the files that use a scanned one are too much text, the report says how many were left out."""
    written(tmp_path, {"net.py": NET, **{f"use{n}.py": "from net import Net\nNet()\n" for n in range(5)}})
    monkeypatch.setattr(context, "MOST_BYTES", 60)
    (left_out,) = scan([tmp_path / "net.py"]).not_checked
    assert left_out.reason.startswith("3 more files")
    assert scan([tmp_path]).not_checked == ()


def test_a_name_that_is_no_text_has_users(tmp_path: Path) -> None:
    """The users of a file are looked for whatever bytes its name has."""
    path = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.py")
    Path(path).write_text(NET)
    (tmp_path / "use.py").write_text("import torch\n")
    assert scan([path]).not_checked == ()
