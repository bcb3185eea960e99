"""Nothing outside a model changes what an audit says of it: no line, no order, no earlier audit, no load."""

from __future__ import annotations

import importlib.util
import json
import random
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regcheck
from regcheck.engine.audit import audit
from regcheck.runtime.recorder import EventRecorder
from regcheck.session.session import Session

FIXTURES = Path(__file__).parents[1] / "fixtures"
MODELS, PROGRAMS = (
    [path for name in names for path in sorted((FIXTURES / name).glob("*.py"))]
    for names in (("models", "advice"), ("programs", "optimizers"))
)
FAULTY = [*MODELS, *PROGRAMS]
OPTIONS = {"extend_select": ["ALL"], "devices": ["cpu"], "budget": 2}


def imported(path: Path) -> Any:
    """The fixture as a module, run under a seed of its own."""
    spec = importlib.util.spec_from_file_location("examined", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a fixture does wrong, torch may warn of
        torch.manual_seed(0)
        spec.loader.exec_module(module)
    return module


def reported(path: Path, lines: list[int] | None = None) -> str:
    """The report on a fixture as JSON, without its path; `lines` are the numbers that its lines had before a shift."""
    with EventRecorder(root=str(path.parent)) as watch:
        module, seen = imported(path), watch.drain()
    is_program = path.name in {each.name for each in PROGRAMS}
    report = (
        Session(OPTIONS).examine(seen).ledger.report()
        if is_program
        else audit(module.model, *module.inputs, options=OPTIONS)
    )
    document = json.loads(json.dumps(report.to_dict()), object_hook=lambda entry: placed(entry, path, lines))
    shown = json.dumps(document, indent=1)
    return re.sub(r"(?<= at line )\d+", lambda number: str(lines[int(number[0]) - 1]), shown) if lines else shown


def placed(entry: dict[str, Any], path: Path, lines: list[int] | None) -> dict[str, Any]:
    """An entry of a report without the fixture's path, and with the line that it had before a shift."""
    if entry.get("path") and Path(entry["path"]).name == path.name:
        line = entry["line"] if lines is None else lines[entry["line"] - 1]
        return {**entry, "path": path.name, "line": line}
    return entry


@cache
def expected(path: Path) -> str:
    """The first report on a fixture, which all others are compared with."""
    return reported(path)


def shifted(path: Path, folder: Path) -> tuple[Path, list[int]]:
    """A copy with a note on top and blank lines in between, and the number that each of its lines had."""
    written, numbers = ["# a note", ""], [0, 0]
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.match(r" +(def|return|x =)\b", line):
            written.append("")
            numbers.append(0)
        written.append(line)
        numbers.append(number)
    copy = folder / path.name
    copy.write_text("\n".join(written) + "\n", encoding="utf-8")
    return copy, numbers


@contextmanager
def load(processes: int) -> Iterator[None]:
    """So many busy processes beside this one."""
    with ExitStack() as stack:
        for _ in range(processes):
            stack.callback(stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"])).kill)
        yield


@pytest.mark.parametrize("path", FAULTY, ids=lambda path: path.stem)
def test_lines_may_move(path: Path, tmp_path: Path) -> None:
    """Notes and blank lines in the source change no verdict and no figure."""
    assert reported(*shifted(path, tmp_path)) == expected(path)


def test_what_was_audited_before_does_not_matter() -> None:
    """In any order, and after twenty other models and draws of the program's own, each report is the same."""
    some = FAULTY[::2]
    before = {path: expected(path) for path in some}
    for width in range(2, 22):
        audit(nn.Sequential(nn.Linear(4, width), nn.Dropout(0.3), nn.Linear(width, 2)), options=OPTIONS)
    for path in random.Random(0).sample(some, len(some)):
        torch.rand(random.randrange(1, 9))
        assert reported(path) == before[path]


@pytest.mark.parametrize(
    "paths", [FAULTY[::6], pytest.param(FAULTY, marks=pytest.mark.slow)], ids=["some fixtures", "all fixtures"]
)
def test_load_does_not_matter(paths: list[Path]) -> None:
    """With two busy processes beside it, an audit says the same twice."""
    before = {path: expected(path) for path in paths}
    with load(2):
        for path in (*paths, *paths):
            assert reported(path) == before[path]


@pytest.mark.filterwarnings("ignore:dropout2d")
@pytest.mark.parametrize("path", MODELS[::6], ids=lambda path: path.stem)
def test_each_door_says_the_same(path: Path) -> None:
    """What an audit proves of a model, watching a call of it on the same inputs proves with the same figures.

    But for dropout on a model's output or input: whether a model is whole, a call of it does not always tell.
    """
    module = imported(path)
    with regcheck.watch(OPTIONS) as watched, torch.no_grad():
        module.model.eval()  # one that trains returns nothing
        module.model(*module.inputs)
    both = (audit(module.model, *module.inputs, options=OPTIONS), watched.report)
    asked, seen = ({(each.code, each.line, str(each.evidence)) for each in report.findings} for report in both)
    assert asked and seen <= asked
    assert {code for code, *_ in asked - seen} <= {"REG101", "REG407"}
