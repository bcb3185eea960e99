"""Commands and Python code of the README and the docs run and do what the page says, or a list says why they cannot.

`docs/readme.py` runs the commands of the README and the tutorial, `tests/test_write_a_rule.py` the plugin of its page.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regcheck
from regcheck.cli.main import VERBS, main, parser_of
from regcheck.core.report import Report

ROOT = Path(__file__).parent.parent
GENERATED = ("docs/rules/", "docs/decisions/", "docs/reference/reference.md")
"""Pages that are made of code which other tests run, and records of the past."""

PAGES = {
    name: file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
    if not (name := file.relative_to(ROOT).as_posix()).startswith(GENERATED)
}
RUN_BY_README = ("README.md", "docs/tutorial.md")
"""Pages whose commands of regcheck and pytest `docs/readme.py` runs; `tests/test_readme.py` compares their output."""

NOT_RUN = {
    r"(.* && )?(pip|uv|pipx) .*": "needs a package index; tests/test_wheel.py installs the wheel",
    r"python -m venv .*|\. .*/activate|export .*|mkdir .*": "prepares a shell",
    r"make test": "runs this test",
    r"torchrun --nproc-per-node 8 .*": "needs eight processes; tests/cli/test_run_ranks.py starts some",
    r"regcheck audit 'timm:.*": "needs timm and torchvision, and hours",
    r"python -m zoo .*": "needs timm, torchvision and others, and hours",
}
"""Commands that no test runs, and why."""

PYTHON_NOT_RUN = {
    "from lightning.pytorch import Trainer": "Lightning is not in the development environment",
    "from transformers import Trainer": "transformers is not in the development environment",
    "callback = LightningCallback(": "Lightning is not in the development environment",
    '--8<-- "fixtures/': "docs/readme.py runs the files of the tutorial",
}
"""First lines of Python code that no test runs, and why."""

CODES: dict[str, dict[str, int]] = {
    "docs/how-to/artifacts.md": {
        "regcheck audit model.pt2": 1,
        "regcheck audit traced.pt": 1,
        "regcheck audit scripted.pt --input 8x3x224x224": 1,
        "regcheck audit model.onnx": 0,  # onnxruntime removes the dropout, so it is advice
    },
    "docs/how-to/baseline.md": {
        "regcheck scan --write-baseline --baseline regcheck-baseline.json": 0,
        "regcheck scan --baseline regcheck-baseline.json": 0,
    },
    "docs/how-to/ci.md": {"pytest --regcheck": 1, "regcheck audit --strict": 1},
    "docs/how-to/fix.md": {
        "regcheck scan --diff": 1,
        "regcheck scan --fix": 1,
        "regcheck scan --fix --unsafe-fixes": 0,
        "regcheck audit net.py:Net --diff": 1,
        "regcheck audit net.py:Net --fix": 0,
        "pytest --regcheck --regcheck-fix": 1,  # the configured model failed before the fix
    },
    "docs/how-to/ignore.md": {'regcheck scan --add-ignores "old code, to be fixed"': 0},
    "docs/how-to/install.md": {
        "regcheck completion bash": 0,
        "regcheck completion zsh": 0,
        "regcheck completion fish": 0,
        "regcheck --version": 0,
        "regcheck selftest --mode eager": 0,
    },
    "docs/how-to/lightning-and-hugging-face.md": {
        "regcheck scan src": 1,
        "regcheck run train.py --max-epochs 1": 1,
        "regcheck run notebooks/finetune.ipynb": 1,
    },
    "docs/how-to/many-models.md": {"regcheck merge 1.json 2.json --expect 2 --html zoo.html": 1},
    "docs/how-to/notebook.md": {"regcheck run notebooks/train.ipynb": 1},
    "docs/how-to/watch-a-script.md": {
        "regcheck run train.py --epochs 1": 1,
        "regcheck run -m package.train --epochs 1": 1,
        "regcheck run notebook.ipynb": 1,
        "regcheck run --fail-on error --output-format json --output-file regcheck.json train.py --epochs 1": 1,
    },
    "docs/how-to/write-a-rule.md": {"regcheck rule --new softmax-before-cross-entropy acme_rules": 0},
    "docs/index.md": {
        "regcheck scan src": 1,
        "regcheck audit my_package.models:Net --input 1x3x224x224": 1,
        "pytest --regcheck": 1,
    },
    "docs/performance.md": {"python benchmarks/scan.py FOLDER": 0},
    "docs/reference/formats.md": {"regcheck scan --output-format json-lines": 1},
}
"""The exit code of each command in the project below."""

QUICK = re.compile(r"regcheck (scan|rule|completion|merge|--version)\b")
FENCE = re.compile(r"^( *)```(console|bash|python)\b[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*?)(?: {2,}#.*)?$\n?((?:(?!\$ ).*\n?)*)", re.MULTILINE)

NET = """\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(F.dropout(F.relu(self.hidden(x)), 0.5))
"""
MODELS = """\
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=8)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(F.dropout(F.relu(self.stem(x)).mean((2, 3)), 0.5))


def small_unet():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3))
"""
TRAIN = """\
import torch
from torch import nn

model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(32, 8), torch.randint(4, (32,))
for epoch in range(2):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
with torch.no_grad():
    print((model(x).argmax(1) == y).float().mean().item())
"""
TESTS = """\
import torch
from my_package.models import Net


def test_shape():
    assert Net().eval()(torch.ones(4, 3, 32, 32)).shape == (4, 2)
"""
CELLS = (
    NET.replace("0.5)", "0.5, self.training)"),
    "model = Net()\nx = torch.randn(16, 8)",
    "model(x).square().mean().backward()",
    "# The scores\n\nwith torch.no_grad():\n    outputs = model(x)\noutputs.argmax(1)",
)
SETTINGS = """\
[tool.pytest.ini_options]
pythonpath = ["src"]
addopts = ["-p", "no:randomly", "-p", "no:cacheprovider"]

[tool.regcheck]
devices = ["cpu"]
models = ["my_package.models:Net", "my_package.models:small_unet"]
"""


@dataclass(frozen=True)
class Block:
    """A block of code in a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> Iterator[tuple[str, str]]:
        """The commands, without prompts, comments and what their output is piped to; each with the output shown."""
        if self.language == "python":
            return
        text = self.text if self.language == "console" else re.sub("^", "$ ", self.text, flags=re.MULTILINE)
        for command, shown in COMMAND.findall(text):
            if command:
                yield re.split(r" [|>] ", command)[0], shown


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Keras, and of torch's exporters
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of torch's exporters
]

BLOCKS = [
    Block(page, text.count("\n", 0, found.start()) + 1, found[2], textwrap.dedent(found[3]))
    for page, text in PAGES.items()
    for found in FENCE.finditer(text)
]


def is_run(command: str) -> bool:
    return not any(re.fullmatch(each, command) for each in NOT_RUN)


def reason(block: Block) -> str:
    """Why the Python code of a block is not run, if it is not."""
    return next((why for start, why in PYTHON_NOT_RUN.items() if block.text.startswith(start)), "")


def test_every_command_is_run_or_listed() -> None:
    """Each command is in the table of exit codes or in the list of those that no test runs; no entry is idle."""
    commands = [(block.page, command) for block in BLOCKS for command, _ in block.commands]
    expected = {
        (page, command)
        for page, command in commands
        if is_run(command) and not (page in RUN_BY_README and re.match("regcheck|pytest", command))
    }
    assert {(page, command) for page, codes in CODES.items() for command in codes} == expected
    assert all(any(re.fullmatch(each, command) for _, command in commands) for each in NOT_RUN)
    texts = [block.text for block in BLOCKS if block.language == "python"]
    assert all(any(text.startswith(each) for text in texts) for each in PYTHON_NOT_RUN)


def test_commands_in_prose_and_in_ci_files_have_valid_options() -> None:
    """What a page says to write into a terminal or into a CI file parses, with all its options."""
    written = [
        found
        for text in PAGES.values()
        for found in re.findall(r"`regcheck ([a-z]+ [^`]*)`|^ +- (?:run: )?regcheck ([a-z]+ .*)$", text, re.MULTILINE)
    ]
    commands = [shlex.split(prose or ci) for prose, ci in written]
    assert len(commands) > 15
    for verb, *words in commands:
        if words and verb in VERBS and verb not in ("completion", "run") and not words[-1].startswith("--"):
            parser_of(verb).parse([word for word in words if not re.fullmatch("[A-Z|…]+", word)])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project that has what the pages name, as the working directory; its modules are forgotten afterwards."""
    notebook = {
        "cells": [
            {"cell_type": "code", "source": cell, "metadata": {}, "outputs": [], "execution_count": None}
            for cell in CELLS
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    files = {
        "pyproject.toml": SETTINGS,
        "net.py": NET,
        "train.py": TRAIN,
        "package/__init__.py": "",
        "package/train.py": TRAIN,
        "src/my_package/__init__.py": "",
        "src/my_package/models.py": MODELS,
        "tests/test_models.py": TESTS,
        **dict.fromkeys(("notebook.ipynb", "notebooks/train.ipynb", "notebooks/finetune.ipynb"), json.dumps(notebook)),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {*sys.modules}
    yield tmp_path
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def export_models() -> None:
    """Write the deployed models of the page on them, exported in train mode."""
    model, x = nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 4)).train(), torch.randn(4, 8)
    torch.export.save(torch.export.export(model, (x,)), "model.pt2")
    torch.jit.save(torch.jit.trace(model, x, check_trace=False), "traced.pt")
    torch.onnx.export(
        model, (x,), "model.onnx", training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, dynamo=False
    )
    sys.path.insert(0, "src")
    torch.jit.save(torch.jit.script(importlib.import_module("my_package.models").Net()), "scripted.pt")


def write_reports() -> None:
    """Write the reports of two machines, one with a finding."""
    for name, target in (("1.json", "my_package.models:Net"), ("2.json", "my_package.models:small_unet")):
        main(["audit", target, "--output-format", "json", "--output-file", name])


PREPARED: dict[str, Callable[[], None]] = {
    "docs/how-to/artifacts.md": export_models,
    "docs/how-to/many-models.md": write_reports,
}


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command, in this process if it leaves this process as it is: the exit code, and all output."""
    program, *words = shlex.split(command)
    if program == "regcheck" and words[0] != "run":
        code = main(words)
        return code, "".join(capsys.readouterr())
    if program == "python":
        words = [str(ROOT / words[0]), *("." if word == "FOLDER" else word for word in words[1:])]
    else:
        words = ["-m", program, *words]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            id=f"{block.page}:{block.line}",
            marks=() if all(QUICK.match(command) for command in commands) else pytest.mark.slow,
        )
        for block in BLOCKS
        if (commands := [each for each, _ in block.commands if each in CODES.get(block.page, ())])
    ],
)
def test_commands_do_what_the_page_says(
    block: Block, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of a block, run in order in a project, exit with their codes and print what the block shows."""
    monkeypatch.setenv("COLUMNS", "200")
    PREPARED.get(block.page, lambda: None)()
    for command, shown in block.commands:
        if is_run(command):
            code, output = run(command, capsys)
            assert code == CODES[block.page][command], f"{command}\n{output}"
            assert {*filter(None, shown.splitlines())} <= {*output.splitlines()}, f"{command}\n{output}"


class Net(nn.Module):
    """A sound model for the Python code of the pages."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden, self.drop, self.head = nn.Linear(16, width), nn.Dropout(0.5), nn.Linear(width, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        hidden = self.hidden(x if mask is None else x * mask)
        scores: torch.Tensor = self.head(self.drop(hidden.relu()))
        return scores


class MaskedNet(Net):
    """The same, where a mask is required."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(x, mask)


class Writer:
    """Takes the place of TensorBoard's."""

    def add_text(self, tag: str, text: str) -> None:
        assert tag == "regcheck" and "REG" in text


def train(model: nn.Module, loader: list[torch.Tensor]) -> None:
    for batch in loader:
        model.train()(batch).sum().backward()


def predict(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        scores: torch.Tensor = model.eval()(batch)
        return scores


def names() -> dict[str, Any]:
    """What the Python code of a page finds defined."""
    model, x = Net(), torch.randn(8, 16)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    return {
        **{each.__name__: each for each in (Net, MaskedNet, train, predict, pytest, regcheck, torch)},
        "audit": regcheck.audit,
        "nn": nn,
        "F": nn.functional,
        "writer": Writer(),
        "epochs": 2,
        "model": model,
        "net": model,
        "optimizer": optimizer,
        "opt": optimizer,
        "x": x,
        "batch": x,
        "m": torch.ones(8, 16),
        "loader": [x],
        "held_out": [x],
        "train_epoch": train,
        "validate": lambda model, batches: [predict(model, each) for each in batches],
    }


def distributed_names() -> dict[str, Any]:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    return {"DistributedDataParallel": nn.parallel.DistributedDataParallel}


def keras_names() -> dict[str, Any]:
    os.environ["KERAS_BACKEND"] = "torch"
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential([layers.Input((16,)), layers.Dense(8), layers.Dropout(0.5), layers.Dense(2)])
    return {"keras": keras, "layers": layers, "model": model, "images": torch.randn(8, 16)}


def deployed_names() -> dict[str, Any]:
    torch.jit.save(torch.jit.script(nn.Linear(16, 4)), "scripted.pt")
    return {"model": nn.Linear(16, 4)}


NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/how-to/artifacts.md": deployed_names,
    "docs/how-to/distributed.md": distributed_names,
    "docs/how-to/keras.md": keras_names,
    "docs/how-to/notebook.md": lambda: {"batch": {"x": torch.randn(8, 16)}},
}
"""What a page defines otherwise, or in addition."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", sorted({each.page for each in BLOCKS if each.language == "python" and not reason(each)})
)
def test_python_code_runs(page: str, project: Path) -> None:
    """The Python blocks of a page run one after the other, and the reports that they make have checked something."""
    namespace = {**names(), **NAMES.get(page, dict)()}
    try:
        for block in BLOCKS:
            if block.page == page and block.language == "python" and not reason(block):
                exec(compile(block.text, f"{page}:{block.line}", "exec"), namespace)
                report = namespace.get("report")
                assert report is None or (isinstance(report, Report) and report.coverage and not report.not_checked)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
