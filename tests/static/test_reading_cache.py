"""After a change only what it may affect is followed again, and a scan finds what one without a cache finds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.engine.scan import cached_result, scan
from regcheck.plugins import catalogue
from regcheck.static import analyze
from regcheck.static.programs.reader import Program, ProgramReader
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project
from regcheck.static.project.result_cache import CACHE
from regcheck.static.reading import FileReading, ProgramsReading, ReadingParts
from regcheck.static.reading_cache import ReadingCache

FILES = {
    "pkg/__init__.py": "from .nets import *\n",
    "pkg/rates.py": "RATE = 0.9\nWIDTH = 8\n",
    "pkg/layers.py": """import torch.nn.functional as F
from torch import nn
from .rates import RATE

class Noise(nn.Module):
    def __init__(self, rate=RATE):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        return F.dropout(x, self.rate, training=True)
""",
    "pkg/base.py": """from torch import nn
from .layers import Noise
from .rates import WIDTH

class Base(nn.Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.fc, self.noise, self.drop = nn.Linear(WIDTH, WIDTH), Noise(), nn.Dropout(rate)

    def head(self, x):
        return self.fc(self.drop(x))

    def forward(self, x):
        return self.head(self.noise(x))
""",
    "pkg/config.py": """from dataclasses import dataclass

@dataclass
class NetConfig:
    dropout: float = 0.85
    width: int = 8
""",
    "pkg/nets.py": """from torch import nn
from .base import Base
from .config import NetConfig

class Small(Base):
    def head(self, x):
        return self.drop(self.fc(x))

class Configured(nn.Module):
    def __init__(self, config: NetConfig):
        super().__init__()
        self.fc, self.drop = nn.Linear(config.width, config.width), nn.Dropout(config.dropout)
        self.out = nn.Linear(config.width, 2)

    def forward(self, x):
        return self.out(self.drop(self.fc(x)))
""",
    "alone.py": """from torch import nn

class Alone(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3), nn.Dropout(0.2), nn.Conv2d(8, 8, 3), nn.Dropout(0.95))
""",
    "main.py": """import torch
from pkg import Small

@torch.no_grad()
def predict(x):
    model = Small(0.3)
    return model(x).argmax(1)
""",
}
"""A package with a constant, a layer, a base class, a configuration and nets, a lone model, and a program."""


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    """An edit of a file that also undoes itself: the second time it puts the old text back."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text() if (folder / name).exists() else {**FILES, **PROGRAMS}[name]
        (folder / name).write_text(text.replace(new, old) if new in text else text.replace(old, new))

    return edit


def toggle(name: str, text: str) -> Callable[[Path], None]:
    """An edit that writes a file, or deletes it where it exists."""

    def edit(folder: Path) -> None:
        file = folder / name
        if file.exists():
            file.unlink()
        else:
            file.write_text(text)

    return edit


OPTIONS = {"select": ["ALL"], "ignore": ["REG207"]}
"""All rules that copy the readings of files."""

EDITS = {
    "a constant": replace("pkg/rates.py", "0.9", "0.0"),
    "a helper's default": replace("pkg/layers.py", "rate=RATE", "rate=0.0"),
    "a mode gate": replace("pkg/layers.py", "training=True", "self.training"),
    "a base class": replace("pkg/base.py", "self.fc(self.drop(x))", "self.drop(self.fc(x))"),
    "the base's base": replace("pkg/base.py", "nn.Module", "object"),
    "a method": replace("pkg/nets.py", "def head", "def tail"),
    "the package": replace("pkg/__init__.py", "import *", "import Small, Configured"),
    "a configuration": replace("pkg/config.py", "0.85", "0.1"),
    "a call of the configuration": toggle(
        "setup_net.py", "import pkg.config  # torch\npkg.config.NetConfig(dropout=0.1)\n"
    ),
    "such a call in a program": replace("main.py", "Small(0.3)", "Small(0.3); NetConfig(dropout=0.1)"),
    "an assignment": replace("main.py", "model = Small(0.3)", "model = Small(0.3); model.noise.rate = 0.0"),
    "a broken file": replace("pkg/rates.py", "WIDTH = 8", "WIDTH = = 8"),
    "a file that shadows": toggle("pkg/layers/__init__.py", "from torch.nn import Identity as Noise\n"),
    "a missing file": toggle("pkg/base.py", FILES["pkg/base.py"]),
    "another line": replace("alone.py", "from torch import nn\n", "\nfrom torch import nn\n"),
    "a comment": replace("alone.py", "class Alone", "class  Alone"),
    "an ignore": replace("alone.py", "nn.Dropout(0.95))", "nn.Dropout(0.95))  # regcheck: ignore[REG401] meant"),
    "the program": replace("main.py", "model = Small(0.3)", "model = Small(0.3).eval()"),
    "a program that trains": toggle(
        "train.py", "import torch\nfrom pkg import Small\nfor x in loader:\n    Small()(x).sum().backward()\n"
    ),
}


PROGRAMS = {
    "nets.py": """import torch
from torch import nn
from registry import NETS, register

@register
class Net(nn.Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.fc, self.norm, self.drop = nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(rate)

    def forward(self, x):
        return self.norm(self.drop(self.fc(x)))

class Other(Net):
    pass
""",
    "registry.py": """NETS = {}

def register(net):
    NETS["net"] = net
    return net
""",
    "shared.py": """import torch
from nets import Net

model = Net(0.2)
model.eval()
""",
    "steps.py": """import torch
import nets
from registry import NETS

@torch.no_grad()
def predict(model, x):
    return model(x).argmax(1)

def build():
    return NETS["net"](0.85)

def run(x):
    model = nets.Net(0.85)
    return predict(model, x)
""",
    "main.py": """import torch
import steps
from nets import Net
from shared import model

def train(loader):
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
    for x, y in loader:
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
    return steps.predict(net, x)

@torch.no_grad()
def check(x):
    return model(x).argmax(1)
""",
    "task.py": """import torch
from lightning import LightningModule
from nets import Net

class Base(LightningModule):
    def training_step(self, batch):
        self.net.eval()
        return self.net(batch).mean()

class Task(Base):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), weight_decay=0.1)
""",
    "limits.py": """import torch
from nets import Net

def limit(net):
    net.fc.weight.data.clamp_(-1, 1)

def fit(loader):
    net = Net()
    limit(net)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for x, y in loader:
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
""",
}
"""Programs that call functions of other files, use a model that another file builds, and register and train models."""

CHANGES = {
    "a rate": replace("nets.py", "rate=0.5", "rate=0.9"),
    "no models": replace("nets.py", "class Net(nn.Module)", "class Net"),
    "another name of a model": replace("nets.py", "class Net(nn.Module)", "class Net2(nn.Module)"),
    "a factory": replace("steps.py", "def build():", "def build(rate):"),
    "a decorator": replace("steps.py", "def run(x):", "@registry.register\ndef run(x):"),
    "a name in the registry": replace("registry.py", '"net"', '"other"'),
    "no registration": replace("nets.py", "@register\n", ""),
    "another class registered": replace("nets.py", "class Other(Net):", "@register\nclass Other(Net):"),
    "a mode of the shared model": replace("shared.py", "model.eval()", "model.train()"),
    "a caller less": replace("main.py", "return steps.predict(net, x)", "return net"),
    "a caller more": replace("main.py", "net = Net()", "net = steps.run(None)"),
    "eval in a helper": replace("steps.py", "    return model(x)", "    model.eval()\n    return model(x)"),
    "a function that another one calls": replace("steps.py", "model = nets.Net(0.85)", "model = build()"),
    "a function moved": replace("steps.py", "import torch\n", "import torch\n\n"),
    "a call at the top": replace("main.py", "import steps\n", "import steps\nsteps.run(None)\n"),
    "a caller in another file": toggle("again.py", "import torch\nimport main\n\nmain.train([]).backward()\n"),
    "a file that shadows": toggle("steps/__init__.py", "def predict(model, x):\n    return model.eval()(x)\n"),
    "a file that shadows in part": toggle("lightning.py", "from torch.nn import Module as LightningModule\n"),
    "a deleted file": toggle("shared.py", PROGRAMS["shared.py"]),
    "a broken file": replace("registry.py", "NETS = {}", "NETS = {"),
    "a step renamed": replace("task.py", "training_step", "other_step"),
    "a step of its own": replace(
        "task.py", "    def __init__", "    def training_step(self, batch): ...\n\n    def __init__"
    ),
    "a limit mentioned": toggle("hooks.py", "import torch\nfrom limits import limit\nloader.add_hook(limit)\n"),
    "an import cycle": replace("registry.py", "NETS = {}", "import nets\nNETS = {}\nmodel = nets.Net(0.9)"),
    "what matters to a rule": replace("registry.py", "NETS = {}", "import torch\nNETS = {'net': torch.nn.Dropout}"),
    "an installed package": toggle("pyproject.toml", "[project]\nname = 'code'\n"),
    "a setting": toggle("ruff.toml", ""),
    "a package": toggle("__init__.py", ""),
}
"""Edits of these."""


def rename(old: str, new: str) -> Callable[[Path], None]:
    """An edit that renames a file; the second time it renames it back."""

    def edit(folder: Path) -> None:
        for one, other in ((old, new), (new, old)):
            if (folder / one).exists():
                (folder / one).rename(folder / other)
                return

    return edit


CHANGES["a renamed file"] = rename("registry.py", "registry2.py")


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """The folder, with these files in it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path, cache: None) -> Path:
    """The package, beside an empty cache."""
    folder = written(tmp_path / "code", FILES)
    (folder / "pkg" / "layers").mkdir()
    return folder


@pytest.fixture
def programs(tmp_path: Path, cache: None) -> Path:
    """The programs, beside an empty cache."""
    folder = written(tmp_path / "code", PROGRAMS)
    (folder / "steps").mkdir()
    return folder


def followed(folder: Path, monkeypatch: pytest.MonkeyPatch, stored: bool = True) -> set[str]:
    """Scans with the cache; the names of the files whose classes are followed."""
    names: set[str] = set()

    def read_classes(project: Project, source: Source, lowered: frozenset[str] = frozenset()) -> FileReading:
        names.add(source.tail)
        return whole(project, source, lowered)

    with monkeypatch.context() as patch:
        whole = analyze.read_classes
        patch.setattr(analyze, "read_classes", read_classes)
        scan([folder], cached=True, stored=stored)
    return names


def test_a_scan_after_any_edits_finds_what_a_fresh_scan_finds(folder: Path) -> None:
    """After each edit by itself, and after random ones on top of each other, the report is that of a fresh scan."""
    reports = {scan([folder], cached=True).to_json()}
    for edit in EDITS.values():
        edit(folder)
        fresh = scan([folder]).to_json()
        assert scan([folder], cached=True).to_json() == fresh
        reports.add(fresh)
        edit(folder)
    assert len(reports) > 0.7 * len(EDITS)
    for edit in random.Random(7).choices([*EDITS.values()], k=8):
        edit(folder)
        assert scan([folder], cached=True).to_json() == scan([folder]).to_json()


@pytest.mark.parametrize("undone", [False, True])
@pytest.mark.parametrize(
    ("edit", "again"),
    [
        ("another line", {"alone"}),
        ("a constant", {"layers", "base", "nets"}),
        ("a base class", {"base", "nets"}),
        ("a configuration", {"nets"}),
        ("the program", {"main"}),
        ("such a call in a program", {"main", "nets"}),
    ],
)
def test_only_what_a_change_may_affect_is_followed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, edit: str, again: set[str], undone: bool
) -> None:
    """A file is followed again if it changes, or one that it looks up names in, or a call that says what it changes.

    That is so when an edit is made, and when it is undone.
    """
    if undone:
        EDITS[edit](folder)
    assert followed(folder, monkeypatch) >= {"alone", "layers", "base", "nets", "main"}
    EDITS[edit](folder)
    assert followed(folder, monkeypatch) == again


def test_a_scan_that_does_not_store_copies_all_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of a text that is being typed follows what the change affects, and leaves the cache as it was."""
    name, before = entry_of(folder)
    files = {each.name for each in CACHE.folder.iterdir()}
    EDITS["a configuration"](folder)
    assert followed(folder, monkeypatch, stored=False) == {"nets"}
    assert {each.name for each in CACHE.folder.iterdir()} == files
    assert CACHE.read(name) == before


def test_programs_after_any_edits_are_as_in_a_fresh_scan(programs: Path) -> None:
    """After each edit of programs by itself, and after random ones on top of each other, the report is a fresh one."""
    assert "REG201" in scan([programs], cached=True).to_json()
    reports = set()
    for edit in CHANGES.values():
        edit(programs)
        fresh = scan([programs], OPTIONS).to_json()
        assert scan([programs], OPTIONS, cached=True).to_json() == fresh
        reports.add(fresh)
        edit(programs)
    assert len(reports) > 0.4 * len(CHANGES)
    for edit in random.Random(11).choices([*CHANGES.values()], k=30):
        edit(programs)
        assert scan([programs], OPTIONS, cached=True).to_json() == scan([programs], OPTIONS).to_json()


@pytest.mark.parametrize(
    ("edit", "undone", "again"),
    [
        ("a mode of the shared model", False, {"shared", "main"}),
        ("a function moved", False, {"steps", "main"}),
        ("a step of its own", False, {"task"}),
        ("a caller less", False, {"main"}),
        ("a caller more", False, {"main"}),
        ("a caller more", True, {"main", "steps"}),
        ("a limit mentioned", False, {"nets", "shared", "steps", "main", "task", "limits", "hooks"}),
    ],
)
def test_only_programs_that_a_change_may_affect_are_read_again(
    programs: Path, monkeypatch: pytest.MonkeyPatch, edit: str, undone: bool, again: set[str]
) -> None:
    """A file's programs are read again if the file changes, or one that they reach, or if nothing calls one anymore.

    A file that comes makes all be read again.
    """
    if undone:
        CHANGES[edit](programs)
    scan([programs], cached=True)
    CHANGES[edit](programs)
    names: set[str] = set()
    first = ProgramReader.top

    def top(self: ProgramReader) -> Program:
        names.add(self.source.tail)
        return first(self)

    monkeypatch.setattr(ProgramReader, "top", top)
    scan([programs], cached=True)
    assert names == again


def test_a_new_name_of_a_model_counts_where_it_is_mentioned(programs: Path) -> None:
    """A function that mentions a class becomes a program when that class becomes a model, and ends to be one."""
    for edit in (CHANGES["no models"], CHANGES["another name of a model"]):
        for _ in range(2):
            edit(programs)
            assert scan([programs], cached=True).to_json() == scan([programs]).to_json()


@pytest.mark.parametrize(
    ("edit", "parsed"),
    [
        ("another line", {"alone"}),
        ("a configuration", {"config", "nets", "base", "rates", "layers"}),
        ("the program", {"main", "pkg", "nets", "base", "rates", "layers"}),
    ],
)
def test_only_files_that_are_followed_again_and_what_they_reach_are_parsed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, edit: str, parsed: set[str]
) -> None:
    """A file is parsed if it changes, or is followed again, or if code that is followed looks up a name in it."""
    rules = select.chosen(catalogue(), Options())

    def parsed_in_scan() -> set[str]:
        sources = [Source(str(path), path.read_bytes()) for path in sorted(folder.rglob("*.py"))]
        cached_result(sources, rules)
        return {each.tail for each in sources if "tree" in vars(each)}

    assert parsed_in_scan() >= {"alone", *parsed}
    EDITS[edit](folder)
    assert parsed_in_scan() == parsed


def entry_of(folder: Path) -> tuple[str, bytes]:
    """The name and the content of the entry with the readings of a folder, which is scanned."""
    scan([folder], cached=True)
    (file,) = (each for each in CACHE.folder.iterdir() if each.suffix == ".readings")
    content = CACHE.read(file.name)
    assert content is not None
    return file.name, content


def test_a_damaged_entry_is_not_read(folder: Path) -> None:
    """An entry whose checksum does not match is not believed."""
    first = scan([folder], cached=True).to_json()
    for file in CACHE.folder.iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert scan([folder], cached=True).to_json() == first


@pytest.mark.parametrize(
    "foreign",
    [
        lambda lines: [],
        lambda lines: [b"\x80\x04."],
        lambda lines: [b"[]", *lines[1:]],
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *(b"[]" for _ in lines[1:])],
        lambda lines: [lines[0], *(b"[[],{},[[],[],[],[]],[3],null,[]]" for _ in lines[1:])],
        lambda lines: [lines[0], *(b"[" * 100_000 for _ in lines[1:])],
        lambda lines: [lines[0], *(each.replace(b"scored", b"whole") for each in lines[1:])],
    ],
    ids="empty pickle header short long emptied typed deep renamed".split(),
)
def test_an_entry_that_holds_something_else_is_not_read(
    folder: Path, foreign: Callable[[list[bytes]], list[bytes]]
) -> None:
    """An entry with a checksum that another program wrote is not believed where it says something else."""
    name, content = entry_of(folder)
    CACHE.write(name, b"\n".join(foreign(content.split(b"\n"))))
    EDITS["another line"](folder)
    assert scan([folder], cached=True).to_json() == scan([folder]).to_json()
    assert len(entry_of(folder)[1]) > 1000


def test_scans_at_the_same_time_leave_an_entry_of_one_of_them(folder: Path) -> None:
    """Of two scans that load one entry, the entry of the last to store it is whole, and holds for its files alone."""
    rules = select.chosen(catalogue(), Options())
    entry_of(folder)
    EDITS["a constant"](folder)
    texts = [(each, each.read_bytes()) for each in sorted(folder.rglob("*.py"))]
    before = ReadingCache(Project([Source(str(path), text) for path, text in texts]), rules)
    before.load()
    EDITS["a base class"](folder)
    fresh = scan([folder], cached=True).to_json()
    before.store(ReadingParts(ProgramsReading()))
    EDITS["another line"](folder)
    scan([folder], cached=True)
    EDITS["another line"](folder)
    assert scan([folder], cached=True).to_json() == fresh == scan([folder]).to_json()
