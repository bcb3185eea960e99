"""REG403 finds every way to drop activations without scaling, and none of the sound twins."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch

from regcheck import audit
from regcheck.engine.scan import scan

ROWS = """\
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli


class Scorer(nn.Module):
    def __init__(self, rate=0.2):
        super().__init__()
        self.rate, self.keep = rate, 1 - rate
        self.first = nn.Linear(16, 32)
        self.second = nn.Linear(32, 32)
        self.filler = nn.Parameter(torch.randn(32))
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        h = torch.relu(self.first(x))
        {body}
        return self.head(h)


model = Scorer()
inputs = (torch.randn(64, 16),)
"""
MAPS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, rate=0.3):
        super().__init__()
        self.rate = rate
        self.stem = nn.Conv2d(3, 8, 3)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        h = self.norm(self.conv(x))
        {body}
        return self.head(torch.relu(h).mean((2, 3)))


model = Net()
inputs = (torch.randn(16, 3, 8, 8),)
"""

SKIPS = """\
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, rate=0.4):
        super().__init__()
        self.rate = rate
        self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
        self.second = nn.Linear(16, 16)

    def forward(self, x):
        {body}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.block, self.head = nn.Linear(8, 16), Block(), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.block(torch.relu(self.stem(x))))


model = Net()
inputs = (torch.randn(32, 8),)
"""

FAULTY = {
    "branch_skipped": (
        SKIPS,
        "if self.training and torch.rand(1).item() < self.rate:\n    return x\nreturn x + self.body(x)",
    ),
    "branch_run": (
        SKIPS,
        "if not self.training or torch.rand(()) > self.rate:\n    x = x + self.body(x)\nreturn x",
    ),
    "divided_by_rate": (ROWS, "if self.training:\n    h = h * (torch.rand_like(h) > self.rate) / self.rate"),
    "keeps_the_dropped": (ROWS, "if self.training:\n    h = h * (torch.rand_like(h) < self.rate) / self.keep"),
    "multiplied_by_keep": (ROWS, "if self.training:\n    h = h * (torch.rand(h.shape) < self.keep) * self.keep"),
    "filled": (ROWS, "if self.training:\n    h = h.masked_fill(torch.rand_like(h) < self.rate, 0.0)"),
    "filled_in_place": (
        ROWS,
        "if self.training:\n    h = h.clone()\n    h.masked_fill_(torch.rand(h.size()) < 0.1, 0)",
    ),
    "chosen": (ROWS, "if self.training:\n    h = torch.where(torch.rand_like(h) < self.rate, torch.zeros_like(h), h)"),
    "chosen_the_other_way": (ROWS, "if self.training:\n    h = torch.where(torch.rand_like(h) > self.rate, h, 0.0)"),
    "assigned": (ROWS, "if self.training:\n    h = h.clone()\n    h[torch.rand_like(h) < self.rate] = 0"),
    "columns_assigned": (
        ROWS,
        "if self.training:\n    lost = torch.randperm(h.size(1))[:8]\n    h = h.clone()\n    h[:, lost] = 0.0",
    ),
    "bernoulli_in_place": (ROWS, "if self.training:\n    h = h * torch.empty_like(h).bernoulli_(self.keep)"),
    "bernoulli_of_full": (ROWS, "if self.training:\n    h = h * torch.bernoulli(torch.full(h.shape, self.keep))"),
    "bernoulli_of_scaled_ones": (
        ROWS,
        "if self.training:\n    h = h * torch.bernoulli(torch.ones_like(h) * self.keep)",
    ),
    "distribution": (ROWS, "if self.training:\n    h = h * Bernoulli(self.keep).sample(h.shape)"),
    "dropout_of_ones": (ROWS, "if self.training:\n    h = h * (F.dropout(torch.ones_like(h), self.rate) > 0)"),
    "inverted": (ROWS, "if self.training:\n    lost = torch.rand_like(h) < self.rate\n    h = h * ~lost"),
    "complement": (
        ROWS,
        "if self.training:\n    lost = (torch.rand_like(h) < self.rate).float()\n    h = h * (1 - lost)",
    ),
    "rounded": (ROWS, "if self.training:\n    h = h * torch.floor(torch.rand_like(h) + self.keep)"),
    "by_column": (ROWS, "if self.training:\n    h = h * (torch.rand(1, h.size(1)) > self.rate)"),
    "expression": (ROWS, "h = h * (torch.rand_like(h) > self.rate) if self.training else h"),
    "scaled_twice": (
        ROWS,
        "if self.training:\n    keep = (torch.rand_like(h) > self.rate).float().div(self.keep)\n"
        "    h = h * keep / self.keep",
    ),
    "scaled_in_both_modes": (
        ROWS,
        "if self.training:\n    h = h * (torch.rand_like(h) > self.rate) / self.keep\nelse:\n    h = h * self.keep",
    ),
    "eval_scaled_by_rate": (
        ROWS,
        "if self.training:\n    h = h * (torch.rand_like(h) > self.rate)\nelse:\n    h = h * self.rate",
    ),
    "after_a_sum": (ROWS, "h = h + self.second(h)\nif self.training:\n    h = h * (torch.rand_like(h) > self.rate)"),
    "of_another_type": (
        ROWS,
        "if self.training:\n    kept = torch.rand(h.shape, device=h.device).ge(self.rate)\n    h = h * kept.type_as(h)",
    ),
    "multiplied_in_place": (ROWS, "if self.training:\n    h = h.clone()\n    h *= torch.rand_like(h) > self.rate"),
    "zeroed_where_lost": (ROWS, "if self.training:\n    h = h.clone()\n    h[torch.rand_like(h) < self.rate] *= 0"),
    "chosen_among_products": (ROWS, "if self.training:\n    h = torch.where(torch.rand_like(h) < self.rate, h * 0, h)"),
    "uniform_in_place": (ROWS, "if self.training:\n    h = h * (torch.empty(h.shape).uniform_(0, 1) > self.rate)"),
    "coins": (ROWS, "if self.training:\n    h = h * torch.randint(0, 2, h.shape)"),
    "binomial": (
        ROWS,
        "if self.training:\n    h = h * torch.distributions.Binomial(1, 1 - self.rate).sample(h.size())",
    ),
    "index_filled": (ROWS, "if self.training:\n    h = h.index_fill(1, torch.randperm(32)[:6], 0)"),
    "compared_to_one": (
        ROWS,
        "if self.training:\n    kept = torch.bernoulli(torch.full_like(h, self.keep))\n"
        "    h = torch.where(kept == 1, h, torch.zeros_like(h))",
    ),
    "subtracted": (ROWS, "if self.training:\n    h = h - h * (torch.rand_like(h) < self.rate)"),
    "dropout_undone": (ROWS, "if self.training:\n    h = h * (F.dropout(torch.ones_like(h), self.rate) * self.keep)"),
    "attention_weights": (
        ROWS,
        "a = (h @ h.t()).softmax(-1)\nif self.training:\n    a = a * (torch.rand_like(a) > self.rate)\nh = a @ h",
    ),
    "in_a_closure": (
        ROWS,
        "def cut(v):\n    if not self.training or self.rate == 0.0:\n        return v\n"
        "    return v * (torch.rand_like(v) > self.rate)\nh = cut(h)",
    ),
    "branch": (MAPS, "if self.training:\n    h = h * (torch.rand(len(x), 1, 1, 1) > self.rate)\nh = x + h"),
    "branch_behind_norm": (
        MAPS,
        "if self.training:\n    h = h * torch.floor(1 - self.rate + torch.rand(x.shape[0], 1, 1, 1))\nh = h + x",
    ),
    "branch_in_place": (
        MAPS,
        "if self.training:\n    mask = x.new_empty(x.size(0), 1, 1, 1)\n    mask.bernoulli_(1 - self.rate)\n"
        "    h = h.mul(mask)\nh = h.add(x)",
    ),
    "maps": (MAPS, "if self.training:\n    h = h * (torch.rand(h.size(0), h.size(1), 1, 1) > self.rate)"),
}

SOUND = {
    "branch_divided": (
        SKIPS,
        "if self.training:\n    if torch.rand(1).item() < self.rate:\n        return x\n"
        "    return x + self.body(x) / (1 - self.rate)\nreturn x + self.body(x)",
    ),
    "branch_multiplied_in_eval": (
        SKIPS,
        "if self.training:\n    return x if torch.rand(1).item() < self.rate else x + self.body(x)\n"
        "return x + (1 - self.rate) * self.body(x)",
    ),
    "layer_skipped": (
        SKIPS,
        "if self.training and torch.rand(1).item() < self.rate:\n    return x\n"
        "x = x + self.body(x)\nreturn x + self.second(x)",
    ),
    "flipped": (
        SKIPS,
        "if self.training and torch.rand(1).item() < self.rate:\n    x = x.flip(0)\nreturn x + self.body(x)",
    ),
    "divided_by_keep": (ROWS, "if self.training:\n    h = h * (torch.rand_like(h) > self.rate) / self.keep"),
    "kept_where_below": (ROWS, "if self.training:\n    h = h * (torch.rand_like(h) < self.keep) / self.keep"),
    "multiplied_by_inverse": (
        ROWS,
        "if self.training:\n    h = h * (torch.rand(h.shape) < self.keep) * (1 / self.keep)",
    ),
    "filled": (ROWS, "if self.training:\n    h = h.masked_fill(torch.rand_like(h) < self.rate, 0.0) / self.keep"),
    "filled_in_place": (
        ROWS,
        "if self.training:\n    h = h / 0.9\n    h.masked_fill_(torch.rand(h.size()) < 0.1, 0)",
    ),
    "chosen": (
        ROWS,
        "if self.training:\n    h = torch.where(torch.rand_like(h) < self.rate, torch.zeros_like(h), h / self.keep)",
    ),
    "assigned": (ROWS, "if self.training:\n    h = h / self.keep\n    h[torch.rand_like(h) < self.rate] = 0"),
    "columns_assigned": (
        ROWS,
        "if self.training:\n    lost = torch.randperm(h.size(1))[:8]\n    h = h / 0.75\n    h[:, lost] = 0.0",
    ),
    "bernoulli_in_place": (
        ROWS,
        "if self.training:\n    h = h * torch.empty_like(h).bernoulli_(self.keep).div_(self.keep)",
    ),
    "bernoulli_of_full": (
        ROWS,
        "if self.training:\n    h = h * torch.bernoulli(torch.full(h.shape, self.keep)) / self.keep",
    ),
    "distribution": (ROWS, "if self.training:\n    h = h * Bernoulli(self.keep).sample(h.shape) / self.keep"),
    "dropout_of_ones": (ROWS, "if self.training:\n    h = h * F.dropout(torch.ones_like(h), self.rate)"),
    "inverted": (ROWS, "if self.training:\n    lost = torch.rand_like(h) < self.rate\n    h = h * ~lost / self.keep"),
    "rounded": (ROWS, "if self.training:\n    h = h / self.keep * torch.floor(torch.rand_like(h) + self.keep)"),
    "of_another_type": (
        ROWS,
        "if self.training:\n    kept = torch.rand(h.shape, device=h.device).ge(self.rate)\n"
        "    h = h * kept.type_as(h) / self.keep",
    ),
    "zeroed_where_lost": (ROWS, "if self.training:\n    h = h / self.keep\n    h[torch.rand_like(h) < self.rate] *= 0"),
    "coins": (ROWS, "if self.training:\n    h = h * torch.randint(0, 2, h.shape) * 2"),
    "binomial": (
        ROWS,
        "if self.training:\n    h = h * torch.distributions.Binomial(1, 1 - self.rate).sample(h.size()) / self.keep",
    ),
    "attention_weights": (
        ROWS,
        "a = (h @ h.t()).softmax(-1)\nif self.training:\n    a = a * (torch.rand_like(a) > self.rate) / self.keep\n"
        "h = a @ h",
    ),
    "in_a_closure": (
        ROWS,
        "def cut(v):\n    if not self.training or self.rate == 0.0:\n        return v\n"
        "    return v * (torch.rand_like(v) > self.rate) / (1 - self.rate)\nh = cut(h)",
    ),
    "signs_flipped": (
        ROWS,
        "if self.training:\n    h = h * (2 * torch.bernoulli(torch.full_like(h, self.keep)) - 1)",
    ),
    "rows_exchanged": (ROWS, "if self.training:\n    h = h.clone()\n    h[torch.randint(len(h), (4,))] = 0.0"),
    "classic": (
        ROWS,
        "if self.training:\n    h = h * (torch.rand_like(h) > self.rate)\nelse:\n    h = h * self.keep",
    ),
    "classic_expression": (
        ROWS,
        "h = torch.where(torch.rand_like(h) < self.rate, 0.0, h) if self.training else self.keep * h",
    ),
    "by_the_share_kept": (
        ROWS,
        "if self.training:\n    kept = (torch.rand_like(h) > self.rate).float()\n"
        "    h = h * kept * (kept.numel() / kept.sum())",
    ),
    "learned_filler": (ROWS, "if self.training:\n    h = torch.where(torch.rand_like(h) < self.rate, self.filler, h)"),
    "exchanged": (
        ROWS,
        "if self.training:\n    kept = (torch.rand_like(h) > self.rate).float()\n"
        "    h = h * kept + (1 - kept) * h.flip(0)",
    ),
    "mixed": (
        ROWS,
        "if self.training:\n    share = torch.rand(1)\n    h = share * h + (1 - share) * h[torch.randperm(len(h))]",
    ),
    "noise_of_mean_one": (ROWS, "if self.training:\n    h = h * (1 + 0.1 * torch.randn_like(h))"),
    "hidden_from_attention": (
        ROWS,
        "s = self.second(h)\nif self.training:\n    s = s.masked_fill(torch.rand_like(s) < self.rate, float('-inf'))\n"
        "h = h * s.softmax(1)",
    ),
    "not_drawn": (ROWS, "h = h.masked_fill(h > 5, 0.0)\nh = torch.where(torch.isnan(h), torch.zeros_like(h), h)"),
    "whole_samples": (ROWS, "if self.training:\n    h = h * (torch.rand(len(h), 1) > self.rate)"),
    "input": (ROWS, "if self.training:\n    h = self.first(x * (torch.rand_like(x) > self.rate))"),
    "branch": (
        MAPS,
        "if self.training:\n    h = h * (torch.rand(len(x), 1, 1, 1) > self.rate) / (1 - self.rate)\nh = x + h",
    ),
    "branch_scaled_in_eval": (
        MAPS,
        "if self.training:\n    h = h * (torch.rand(len(x), 1, 1, 1) > self.rate)\nelse:\n"
        "    h = h * (1 - self.rate)\nh = x + h",
    ),
    "branch_in_place": (
        MAPS,
        "if self.training:\n    mask = x.new_empty(x.size(0), 1, 1, 1).bernoulli_(1 - self.rate)\n"
        "    mask.div_(1 - self.rate)\n    h = h * mask\nh = h + x",
    ),
}


def written(folder: Path, variants: dict[str, tuple[str, str]]) -> dict[str, Path]:
    """The programs of some variants, each in a file of its name."""
    for name, (program, body) in variants.items():
        (folder / f"{name}.py").write_text(program.format(body=body.replace("\n", "\n        ")))
    return {name: folder / f"{name}.py" for name in variants}


def found_by_scan(folder: Path, variants: dict[str, tuple[str, str]]) -> set[str]:
    written(folder, variants)
    report = scan([folder], options={"select": ["REG403"]})
    assert all(each.code == "REG403" for each in report.findings)
    return {Path(each.path).stem for each in report.findings if each.path}


def measured(path: Path) -> Any:
    spec = spec_from_file_location(f"unscaled_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        torch.manual_seed(0)
        spec.loader.exec_module(module)
        return audit(module.model, *module.inputs, options={"select": ["REG403"], "devices": ["cpu"]})
    finally:
        del sys.modules[spec.name]


def test_a_scan_reads_that_nothing_makes_up_for_a_mask(tmp_path: Path) -> None:
    """A scan reports every spelling of a mask whose scales do not amount to one."""
    assert found_by_scan(tmp_path, FAULTY) == {*FAULTY}


def test_a_scan_passes_masks_that_are_made_up_for(tmp_path: Path) -> None:
    """A scan reports no mask that is scaled in either mode, and none that drops no activations."""
    assert found_by_scan(tmp_path, SOUND) == set()


@pytest.mark.parametrize("name", FAULTY)
def test_a_measurement_confirms_the_missing_scale(name: str, tmp_path: Path) -> None:
    """The mean ratio of train to eval activations differs from one for every faulty spelling."""
    report = measured(written(tmp_path, {name: FAULTY[name]})[name])
    assert [each.evidence.verdict.value for each in report.findings] == ["confirmed"]


@pytest.mark.parametrize("name", SOUND)
def test_a_measurement_clears_masks_that_are_made_up_for(name: str, tmp_path: Path) -> None:
    """No sound twin is reported, neither as confirmed nor as unproven."""
    report = measured(written(tmp_path, {name: SOUND[name]})[name])
    assert [each.message for each in report.findings] == []
