"""Findings of a watched block as events, while the block goes on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pluggy
import pytest
import torch

import regcheck
from regcheck import hookspecs, plugins
from regcheck.core.finding import Finding

TRAINING = """
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 2)

    def forward(self, x):
        return self.head(F.dropout(self.norm(self.hidden(x)).relu(), 0.5{training}))


def train(after_epoch):
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(3):
        net.train()
        for _ in range(2):
            optimizer.zero_grad()
            net(torch.randn(16, 8)).square().mean().backward()
            optimizer.step()
        net.eval()
        with torch.no_grad():
            net(torch.randn(16, 8))
        after_epoch()
    return [each.clone() for each in net.state_dict().values()]
"""


@pytest.fixture
def training(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """The function `train` in a file of its own: this one is a test's."""
    path, names = tmp_path / "training.py", dict[str, Any]()
    path.write_text(TRAINING.replace("{training}", request.param), encoding="utf-8")
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)
    return names["train"]


class Plugin:
    def __init__(self, heard: list[Finding]) -> None:
        self._heard = heard

    @hookspecs.hookimpl
    def regcheck_finding(self, finding: Finding) -> None:
        self._heard.append(finding)


def manager_of(plugin: Plugin) -> pluggy.PluginManager:
    manager = pluggy.PluginManager("regcheck")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    return manager


@pytest.mark.parametrize("training", [""], indirect=True)
def test_a_finding_is_announced_once_and_after_the_first_epoch(
    training: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callback, the log, plugins and `check()` get it while the block runs, and once; no weight is altered."""
    unwatched = training(lambda: None)
    epochs: list[tuple[str, ...]] = []
    heard: list[Finding] = []
    hooked: list[Finding] = []
    monkeypatch.setattr(plugins, "manager", lambda: manager_of(Plugin(hooked)))
    with caplog.at_level(logging.WARNING, "regcheck"), regcheck.watch(on_finding=heard.append) as seen:
        weights = training(lambda: epochs.append(tuple(each.code for each in seen.check())))
    assert epochs == [("REG202",), (), ()]
    assert [each.code for each in heard] == ["REG202"] and hooked == heard
    (record,) = caplog.records
    assert "REG202" in record.getMessage() and "confirmed" in record.getMessage()
    assert all(torch.equal(one, other) for one, other in zip(unwatched, weights, strict=True))
    assert [each.code for each in seen.report.findings] == ["REG202"]
    assert seen.check() == ()


@pytest.mark.parametrize("training", [", self.training"], indirect=True)
def test_a_sound_training_announces_nothing(training: Any) -> None:
    """Checks in the middle of a sound training, also between its epochs, find nothing."""
    heard: list[Finding] = []
    with regcheck.watch(on_finding=heard.append) as seen:
        training(seen.check)
    assert heard == [] and seen.report.not_checked == ()


@pytest.mark.parametrize("training", [""], indirect=True)
def test_a_callback_may_stop_the_training(training: Any) -> None:
    """What the callback raises ends the block, whose report is there all the same."""

    def stop(finding: Finding) -> None:
        raise InterruptedError(finding.code)

    seen = regcheck.watch(on_finding=stop)
    with pytest.raises(InterruptedError, match="REG202"), seen:
        training(seen.check)
    assert [each.code for each in seen.report.findings] == ["REG202"]
