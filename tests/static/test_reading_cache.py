"""After a change only what it may affect is followed again, and a scan finds what one without a cache finds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from regcheck.engine import scan as scan_module
from regcheck.engine.scan import scan
from regcheck.static import analyze
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project
from regcheck.static.project.result_cache import CACHE
from regcheck.static.reading import FileReading

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
        text = (folder / name).read_text() if (folder / name).exists() else FILES[name]
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
    "the program": replace("main.py", "model = Small(0.3)", "model = Small(0.3).eval()"),
    "a program that trains": toggle(
        "train.py", "import torch\nfrom pkg import Small\nfor x in loader:\n    Small()(x).sum().backward()\n"
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, beside an empty cache that is used for any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(scan_module, "WORTH_A_PROCESS", 1)
    folder = tmp_path / "code"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "pkg" / "layers").mkdir()
    return folder


def followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Scans with the cache; the names of the files whose classes are followed."""
    names: set[str] = set()

    def read_classes(project: Project, source: Source, lowered: frozenset[str] = frozenset()) -> FileReading:
        names.add(source.tail)
        return whole(project, source, lowered)

    with monkeypatch.context() as patch:
        whole = analyze.read_classes
        patch.setattr(analyze, "read_classes", read_classes)
        scan([folder], cached=True)
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


def test_a_damaged_entry_is_not_read(folder: Path) -> None:
    """An entry whose checksum does not match is neither unpickled nor believed."""
    first = scan([folder], cached=True).to_json()
    for file in CACHE.folder.iterdir():
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert scan([folder], cached=True).to_json() == first
