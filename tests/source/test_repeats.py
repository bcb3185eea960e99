"""What is copied because it was met before is what interpreting it again would have given."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck.source.build import Builder
from regcheck.source.files import Source
from regcheck.source.names import Project
from regcheck.source.reading import Reading, lowered
from regcheck.source.repeats import Repeating

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


def read(path: str, content: bytes) -> Reading:
    return lowered(Project([Source(path, content)], whole=True))


def told(reading: Reading) -> list[str]:
    return [repr((each.subject, each.root, each.train, each.eval)) for each in reading.graphs]


FILES = [pytest.param(path.read_bytes(), id=path.name) for path in sorted(MODELS.rglob("*.py"))]


@pytest.mark.parametrize("content", [pytest.param(BLOCKS.encode(), id="blocks"), *FILES])
def test_a_copy_is_what_interpreting_gives(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are the same, op for op, whether what is met again is copied or interpreted."""
    copied = told(read("net.py", content))
    monkeypatch.setattr(Repeating, "forwarded", lambda self, _, *call: self.call_function(*call))
    monkeypatch.setattr(Builder, "copying", False)
    assert copied == told(read("net.py", content))


def test_what_is_alike_is_interpreted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of many blocks takes hardly more steps than one of few."""
    steps = 0
    evaluate = Repeating.evaluate

    def counted(self: Repeating, node: object) -> object:
        nonlocal steps
        steps += 1
        return evaluate(self, node)  # type: ignore[arg-type]

    monkeypatch.setattr(Repeating, "evaluate", counted)
    counts = []
    for depth in (7, 40):
        steps = 0
        reading = read("net.py", BLOCKS.replace("depth=7", f"depth={depth}").encode())
        (graph,) = (each for each in reading.graphs if each.subject == "Net")
        counts.append((steps, len(graph.train.ops)))
    (few, small), (many, large) = counts
    assert large > 2 * small
    assert many < 1.5 * few
