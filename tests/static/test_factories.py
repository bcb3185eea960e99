"""Functions without arguments that build models: they give classes the rates and parts that the project uses."""

from __future__ import annotations

import re
from pathlib import Path

from regcheck.engine.scan import scan

NETS = """\
import functools
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, channels, rate=0.0):
        super().__init__()
        self.conv, self.drop = nn.Conv2d(channels, channels, 3, padding=1), nn.Dropout(rate)
        self.again = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return self.again(self.drop(torch.relu(self.conv(x)))){mark}

class Net(nn.Module):
    def __init__(self, block, depth, rate=0.0, classes=10):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(*[block(8, rate) for _ in range(depth)])
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))

"""
FACTORIES = (
    "def small():\n    return Net(Block, 2, rate={rate})\n",
    "def small():\n    net = Net(Block, depth=2, rate={rate}, classes=4)\n    return net\n",
    "def small(classes=10, rate={rate}):\n    return Net(Block, 2, rate, classes)\n",
    "def small():\n    return nn.Sequential(Net(Block, 2, {rate}), nn.Softmax(1))\n",
    "def small():\n    options = dict(rate={rate})\n    return Net(Block, 2, **options).to('cpu')\n",
    "def build(rate):\n    return Net(Block, 2, rate)\n\ndef small():\n    return build({rate})\n",
    "NETS = {{}}\n\ndef register(f):\n    NETS[f.__name__] = f\n    return f\n\n"
    "@register\ndef small() -> nn.Module:\n    return Net(functools.partial(Block), 2, rate={rate})\n",
)


def test_a_factory_is_built_though_nobody_calls_it(tmp_path: Path) -> None:
    """The rate that a factory gives acts in the classes that it builds, and a rate of zero does not."""
    marked = set()
    for number, factory in enumerate(FACTORIES):
        for rate, mark in ((0.2, "  # <- REG102"), (0.0, "")):
            path = tmp_path / f"net_{number}_{'sound' if not mark else 'faulty'}.py"
            path.write_text(NETS.format(mark=mark) + factory.format(rate=rate))
            lines = enumerate(path.read_text().splitlines(), 1)
            marked |= {(path.name, line, code) for line, text in lines for code in re.findall(r"# <- (REG\d+)", text)}
    report = scan([tmp_path])
    assert {(Path(each.path or "").name, each.line, each.code) for each in report.findings} == marked


def test_a_function_that_needs_an_argument_is_no_factory(tmp_path: Path) -> None:
    """What a caller must give is not known, and what it may add neither."""
    (tmp_path / "net.py").write_text(
        NETS.format(mark="") + "def small(depth):\n    return Net(Block, depth, 0.2)\n\n"
        "def large(**options):\n    return Net(Block, 9, 0.2, **options)\n"
    )
    assert scan([tmp_path]).findings == ()
