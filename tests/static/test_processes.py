"""A scan in several processes: it finds the same as one process, and says what a dead process did not follow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.cli.main import main

FILES = {
    "blocks.py": """import torch.nn.functional as F
from torch import nn

class Block(nn.Module):
    def __init__(self, width=8, rate=0.5):
        super().__init__()
        self.fc, self.rate = nn.Linear(width, width), rate

    def forward(self, x):
        return self.fc(F.dropout(x, self.rate))
""",
    "nets.py": """from torch import nn
from blocks import Block

class Net(nn.Module):
    def __init__(self, depth=3):
        super().__init__()
        self.blocks = nn.Sequential(*[Block() for _ in range(depth)])
        self.norm, self.drop = nn.BatchNorm1d(8), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.norm(self.blocks(x)))
""",
    "train.py": """import torch
from nets import Net

def train(loader, model=None):
    model = Net(4)
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    for x, y in loader:
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

@torch.no_grad()
def validate(loader):
    model = Net(4)
    return [model(x).argmax(1) for x, _ in loader]
""",
    "broken.py": "import torch  # .eval()\nclass (\n",
    "dense.py": """import keras

def model():
    return keras.Sequential([keras.layers.Dense(8), keras.layers.Dropout(0.5), keras.layers.BatchNormalization()])
""",
}
"""A block that two nets use, a program that builds one of them, a file that is no Python, and a model of Keras."""

SCAN = """import sys
from multiprocessing import get_context
from regcheck.engine import scan
from regcheck.static import analyze, processes

scan.WORTH_A_PROCESS = 1
{change}

if __name__ == "__main__":
    sys.stdout.write(scan.scan(["."], {{"select": ["ALL"], "ignore": ["REG207"]}}, jobs=int(sys.argv[1])).to_json())
"""
DIES = """
def classes(self, source, whole=analyze.ClassReader.of):
    return __import__("os")._exit(9) if "nets" in source.path else whole(self, source)

processes.LARGEST_PORTION = 1
analyze.ClassReader.of = classes
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def report(folder: Path, jobs: int, change: str = "") -> str:
    """The report of a scan of a folder, by a program that changes regcheck before."""
    script = folder.parent / "scanning.py"
    script.write_text(SCAN.format(change=change))
    done = subprocess.run([sys.executable, script, str(jobs)], cwd=folder, capture_output=True, text=True, timeout=120)
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("change", ["", 'processes.CONTEXT = get_context("spawn")'])
def test_several_processes_find_the_same(folder: Path, change: str) -> None:
    """The report is the same, to the letter, with one process and with several, however they start."""
    alone = report(folder, 1)
    assert all(code in alone for code in ("REG201", "REG202", "REG301", "syntax error", "keras.layers"))
    assert report(folder, 3, change) == alone


def test_what_a_dead_process_followed_is_not_checked(folder: Path) -> None:
    """A process that dies stops nothing: its files are named as not checked, and all else is found."""
    found = report(folder, 2, DIES)
    assert "the process that followed its classes died (exit code 9)" in found
    assert '"path": "nets.py"' in found and "REG202" in found


@pytest.mark.parametrize("count", ["0", "-1", "two", "1.5"])
def test_the_number_of_processes_is_checked(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--jobs` takes a whole number from one on."""
    assert main(["scan", f"--jobs={count}", "."]) == 2
    assert "whole number from 1 on" in capsys.readouterr().err
