"""What a library does on behalf of a project is reported at the project's line that leads to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regcheck.core.finding import Finding, Severity
from regcheck.session.block import watch

from .conftest import PRELUDE

LIBRARY = '''\
"""Estimators, optimizers by name, inferers, pipelines: the ways in which libraries call models of their users."""
import functools
import torch
from torch import nn
from torch.nn import functional as F


class Estimator:
    def __init__(self, module, optimizer=torch.optim.SGD, callback=None, **options):
        self.module, self.kind, self.callback = module, optimizer, callback
        self.options = {name.split("__")[1]: value for name, value in options.items()}

    def initialize(self):
        self.net = self.module()
        self.optimizer = self.kind(self.net.parameters(), lr=0.01, **self.options)

    def fit(self, rows, labels):
        self.initialize()
        for row in rows:
            self._step(row, labels)
        return self

    def _step(self, row, labels):
        self.net.train()
        if self.callback:
            self.callback(self.net)
        loss = F.cross_entropy(self.net(row), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def predict(self, row):
        self.net.eval()
        return self.net(row).argmax(1)


def create_optimizer(net, opt, **options):
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[opt](net.parameters(), **options)


def instantiate(config, **more):
    name = config.pop("target").split(".")[-1]
    return functools.partial(getattr(torch.optim, name), **config)(**more)


class Registry:
    def __init__(self):
        self.entries = {}

    def register(self, entry):
        self.entries[entry.__name__] = entry
        return entry

    def build(self, config):
        return self.entries[config.pop("type")](**config)


def tiled(rows, net):
    return torch.cat([net(row) for row in rows])


@torch.no_grad()
def serve(rows, net):
    print(tiled(rows, net).argmax(1))


class Tiles:
    def __call__(self, rows, net):
        return tiled(rows, net)


class Pipeline:
    def __init__(self, net):
        self.net = net

    def __call__(self, rows):
        return [self.postprocess(self.run_single(row)) for row in rows]

    def run_single(self, row):
        with torch.inference_mode():
            return self.net(row)

    def postprocess(self, scores):
        return scores.softmax(1).max(1)


class Trainer:
    def __init__(self, net, optimizer, evaluate):
        self.net, self.optimizer, self.evaluate = net, optimizer, evaluate

    def train(self, rows, labels):
        for row in rows:
            F.cross_entropy(self.net(row), labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.evaluate(self.net)
'''

COMMON = """\
import lib
from torch.nn import functional as F

torch.manual_seed(0)
rows, labels = torch.randn(4, 4, 8), torch.tensor([0, 1, 0, 1])


def stepped(net, optimizer):
    F.cross_entropy(net(rows[0]), labels).backward()
    optimizer.step()


"""

PROGRAMS = {
    "an estimator that builds the optimizer when it fits": (
        """
def build(kind):
    return lib.Estimator(Net, optimizer=kind, optimizer__weight_decay=0.05)
def main():
    estimator = build(torch.optim.~Adam|AdamW~)
    estimator.fit(rows, labels)  # <-
    return estimator.predict(rows[0])
main()
""",
        "REG301",
    ),
    "an optimizer by its name": (
        """
net = Net()
stepped(net, lib.create_optimizer(net, ~"adam"|"adamw"~, weight_decay=0.05))  # <-
""",
        "REG301",
    ),
    "an optimizer from a configuration": (
        """
class Run:
    config = {"target": "torch.optim.NAdam", "weight_decay": ~0.05|0~}
    def go(self):
        net = Net()
        stepped(net, lib.instantiate(dict(self.config), params=net.parameters()))  # <-
Run().go()
""",
        "REG301",
    ),
    "a registry that calls a function of the project": (
        """
registry = lib.Registry()
@registry.register
def adagrad(net, decay):
    return torch.optim.Adagrad(net.parameters(), weight_decay=decay)  # <-
net = Net()
stepped(net, registry.build({"type": "adagrad", "net": net, "decay": ~0.05|0~}))
""",
        "REG301",
    ),
    "a class of optimizer that the project registers": (
        """
registry = lib.Registry()
registry.register(torch.optim.Adamax)
def main(decay):
    net = Net()
    stepped(net, registry.build({"type": "Adamax", "params": net.parameters(), "weight_decay": decay}))  # <-
if __name__ == "program":
    main(~0.05|0~)
""",
        "REG301",
    ),
    "an inferer": (
        """
def segment(net):
    with torch.no_grad():
        return lib.tiled(rows, net).argmax(1)  # <-
net = Net()
~pass|net.eval()~
segment(net)
""",
        "REG201",
    ),
    "an inferer that is an object": (
        """
infer = lib.Tiles()
net = Net()
net.~float|eval~()
with torch.no_grad():
    print(infer(rows, net).shape, infer(rows, net).argmax(1))  # <-
""",
        "REG201",
    ),
    "a pipeline": (
        """
classify = lib.Pipeline(Net()~|.eval()~)
answers = [list(classify(rows)) for _ in range(2)]  # <-
""",
        "REG201",
    ),
    "a trainer whose hook leaves eval() on": (
        """
class Hook:
    def __call__(self, net):
        net.eval()
        with torch.no_grad():
            print((net(rows[0]).argmax(1) == labels).float().mean())
        ~pass|net.train()~
def main():
    net = Net()
    lib.Trainer(net, torch.optim.SGD(net.parameters(), lr=0.01), Hook()).train(rows, labels)  # <-
main()
""",
        "REG206",
    ),
    "an estimator whose callback undoes the estimator's train()": (
        """
def watch(net):
    net.eval()
    with torch.no_grad():
        print(net(rows[1]).argmax(1))
    ~pass|net.train()~
fit = lib.Estimator(Net, callback=watch).fit
fit(rows, labels)  # <-
""",
        "REG206",
    ),
}
"""Each program has a fault and a sound twin: `~faulty|sound~`."""


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A library that is installed beside the project."""
    packages = tmp_path / "site-packages"
    (packages / "lib").mkdir(parents=True)
    (packages / "lib" / "__init__.py").write_text(LIBRARY, encoding="utf-8")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(str(packages))
    yield
    sys.modules.pop("lib", None)


def findings(source: str) -> tuple[Finding, ...]:
    path = Path("program.py").absolute()
    path.write_text(source, encoding="utf-8")
    with watch({"devices": ["cpu"]}) as watched:
        exec(compile(source, str(path), "exec"), {"__name__": "program"})
    assert watched.report.not_checked == ()
    return watched.report.findings


def variant(program: str, faulty: bool) -> str:
    pieces = program.split("~")
    return (
        PRELUDE
        + COMMON
        + "".join(piece.split("|")[not faulty] if number % 2 else piece for number, piece in enumerate(pieces))
    )


def marked(source: str) -> list[int]:
    return [number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# <-")]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_fault_in_a_library_stands_at_the_line_of_the_project(name: str) -> None:
    """The finding is placed at the innermost line of the project, and its message names the library's line."""
    program, code = PROGRAMS[name]
    source = variant(program, faulty=True)
    reported = findings(source)
    assert [(each.code, each.path, each.line) for each in reported] == [(code, "program.py", *marked(source))]
    text = source.splitlines()[marked(source)[0] - 1]
    assert (" (in lib/__init__.py:" in reported[0].message) is ("torch.optim.Adagrad(" not in text)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sound_use_of_a_library_is_silent(name: str) -> None:
    """The same program with another optimizer, or with the mode set, is not reported."""
    assert findings(variant(PROGRAMS[name][0], faulty=False)) == ()


def test_each_line_that_leads_into_a_library_has_its_finding() -> None:
    """Two lines of the project that reach one line of a library are two findings, and a third in eval mode is none."""
    source = variant(
        """
net = Net()
with torch.no_grad():
    first = lib.tiled(rows, net).argmax(1)  # <-
    second = lib.Tiles()(rows[:2], net).argmax(1)  # <-
    net.eval()
    third = lib.tiled(rows, net).argmax(1)
""",
        faulty=True,
    )
    reported = findings(source)
    assert [each.line for each in reported] == marked(source)
    assert {each.severity for each in reported} == {Severity.ERROR}


def test_a_comment_at_the_line_of_the_project_suppresses() -> None:
    """An ignore at the line where the finding is placed suppresses it, and is in use."""
    source = variant(PROGRAMS["an optimizer by its name"][0], faulty=True)
    assert findings(source.replace("# <-", "# regcheck: ignore[REG301] tuned with it")) == ()


def test_a_library_alone_is_reported_in_its_own_file() -> None:
    """Where no line of a project leads to it, as in a thread that the library starts, the finding stays there."""
    source = "\nimport threading\nthread = threading.Thread(target=lib.serve, args=(rows, Net()))\nthread.start()\n"
    (reported,) = findings(variant(source + "thread.join()\n", faulty=True))
    assert (reported.code, Path(reported.path or "").name) == ("REG201", "__init__.py")
    assert " (in " not in reported.message
