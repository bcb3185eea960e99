"""What is not interpreted because it was met before, or in the other mode, is what interpreting it would have given."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.core.graph import Graph, Kind, Mode
from regcheck.core.starting_points import StartingPoints, Trait
from regcheck.engine.scan import findings_of, scan_with
from regcheck.plugins import catalogue
from regcheck.static.analyze import Reading, analyze
from regcheck.static.interpreter.evaluator import Evaluator
from regcheck.static.interpreter.mode_values import ByMode, ModeTracker
from regcheck.static.interpreter.values import Constant, Unknown, Value
from regcheck.static.models import lowering
from regcheck.static.models.both_modes import BothModesEvaluator
from regcheck.static.models.constructors import CachedCalls
from regcheck.static.models.domain import ModelDomain
from regcheck.static.models.forward_cache import ForwardRunner
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

MODELS = Path(__file__).parents[2] / "fixtures"
BLOCKS = """\
import torch
import torch.nn.functional as F
from torch import nn

class Attention(nn.Module):
    def __init__(self, width=8, rate=0.1):
        super().__init__()
        self.qkv, self.rate = nn.Linear(width, 3 * width), rate
        self.drop = nn.Dropout(rate)

    def forward(self, x, mask=None, cache=None):
        q, k, v = self.qkv(x).chunk(3, -1)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.rate if self.training else 0.0)
        if mask is not None:
            x = x * mask
        if cache is not None:
            cache.append(k)
        return self.drop(x), [q, k]

class Block(nn.Module):
    def __init__(self, width, shared, index, keep=False):
        super().__init__()
        self.norm, self.attention, self.shared = nn.BatchNorm1d(width), Attention(width), shared
        self.index, self.keep, self.seen = index, keep, None
        self.plain = [nn.Dropout(0.3)]
        self.scale = nn.Parameter(torch.ones(width))
        if index == 3:
            self.norm.eval()

    def forward(self, x, mask=None, cache=None):
        if self.keep:
            self.seen = x
        y, (q, k) = self.attention(self.norm(x), mask, cache)
        y = self.shared(y) + torch.rand_like(k) * self.scale
        if self.index == 2:
            y = F.dropout(y, 0.4)
        return x + self.plain[0](y), q

class Net(nn.Module):
    def __init__(self, depth=7, width=8):
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.2))
        self.blocks = nn.ModuleList([Block(width, self.shared, 0) for _ in range(depth)])
        self.odd = nn.ModuleList([Block(width, self.shared, n, keep=n == 4) for n in range(5)])
        self.alone = nn.Sequential(*[Attention(width) for _ in range(4)])
        self.blocks[1].attention.rate = 0.7
        self.head = nn.Linear(width, 2)

    def forward(self, x, mask=None):
        cache, found = [], []
        for block in self.blocks:
            x, q = block(x, mask)
            found.append(q)
        for block in self.odd:
            x, q = block(x, mask if self.training else None, cache)
            x, q = block(x, x)
        if x.sum() > 0:
            x, _ = self.blocks[2](x, mask)
        return self.head(x), found, cache, self.odd[4].seen
"""


MODES = """\
import torch
import torch.nn.functional as F
from torch import nn

class Attention(nn.Module):
    def __init__(self, config, width=8):
        super().__init__()
        self.qkv, self.rate, self.fast = nn.Linear(width, 3 * width), config.rate, False
        self.frozen = nn.BatchNorm1d(width)
        self.frozen.eval()
        self.plain = [nn.Dropout(0.3)]

    def dropped(self, x, rate, training):
        if rate == 0.0 or not training:
            return x
        return F.dropout(x, rate, training)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        y = F.scaled_dot_product_attention(q, k, y, dropout_p=0.2 if not self.training else self.rate)
        y = F.dropout(y, 0.5, self.training) + F.dropout(y, 0.5, not self.training)
        y = self.dropped(y, 0.0, self.training) + self.dropped(y, 0.1, self.training)
        if self.training and self.fast:
            y = y * torch.rand_like(y)
        if self.training and (x.sum() > 0):
            y = y * torch.rand_like(y)
        z = torch.relu(y) if self.training else y
        w = x.T if not self.training else x
        p = (0.1 if self.training else 0.2) * 2
        return self.plain[0](self.frozen(z)) + F.dropout(w, p) * float(self.training), self.training

class Net(nn.Module):
    def __init__(self, config, depth=3):
        super().__init__()
        self.blocks = nn.ModuleList([Attention(config) for _ in range(depth)])
        self.norm, self.rnn = nn.BatchNorm1d(8), nn.LSTM(8, 8, 2, dropout=0.1)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for block in self.blocks:
            x, mode = block(x)
        self.norm.train(self.training)
        return self.head(self.norm(x) if mode else x), self.rnn(x)
"""
CONFIGURED = """\
from somewhere import ModelMixin
from torch import nn

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width, self.fc, self.drop = width, nn.Linear(8, 8), nn.Dropout(0.2)

    def forward(self, x):
        if x.shape[-1] != self.width:
            x = x.flatten()
        return self.drop(self.fc(x))

class Net(ModelMixin):
    def __init__(self, config, depth=7):
        super().__init__()
        self.blocks = nn.ModuleList([Block(self.config.width) for _ in range(depth)])
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)
"""
COMPUTED = """\
from torch import nn

def widths(start, names=("a", "b")):
    found = {}
    for name in names:
        for factor in range(50):
            found[name] = start * factor + len(name)
    return found

"""
MODEL = """\
class Net{n}(nn.Module):
    def __init__(self):
        super().__init__()
        width = widths(4)["a"]
        self.fc, self.drop = nn.Linear(width, width), nn.Dropout(0.2)

    def forward(self, x):
        return self.fc(self.drop(x))

"""


def read(path: str, content: bytes) -> Reading:
    return analyze(Project([Source(path, content)]))


def told(reading: Reading) -> list[str]:
    return [repr((each.subject, each.wholeness, each.train, each.eval)) for each in reading.graphs]


def evaluations(monkeypatch: pytest.MonkeyPatch, source: str, is_counted: Callable[[Evaluator], bool]) -> int:
    """The number of expressions that evaluators of a kind evaluate."""
    steps = 0
    evaluate = Evaluator.evaluate

    def counted(self: Evaluator, node: ast.expr) -> Value:
        nonlocal steps
        steps += is_counted(self)
        return evaluate(self, node)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", counted)
        assert read("net.py", source.encode()).graphs
    return steps


FILES = [pytest.param(path.read_bytes(), id=path.name) for path in sorted(MODELS.rglob("*.py"))]


AWKWARD = [pytest.param(each.encode(), id=name) for each, name in ((BLOCKS, "blocks"), (MODES, "modes"))]


@pytest.mark.parametrize("content", [*AWKWARD, *FILES])
def test_a_copy_is_what_interpreting_gives(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are the same, op for op, whether what is met again is copied or interpreted."""
    copied = told(read("net.py", content))
    monkeypatch.setattr(ForwardRunner, "run", lambda self, _, *call: self.calls.call_function(*call))
    monkeypatch.setattr(CachedCalls, "enabled", False)
    assert copied == told(read("net.py", content))


def in_current_mode(self: ModelDomain, train: Value, evaluation: Value) -> Value:
    """A value in the current mode only; reading it is recorded, so that each mode is run on its own."""
    self.emitter.tracker.observed = True
    return train if self.emitter.mode is Mode.TRAIN else evaluation


@pytest.mark.parametrize("content", [*AWKWARD, *FILES])
def test_one_run_stands_for_both_modes(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are the same, op for op, whether each mode is run by itself or one run stands for both."""
    together = told(read("net.py", content))
    monkeypatch.setattr(ForwardRunner, "run", lambda self, _, *call: self.calls.call_function(*call))
    monkeypatch.setattr(ModelDomain, "by_mode", in_current_mode)
    monkeypatch.setattr(lowering, "BothModesEvaluator", lambda emitter: Evaluator())
    assert together == told(read("net.py", content))


@pytest.mark.parametrize("content", [*AWKWARD, *FILES])
def test_nothing_is_found_in_what_is_left_out(content: bytes) -> None:
    """Rules find the same in the graphs that can matter as in all graphs."""
    project = Project([Source("net.py", content)])
    rules = [rule for rule in catalogue() if rule.about == "graph"]
    chosen = Project(project.sources, StartingPoints.of(rule.begins_at for rule in rules))
    assert [*findings_of(rules, analyze(chosen))] == [*findings_of(rules, analyze(project))]


def test_a_rule_gets_the_graphs_that_it_can_start_in(tmp_path: Path) -> None:
    """A graph is kept for what the rule names in `BEGINS_AT`, wherever the rule comes from."""
    seen: list[str] = []

    def check(graph: Graph) -> tuple[()]:
        seen.append(graph.subject)
        return ()

    path = tmp_path / "net.py"
    path.write_text(CONFIGURED.replace("0.2", "0.0"))
    ours = next(rule for rule in catalogue() if rule.begins_at == (Trait.DROPS,))
    scan_with([path], Options(), [replace(ours, check=check)])
    assert seen == []
    scan_with([tmp_path], Options(), [replace(ours, check=check, begins_at=(Kind.LINEAR,))])
    assert seen == ["Block", "Net"]


def test_reading_a_value_of_both_modes_is_recorded() -> None:
    """Passing it on records nothing; reading its type or an attribute gives the current mode's, and is recorded."""
    tracker = ModeTracker(Mode.EVAL)
    value: object = ByMode(tracker, Constant(0.5), Unknown())
    settings = {"rate": value}
    assert type(settings["rate"]) is ByMode
    assert not tracker.observed
    for look in (lambda: isinstance(value, Unknown), lambda: value == Unknown(), lambda: not value.varies):  # type: ignore[attr-defined]
        tracker.observed = False
        assert look()
        assert tracker.observed


@pytest.mark.parametrize("source", [BLOCKS, CONFIGURED], ids=["blocks", "configured"])
def test_equal_blocks_are_interpreted_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further block of a network costs few steps, whatever the model passes to its blocks."""
    few, many = (
        evaluations(
            monkeypatch,
            source.replace("depth=7", f"depth={depth}"),
            lambda evaluator: isinstance(evaluator, BothModesEvaluator),
        )
        for depth in (7, 40)
    )
    assert (many - few) / (40 - 7) < 20


def test_constructors_compute_equal_results_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty models that compute the same take hardly more steps to build than two."""
    few, many = (
        evaluations(
            monkeypatch,
            COMPUTED + "".join(MODEL.format(n=n) for n in range(count)),
            lambda evaluator: isinstance(evaluator.calls, CachedCalls),
        )
        for count in (2, 20)
    )
    assert many < 2 * few
