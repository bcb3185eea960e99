"""REG401: rates whose name says that they are kept, and percentages, and the same models without the defect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from regcheck.core.finding import Finding, Severity
from regcheck.engine.scan import scan

HEADER = """\
import argparse
from dataclasses import dataclass
import torch
import torch.nn.functional as F
from torch import nn


"""

NET = """\
class Net(nn.Module):
    def __init__(self, RATE):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.drop = nn.Dropout(GIVEN)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))  # <-


"""

FUNCTIONAL = """\
class Net(nn.Module):
    def __init__(self, NAME):
        super().__init__()
        self.NAME = NAME
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.hidden(x))
        x = F.dropout(x, p=GIVEN, training=self.training)  # <-
        return self.head(x)


"""


def net(rate: str, given: str) -> str:
    return NET.replace("RATE", rate).replace("GIVEN", given)


def functional(name: str, given: str) -> str:
    return FUNCTIONAL.replace("NAME", name).replace("GIVEN", given)


FAULTY = {
    "a default": net("keep_prob=0.5", "keep_prob"),
    "an argument": functional("keep_rate", "self.keep_rate") + "net = Net(0.6)\n",
    "a constant": "RETAIN = 0.5\n" + net("width=16", "p=RETAIN"),
    "an option": net("args", "args.keep_probability")
    + 'parser = argparse.ArgumentParser()\nparser.add_argument("--keep-probability", type=float, default=0.7)\n'
    "net = Net(parser.parse_args())\n",
    "an entry": net("cfg", 'cfg["p_retain"]') + 'net = Net({"p_retain": 0.5})\n',
    "camel case": net("keepProb=0.75", "keepProb"),
    "a field": "@dataclass\nclass Config:\n    dropout_keep_prob: float = 0.5\n\n\n"
    + net("cfg: Config", "cfg.dropout_keep_prob")
    + "net = Net(Config())\n",
    "an argument of the constructor": net("p", "p")
    + 'parser = argparse.ArgumentParser()\nparser.add_argument("--keep-prob", type=float, default=0.5)\n'
    "net = Net(p=parser.parse_args().keep_prob)\n",
    "a constant for the constructor": "KEEP_PROB = 0.6\n\n\n" + net("p=0.1", "p") + "net = Net(KEEP_PROB)\n",
    "a percentage": net("width=16", "50"),
    "a percentage of a configuration": "@dataclass\nclass Config:\n    dropout: float = 20\n\n\n"
    + net("cfg: Config", "cfg.dropout")
    + "net = Net(Config())\n",
    "a percentage between recurrent layers": net("width=16", "0.1")
    .replace("nn.Linear(8, 16)", "nn.LSTM(8, 16, 2, dropout=25)")
    .replace("torch.relu(self.hidden(x))))  # <-", "x))")
    .replace("return self.head(", "x, _ = self.hidden(x)  # <-\n        return self.head("),
    "a percentage in a function": functional("rate", "self.rate") + "net = Net(30)\n",
}

SOUND = {
    "a default": net("keep_prob=0.5", "1 - keep_prob"),
    "an argument": functional("keep_rate", "1.0 - self.keep_rate") + "net = Net(0.6)\n",
    "a constant": "DROP = 0.5\n" + net("width=16", "p=DROP"),
    "an option": net("args", "args.dropout")
    + 'parser = argparse.ArgumentParser()\nparser.add_argument("--dropout", type=float, default=0.7)\n'
    "net = Net(parser.parse_args())\n",
    "an entry": net("cfg", 'cfg["p_drop"]') + 'net = Net({"p_drop": 0.5})\n',
    "a small rate under the wrong name": net("keep_prob=0.1", "keep_prob"),
    "an unknown rate": net("keep_prob", "keep_prob"),
    "a name that is converted": net("keep=0.5", "keep").replace(
        "super().__init__()", "super().__init__()\n        keep = 1 - keep"
    ),
    "a word that begins like it": net("keeper=0.5", "keeper"),
    "an argument of the constructor": net("p", "p") + "keep_prob = 0.5\nnet = Net(p=1 - keep_prob)\n",
    "a constant for one construction of two": "KEEP_PROB = 0.6\n\n\n"
    + net("p=0.1", "p")
    + "nets = Net(KEEP_PROB), Net(0.5)\n",
    "a percentage": net("percent=50", "percent / 100"),
    "a percentage of a configuration": "@dataclass\nclass Config:\n    dropout: float = 20\n\n\n"
    + net("cfg: Config", "cfg.dropout / 100")
    + "net = Net(Config())\n",
    "a dropout of its own that keeps": "class Dropout(nn.Module):\n"
    "    def __init__(self, keep_prob):\n        super().__init__()\n        self.drop = nn.Dropout(1 - keep_prob)\n\n"
    "    def forward(self, x):\n        return self.drop(x)\n\n\n"
    + net("keep_prob=0.6", "keep_prob").replace("nn.Dropout", "Dropout"),
}

PROGRAMS = {
    **{f"{name}, faulty": HEADER + body for name, body in FAULTY.items()},
    **{name: HEADER + body.replace("  # <-", "") for name, body in SOUND.items()},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[Finding]]:
    """The findings of one scan of all programs."""
    folder = tmp_path_factory.mktemp("keep")
    names = {folder / f"program_{index}.py": name for index, name in enumerate(PROGRAMS)}
    for path, name in names.items():
        path.write_text(PROGRAMS[name])
    findings: dict[str, list[Finding]] = {name: [] for name in PROGRAMS}
    for each in scan([folder], {"select": ["REG401"]}).findings:
        findings[names[folder / Path(str(each.path)).name]].append(each)
    return findings


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_scan_reports_keep_probabilities_and_percentages(name: str, found: Mapping[str, list[Finding]]) -> None:
    """A scan warns of each rate that names the share to keep, or that is a percentage, and of no other."""
    lines = [number for number, line in enumerate(PROGRAMS[name].splitlines(), 1) if line.endswith("# <-")]
    assert [each.line for each in found[name] if each.severity is Severity.WARNING] == lines


def test_an_unknown_rate_with_such_a_name_is_advice(found: Mapping[str, list[Finding]]) -> None:
    """Where the rate is unknown, a name that says keep is advice."""
    assert [each.severity for each in found["an unknown rate"]] == [Severity.INFO]


def test_messages_say_what_happens(found: Mapping[str, list[Finding]]) -> None:
    """A message names the keep probability, or says that torch raises, and the fix shows the share to pass."""
    (kept,), (percentage,) = found["an argument, faulty"], found["a percentage, faulty"]
    assert "takes `keep_rate` as the share of activations to drop" in kept.message
    assert kept.fix.startswith("pass `1 - keep_rate`")
    assert "raises an error" in percentage.message
    assert percentage.fix == "if 50 % is meant, pass `0.5`"
