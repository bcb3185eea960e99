"""Functions that mean to give a mode back: what they leave behind is told where it matters, and nothing else."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from regcheck.core.finding import Severity
from regcheck.engine.scan import scan

HEADER = """\
import contextlib
import torch
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5))
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.norm(self.body(x)))

def train_epoch(model, optimizer, batches):
    {prepare}
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
"""
FIT = """
def main(batches):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    {first}
    for epoch in range(9):
        train_epoch(model, optimizer, batches)
        print(evaluate(model, batches))
"""
STOPPING = FIT.replace("        print(evaluate(model, batches))\n", "        {stop}\n")
PREDICT = """
def main(batches):
    model = Net()
    model.eval()
    print(evaluate(model, batches))
    {then}
    with torch.no_grad():
        for x, _ in batches:
            print(model(x))
"""
SKIPPED = """
def evaluate(model, batches):
    was = model.training
    model.eval()
    total = 0
    with torch.no_grad():
        for x, y in batches:
            loss = F.cross_entropy(model(x), y)
            if loss > 99:
                return None  # <-
            total += loss
    model.train(was)
    return total
"""
UNCONDITIONAL = """
def evaluate(model, batches):
    model.eval()
    with torch.no_grad():
        total = sum(F.cross_entropy(model(x), y) for x, y in batches)
    model.train()  # <-
    return total
"""
WHOLE = UNCONDITIONAL.replace("model.eval()", "was = model.training\n    model.eval()").replace("train()", "train(was)")


def found(path: Path, source: str, **options: object) -> list[tuple[int | None, Severity]]:
    path.joinpath("program.py").write_text(source)
    report = scan([path], {"select": ["REG208"], **options})
    assert report.not_checked == ()
    return [(each.line, each.severity) for each in report.findings]


def program(function: str, main: str, prepare: str = "pass", **blanks: str) -> str:
    return (
        HEADER.format(prepare=prepare) + dedent(function) + main.format(**{"first": "pass", "then": "pass", **blanks})
    )


def marked(source: str) -> list[int]:
    return [number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# <-")]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(program(SKIPPED, FIT), id="an early return, and the caller trains on"),
        pytest.param(program(UNCONDITIONAL, PREDICT), id="an unconditional train(), and the caller predicts on"),
        pytest.param(program(WHOLE, FIT, first="model.norm.eval()"), id="a frozen part, and the caller trains on"),
        pytest.param(
            program(UNCONDITIONAL, FIT, first="model.norm.eval()"), id="a frozen part, switched to train mode"
        ),
    ],
)
def test_a_mode_that_is_not_given_back_is_a_warning_where_the_caller_relies_on_it(tmp_path: Path, source: str) -> None:
    """Exactly the line is told at which the function leaves the mode."""
    assert found(tmp_path, source) == [(line, Severity.WARNING) for line in marked(source)]


@pytest.mark.parametrize(
    "source",
    [
        program(SKIPPED, FIT, prepare="model.train()"),
        program(WHOLE, FIT, prepare="model.train()\n    model.norm.eval()", first="model.norm.eval()"),
        program(SKIPPED, STOPPING, stop="loss = evaluate(model, batches)\n        if loss is None: break"),
        program(SKIPPED, STOPPING, stop="if evaluate(model, batches) is None: return"),
        program(WHOLE, FIT, first="model.norm.eval()\n    evaluate(model, batches)"),
    ],
)
def test_without_harm_it_is_advice(tmp_path: Path, source: str) -> None:
    """Mere advice, where the caller sets the mode before it trains on, stops, or did not train in that mode before."""
    assert found(tmp_path, source) == [(line, Severity.INFO) for line in marked(source)]


SILENT = {
    "it sets one mode only": program(UNCONDITIONAL.replace("    model.train()  # <-\n", ""), FIT),
    "it gives the mode back": program(WHOLE, PREDICT),
    "it gives the mode back in a finally": program(
        """
        def evaluate(model, batches):
            was = model.training
            model.eval()
            try:
                for x, y in batches:
                    if F.cross_entropy(model(x), y) > 99:
                        return None
                return 1
            finally:
                model.train(was)
        """,
        FIT,
    ),
    "it gives the mode back on each path": program(
        """
        def evaluate(model, batches):
            model.eval()
            with torch.no_grad():
                for x, y in batches:
                    if F.cross_entropy(model(x), y) > 99:
                        model.train()
                        return None
            model.train()
            return 1
        """,
        FIT,
    ),
    "a context manager gives it back": program(
        """
        @contextlib.contextmanager
        def evaluating(model):
            was = model.training
            model.eval()
            try:
                yield
            finally:
                model.train(was)

        def evaluate(model, batches):
            with evaluating(model):
                for x, y in batches:
                    if F.cross_entropy(model(x), y) > 99:
                        return None
            return 1
        """,
        FIT,
    ),
    "it sets whatever mode it is asked for": program(
        """
        def switch(model, mode):
            if mode == "eval":
                model.eval()
                return model
            model.train()
            return model

        def evaluate(model, batches):
            switch(model, "eval")
            with torch.no_grad():
                total = sum(F.cross_entropy(model(x), y) for x, y in batches)
            switch(model, "train")
            return total
        """,
        FIT,
    ),
    "each phase sets its own mode": program(
        """
        def evaluate(model, batches, phase="test"):
            if phase != "train":
                model.eval()
                with torch.no_grad():
                    return [model(x) for x, _ in batches]
            model.train()
            return [model(x) for x, _ in batches]
        """,
        FIT,
    ),
    "it trains, and so owns the mode": program(
        """
        def evaluate(model, batches):
            model.eval()
            with torch.no_grad():
                if model(batches[0][0]).sum() > 9:
                    return None
            model.train()
            for x, y in batches:
                F.cross_entropy(model(x), y).backward()
        """,
        FIT,
    ),
    "its caller sets the mode right after": program(UNCONDITIONAL, PREDICT, then="model.eval()"),
    "its caller asked for train mode": program(UNCONDITIONAL, PREDICT, then="model.train()"),
    "it was given the model in train mode": program(UNCONDITIONAL, PREDICT.replace("    model.eval()\n", "")),
    "train mode is switched on for Monte-Carlo predictions": program(
        """
        def evaluate(model, batches):
            model.eval()
            model.train()
        """,
        PREDICT,
    ),
}


@pytest.mark.parametrize("name", SILENT)
def test_what_owns_or_restores_the_mode_is_silent(tmp_path: Path, name: str) -> None:
    """Not even advice is given on functions that set one mode, restore it, train, or whose caller sets it after."""
    assert found(tmp_path, SILENT[name]) == []
