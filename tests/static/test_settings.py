"""Options and configurations count with their defaults: with what happens unless the user says otherwise.

Each source is one of a pair of twins that differ in a word or two: the marks of the first say what is reported, the
second is silent.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from regcheck.engine.scan import scan

MARK = re.compile(r"# <-((?: REG\d{3})+)")
HEADER = """
import argparse
import os
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple
import torch
import torch.nn.functional as F
from torch import nn, optim
"""
NET = """
class Net(nn.Module):
    def __init__(self, rate=0.5):
        super().__init__()
        self.hidden, self.drop, self.out = nn.Linear(16, 32), nn.Dropout(rate), nn.Linear(32, 4)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.hidden(x))))  # MODEL
"""
FIT = """
def fit(net, optimizer):
    for _ in range(3):
        loss = F.cross_entropy(net(torch.randn(8, 16)), torch.randint(4, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""
NET_OF_CONFIG = """
class Net(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.hidden, self.out = nn.Linear(16, 32), nn.Linear(32, 4)
        self.drop = nn.Dropout(config.rate)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.hidden(x))))  # TWIN
"""


def found_in(path: Path, *files: str) -> tuple[set[tuple[int, str]], set[tuple[int, str]], str]:
    """What a scan of the files finds in the first, what its marks say, and all messages."""
    names = ["program.py", "options.py"][: len(files)]
    for name, text in zip(names, files, strict=True):
        path.joinpath(name).write_text(text)
    report = scan([path])
    marked = {
        (number, code)
        for number, line in enumerate(files[0].splitlines(), 1)
        for mark in MARK.findall(line)
        for code in mark.split()
    }
    found = {(each.line or 0, each.code) for each in report.findings}
    return found, marked, "\n".join(each.message for each in report.findings)


def decay(text: str) -> str:
    return HEADER + NET + FIT + text


DECAYS = {
    "script": (
        "parser = argparse.ArgumentParser()\nparser.add_argument('--wd', type=float, default=1e-2)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.wd))  # TWIN\n",
        ("default=1e-2", "default=0.0"),
    ),
    "main and a function that parses": (
        "def parse():\n    parser = ArgumentParser()\n"
        "    parser.add_argument('-d', '--l2-decay', default='1e-4', type=float)\n"
        "    return parser.parse_args()\n"
        "def main():\n    options = parse()\n    net = Net()\n"
        "    optimizer = optim.RMSprop(net.parameters(), lr=0.1, weight_decay=options.l2_decay)  # TWIN\n"
        "    fit(net, optimizer)\nif __name__ == '__main__':\n    main()\n",
        ("default='1e-4'", "default='0'"),
    ),
    "trainer that keeps the options": (
        "class Trainer:\n    def __init__(self, args):\n        self.args, self.net = args, Net()\n"
        "    def run(self):\n"
        "        optimizer = optim.Adam(self.net.parameters(), weight_decay=self.args.decay)  # TWIN\n"
        "        fit(self.net, optimizer)\n"
        "parser = ArgumentParser()\nparser.add_argument('--decay', type=float, default=0.1)\n"
        "Trainer(parser.parse_args()).run()\n",
        ("default=0.1", "default=None"),
    ),
    "a dict of the options": (
        "parser = ArgumentParser()\nparser.add_argument('--decay', type=float, default=0.1)\n"
        "def train(decay, **others):\n    net = Net()\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\n"
        "train(**vars(parser.parse_args()))\n",
        ("default=0.1", "default=-1"),
    ),
    "known options, and their dict": (
        "parser = ArgumentParser()\nparser.add_argument('--decay', type=float, default=0.1)\n"
        "known, rest = parser.parse_known_args()\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=known.__dict__['decay']))  # TWIN\n",
        ("type=float, default=0.1", "type=float, required=True"),
    ),
    "set_defaults": (
        "parser = ArgumentParser()\nparser.add_argument('--decay', type=float)\n"
        "parser.set_defaults(decay=0.1)\nargs = parser.parse_args()\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.decay))  # TWIN\n",
        ("decay=0.1", "decay=0.0"),
    ),
    "group of options": (
        "parser = ArgumentParser()\ngroup = parser.add_argument_group('optimizer')\n"
        "group.add_argument('--decay', type=float, default=0.1)\nargs = parser.parse_args([])\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.decay))  # TWIN\n",
        ("parse_args([])", "parse_args(['--decay', '0'])"),
    ),
    "sub-command": (
        "parser = ArgumentParser()\ncommands = parser.add_subparsers(dest='command')\n"
        "train = commands.add_parser('train')\ntrain.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.decay))  # TWIN\n",
        ("args = parser.parse_args()\n", "args = parser.parse_args()\nargs.decay = 0\n"),
    ),
    "switch": (
        "parser = ArgumentParser()\nparser.add_argument('--no-decay', action='store_true')\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=0.0 if args.no_decay else 0.01))  # TWIN\n",
        ("'store_true'", "'store_false'"),
    ),
    "optional boolean": (
        "parser = ArgumentParser()\n"
        "parser.add_argument('--decay', action=argparse.BooleanOptionalAction, default=True)\n"
        "args = parser.parse_args()\nnet = Net()\ndecay = 0.0\nif args.decay:\n    decay = 0.01\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\n",
        ("default=True", "default=False"),
    ),
    "chosen by an arm": (
        "parser = ArgumentParser()\nparser.add_argument('--opt', default='adam')\n"
        "parser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "if args.opt == 'adam':\n    optimizer = optim.Adam(net.parameters(), weight_decay=args.decay)  # TWIN\n"
        "else:\n    optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=args.decay)\nfit(net, optimizer)\n",
        ("default='adam'", "default='sgd'"),
    ),
    "chosen by an arm of a function": (
        "def build(name, net, decay):\n    if name.lower() in ('adam', 'default'):\n"
        "        return optim.Adam(net.parameters(), weight_decay=decay)  # TWIN\n"
        "    elif name == 'sgd':\n        return optim.SGD(net.parameters(), lr=0.1, weight_decay=decay)\n"
        "    return optim.AdamW(net.parameters(), weight_decay=decay)\n"
        "parser = ArgumentParser()\nparser.add_argument('--opt', default='Adam')\n"
        "parser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\nfit(net, build(args.opt, net, args.decay))\n",
        ("default='Adam'", "default='AdamW'"),
    ),
    "chosen by match": (
        "parser = ArgumentParser()\nparser.add_argument('--opt', default='adam')\n"
        "parser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "match args.opt:\n    case 'sgd' | 'momentum':\n        make = optim.SGD\n"
        "    case 'adam':\n        make = optim.Adam\n    case _:\n        make = optim.AdamW\n"
        "fit(net, make(net.parameters(), lr=0.1, weight_decay=args.decay))  # TWIN\n",
        ("default='adam'", "default='momentum'"),
    ),
    "chosen from a table": (
        "TABLE = {'adam': optim.Adam, 'adamw': optim.AdamW, 'sgd': partial(optim.SGD, momentum=0.9)}\n"
        "parser = ArgumentParser()\nparser.add_argument('--opt', default='adam', choices=sorted(TABLE))\n"
        "parser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "fit(net, TABLE[args.opt](net.parameters(), lr=0.1, weight_decay=args.decay))  # TWIN\n",
        ("default='adam',", "default='sgd',"),
    ),
    "chosen by name": (
        "parser = ArgumentParser()\nparser.add_argument('--opt', default='Adam')\n"
        "parser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nnet = Net()\n"
        "fit(net, getattr(torch.optim, args.opt)(net.parameters(), lr=0.1, weight_decay=args.decay))  # TWIN\n",
        ("default='Adam'", "default='AdamW'"),
    ),
    "partial": (
        "parser = ArgumentParser()\nparser.add_argument('--decay', type=float, default=0.1)\n"
        "args = parser.parse_args()\nmake = partial(optim.Adam, weight_decay=args.decay)\nnet = Net()\n"
        "fit(net, make(net.parameters()))  # TWIN\n",
        ("optim.Adam,", "optim.AdamW,"),
    ),
    "environment": (
        "net = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=float(os.environ.get('DECAY', '0.01'))))  # TWIN\n",
        ("'0.01'", "'0'"),
    ),
    "environment, or else": (
        "net = Net()\ndecay = float(os.getenv('DECAY') or 0.01)\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\n",
        ("or 0.01", "or 0"),
    ),
    "dict of settings": (
        "SETTINGS = {'lr': 0.1, 'optimizer': {'weight_decay': 0.01}}\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), lr=SETTINGS['lr'], **SETTINGS['optimizer']))  # TWIN\n",
        ("'weight_decay': 0.01", "'eps': 0.01"),
    ),
    "dict that may have the key": (
        "def train(cfg, net):\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=cfg.get('decay', 0.01)))  # TWIN\n",
        ("'decay', 0.01", "'decay', 0"),
    ),
    "keywords": (
        "def train(net, **kwargs):\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=kwargs.get('decay', 0.01)))  # TWIN\n",
        ("'decay', 0.01", "'decay', 0.0"),
    ),
    "simple namespace": (
        "args = SimpleNamespace(decay=0.01)\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.decay))  # TWIN\n",
        ("decay=0.01", "decay=0"),
    ),
    "click": (
        "import click\n@click.command()\n@click.option('--decay', default=0.01, help='decay')\n"
        "def main(decay):\n    net = Net()\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\nmain()\n",
        ("default=0.01", "default=0.0"),
    ),
    "typer": (
        "import typer\ndef main(decay: float = typer.Option(0.01, '--decay')):\n    net = Net()\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\ntyper.run(main)\n",
        ("typer.Option(0.01", "typer.Option(0.0"),
    ),
    "fire": (
        "import fire\ndef main(decay=0.01):\n    net = Net()\n"
        "    fit(net, optim.Adam(net.parameters(), weight_decay=decay))  # TWIN\nfire.Fire(main)\n",
        ("decay=0.01", "decay=0"),
    ),
    "penalty beside the decay": (
        "parser = ArgumentParser()\nparser.add_argument('--l2', type=float, default=1e-4)\nargs = parser.parse_args()\n"
        "net = Net()\noptimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=1e-4)\n"
        "loss = F.cross_entropy(net(torch.randn(8, 16)), torch.randint(4, (8,)))\n"
        "if args.l2 > 0:\n"
        "    loss = loss + args.l2 * sum(p.pow(2).sum() for p in net.parameters())  # TWIN\n"
        "loss.backward()\noptimizer.step()\n",
        ("default=1e-4", "default=0.0"),
    ),
    "options replaced by a file": (
        "import yaml\nparser = ArgumentParser()\nparser.add_argument('--decay', type=float, default=0.1)\n"
        "parser.add_argument('--config', default=None)\nargs = parser.parse_args()\n"
        "if args.config:\n    vars(args).update(yaml.safe_load(open(args.config)))\nnet = Net()\n"
        "fit(net, optim.Adam(net.parameters(), weight_decay=args.decay))  # TWIN\n",
        ("if args.config:", "if True:"),
    ),
    "lightning": (
        "import lightning\nclass Task(lightning.LightningModule):\n    def __init__(self, decay=0.01):\n"
        "        super().__init__()\n        self.save_hyperparameters()\n        self.net = Net()\n"
        "    def forward(self, x):\n        return self.net(x)\n"
        "    def configure_optimizers(self):\n"
        "        return optim.Adam(self.parameters(), weight_decay=self.hparams.decay)  # TWIN\n",
        ("decay=0.01", "decay=0.0"),
    ),
}
CODES = {"penalty beside the decay": "REG303"}


@pytest.mark.parametrize("name", DECAYS)
def test_a_decay_counts_with_its_default(tmp_path: Path, name: str) -> None:
    """Of two programs that differ in a default alone, only the one that decays by default is reported."""
    text, (faulty, sound) = DECAYS[name]
    assert faulty in text
    source = decay(text).replace("TWIN", f"<- {CODES.get(name, 'REG301')}")
    found, marked, _ = found_in(tmp_path, source)
    assert found == marked
    assert len(marked) == 1
    found, _, _ = found_in(tmp_path, source.replace(faulty, sound))
    assert found == set()


CONFIGS = {
    "plain class": "class Config:\n    def __init__(self, width=32, rate=0.95):\n        self.width = width\n"
    "        self.rate = rate\n",
    "class attributes": "class Config:\n    width = 32\n    rate = 0.95\n",
    "dataclass": "@dataclass\nclass Config:\n    width: int = 32\n    rate: float = 0.95\n",
    "field": "@dataclass\nclass Config:\n    width: int = 32\n    rate: float = field(default=0.95, repr=False)\n",
    "named tuple": "class Config(NamedTuple):\n    width: int = 32\n    rate: float = 0.95\n",
    "attrs": "import attr\n@attr.s\nclass Config:\n    width = attr.ib(default=32)\n    rate = attr.ib(default=0.95)\n",
    "pydantic": "import pydantic\nclass Config(pydantic.BaseModel):\n    rate: float = pydantic.Field(0.95, ge=0)\n",
    "transformers": "from transformers import PretrainedConfig\nclass Config(PretrainedConfig):\n"
    "    def __init__(self, rate=0.95, **kwargs):\n        super().__init__(**kwargs)\n        self.rate = rate\n",
    "inherited": "class Base:\n    rate: float = 0.95\nclass Config(Base):\n    width: int = 32\n",
    "module constant": "RATE = 0.95\n@dataclass\nclass Config:\n    rate: float = RATE\n",
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("use", ["", "Net(Config())\n", "def build(config: Config):\n    return Net(config)\n"])
def test_a_configuration_counts_with_its_defaults(tmp_path: Path, name: str, use: str) -> None:
    """A model that is built from a configuration has its default rate, also if nobody builds it."""
    source = HEADER + CONFIGS[name] + NET_OF_CONFIG.replace("TWIN", "<- REG401") + use
    found, marked, _ = found_in(tmp_path, source)
    assert found == marked
    found, _, _ = found_in(tmp_path, source.replace("0.95", "0.05"))
    assert found == set()


@pytest.mark.parametrize("call", ["Config(rate=0.1)", "Config(**{'rate': 0})", "Config(**settings)", "Config (0, .1)"])
def test_a_configuration_with_another_value_is_not_the_default(tmp_path: Path, call: str) -> None:
    """Where the program gives a configuration a value, its default is not what happens."""
    source = HEADER + CONFIGS["dataclass"] + NET_OF_CONFIG + f"settings = sys.argv\nNet({call})\n"
    found, _, _ = found_in(tmp_path, source)
    assert found == set()


@pytest.mark.parametrize("name", ["Config", "Größe"])
def test_any_file_may_give_a_configuration_a_value(tmp_path: Path, name: str) -> None:
    """A call in a file that the model's does not know changes a default, whatever the alphabet of the class's name."""
    net = HEADER + (CONFIGS["dataclass"] + NET_OF_CONFIG.replace("TWIN", "<- REG401")).replace("Config", name)
    found, marked, _ = found_in(tmp_path, net, f"print('{name}')\n")
    assert found == marked
    found, _, _ = found_in(tmp_path, net, f"import program\nprogram.{name} (\n    rate=0.1)\n")
    assert found == set()


def test_options_and_configurations_in_files_without_torch(tmp_path: Path) -> None:
    """A file that only declares settings is read where a file with models imports it."""
    options = "import argparse\n\ndef parse():\n    parser = argparse.ArgumentParser()\n"
    options += "    parser.add_argument('--rate', type=float, default=0.95)\n    return parser.parse_args()\n"
    source = (
        HEADER + "import options\n" + NET.replace("MODEL", "<- REG401") + "args = options.parse()\nNet(args.rate)\n"
    )
    found, marked, message = found_in(tmp_path, source, options)
    assert found == marked
    assert "by default (`--rate`, options.py:5)" in message


def test_a_message_says_where_the_default_stands(tmp_path: Path) -> None:
    """The option and the line of its default are in the message; a value that the program gives has none."""
    parse = "parser = ArgumentParser()\nparser.add_argument('-w', '--wd', type=float, default=0.1)\n"
    source = decay(f"{parse}net = Net()\nfit(net, optim.Adam(net.parameters(), weight_decay=parser.parse_args().wd))\n")
    line = source[: source.index("'-w'")].count("\n") + 1
    assert f"by default (`--wd`, program.py:{line})" in found_in(tmp_path, source)[2]
    assert "by default" not in found_in(tmp_path, source.replace("parser.parse_args().wd", "0.1"))[2]


def test_several_callers_count_with_what_they_pass(tmp_path: Path) -> None:
    """A rate that every caller passes is no default: each call counts with its own."""
    build = "def build(rate):\n    return Net(rate)\n"
    source = HEADER + NET + build + "small, large = build(0.1), build(0.3)\n"
    assert found_in(tmp_path, source)[0] == set()
    found, marked, _ = found_in(tmp_path, source.replace("0.3", "0.9").replace("MODEL", "<- REG401"))
    assert found == marked


BLOCK = """
class Block(nn.Module):
    def __init__(self, width, rate=0.0):
        super().__init__()
        self.one, self.drop, self.two = nn.Conv2d(width, width, 3), nn.Dropout(rate), nn.Conv2d(width, width, 3)

    def forward(self, x):
        return self.two(self.drop(torch.relu(self.one(x))))  # TWIN

class Tower(nn.Module):
    def __init__(self, block, depth, rate=0.0):
        super().__init__()
        self.blocks, self.head = nn.Sequential(*[block(8, rate) for _ in range(depth)]), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.blocks(x).mean((2, 3)))
"""
FACTORIES = {
    "without parameters": "def small():\n    return Tower(Block, 2, rate=0.2)\n",
    "with a default": "def small(rate=0.2):\n    return Tower(Block, 2, rate)\n",
    "with a local": "def small():\n    rates = dict(rate=0.2)\n    net = Tower(Block, 2, **rates)\n    return net\n",
    "called": "def small(rate):\n    return Tower(Block, 2, rate)\nnet = small(float(sys.argv[1]))\n",
    "called by a factory": "def tower(rate):\n    return Tower(Block, 2, rate)\ndef small():\n    return tower(0.2)\n",
    "through partial": "small = partial(Tower, Block, 2, 0.2)\nnet = small()\n",
}


@pytest.mark.parametrize("name", FACTORIES)
def test_a_factory_that_nobody_calls_builds_a_model(tmp_path: Path, name: str) -> None:
    """A model that only a factory can build is checked as the factory builds it."""
    source = HEADER + BLOCK.replace("TWIN", "<- REG102") + FACTORIES[name]
    found, marked, _ = found_in(tmp_path, source)
    assert found == marked
    if name != "called":
        found, _, _ = found_in(tmp_path, source.replace("0.2", "0.0"))
        assert found == set()


HELPERS = {
    "argument": "build(float(sys.argv[1]))\n",
    "environment": "build(float(os.environ['RATE']))\n",
    "file": "import json\nbuild(json.load(open('settings.json'))['rate'])\n",
    "option": "parser = ArgumentParser()\nparser.add_argument('rate', type=float)\nbuild(parser.parse_args().rate)\n",
    "nobody": "",
    "search": "def objective(trial):\n    return build(trial.suggest_float('rate', 0.0, 0.5))\n",
}


@pytest.mark.parametrize("name", HELPERS)
def test_an_unknown_rate_acts(tmp_path: Path, name: str) -> None:
    """Where the rate comes from changes nothing: a dropout of an unknown rate counts, called or not."""
    build = """
def build(rate):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), DROP(rate), nn.Conv2d(8, 4, 3))
"""
    source = HEADER + build.replace("DROP", "nn.Dropout") + HELPERS[name]
    line = source[: source.index("nn.Sequential")].count("\n") + 1
    assert found_in(tmp_path, source)[0] == {(line, "REG102")}
    assert found_in(tmp_path, source.replace("nn.Dropout(", "nn.Dropout2d("))[0] == set()
