"""Dropped scores on their way to an output: through sums, pooling, activations and losses, each measured by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import regcheck
from regcheck.core.finding import Finding, Verdict
from regcheck.engine.audit import audit

Forward = Callable[["Scores", torch.Tensor], Any]
LABELS = torch.arange(16) % 6
VALID = torch.arange(4) < 1 + torch.arange(4)[:, None]
CRITERION = nn.CrossEntropyLoss()


class Scores(nn.Module):
    """A body, a head for each of three depths, and a forward of the test's own."""

    def __init__(self, forward: Forward, outputs: int = 6) -> None:
        super().__init__()
        self.body, self.drop = nn.Linear(8, 32), nn.Dropout(0.3)
        self.heads = nn.ModuleList(nn.Linear(32, outputs) for _ in range(3))
        self._forward = forward

    def forward(self, x: torch.Tensor) -> Any:
        return self._forward(self, torch.relu(self.body(x)))


DROPPED: dict[str, Forward] = {
    "summed up": lambda net, h: sum(net.drop(head(h)) for head in net.heads),
    "averaged": lambda net, h: torch.stack([net.drop(head(h)) for head in net.heads]).mean(0),
    "averaged over time": lambda net, h: net.drop(net.heads[0](h.view(4, 4, 32))).mean(1),
    "the largest over time": lambda net, h: net.drop(net.heads[0](h.view(4, 4, 32))).max(dim=1).values,
    "pooled to one position": lambda net, h: F.adaptive_avg_pool1d(net.drop(net.heads[0](h.view(4, 4, 32))).mT, 1),
    "summed up, then log-softmax": lambda net, h: F.log_softmax(
        net.drop(net.heads[0](h)) + net.drop(net.heads[1](h)), 1
    ),
    "averaged over the steps of a mask": lambda net, h: (
        (net.drop(net.heads[0](h.view(4, 4, 32))) * VALID.unsqueeze(2).float()).sum(1) / VALID.sum(1, keepdim=True)
    ),
    "padding filled before the largest": lambda net, h: (
        net.drop(net.heads[0](h.view(4, 4, 32))).masked_fill(~VALID[..., None], -1e4).max(dim=1).values
    ),
    "zeroed by where": lambda net, h: torch.where(
        VALID[..., None], y := net.drop(net.heads[0](h.view(4, 4, 32))), torch.zeros_like(y)
    ),
    "the last step": lambda net, h: net.drop(net.heads[0](h.view(4, 4, 32))).gather(
        1, (VALID.sum(1) - 1).view(4, 1, 1).expand(4, 1, 6)
    ),
    "rows that flags select": lambda net, h: net.drop(net.heads[0](h))[LABELS > 1],
    "enlarged": lambda net, h: F.interpolate(net.drop(net.heads[0](h))[None], scale_factor=2, mode="linear"),
    "in a loss": lambda net, h: F.cross_entropy(net.drop(net.heads[0](h)), LABELS),
    "in a loss and returned": lambda net, h: (F.mse_loss(x := net.drop(net.heads[0](h)), torch.ones(16, 6)), x),
    "in a loss of a log-softmax": lambda net, h: -F.log_softmax(net.drop(net.heads[0](h)), 1)[:, 2].mean(),
}
KEPT: dict[str, Forward] = {
    "beside a head that is not dropped": lambda net, h: net.heads[0](h) + net.drop(net.heads[1](h)),
    "before the heads": lambda net, h: sum(head(net.drop(h)) for head in net.heads),
    "averaged over time, then the head": lambda net, h: net.heads[0](net.drop(h.view(4, 4, 32)).mean(1)),
    "an activation of features": lambda net, h: net.drop(torch.relu(net.heads[0](h))),
    "features before an activation": lambda net, h: torch.relu(net.drop(net.heads[0](h))),
    "weights of a product with another head": lambda net, h: net.drop(net.heads[0](h)).sigmoid() * net.heads[1](h),
    "weights of a sum": lambda net, h: net.heads[0](net.drop(net.heads[1](h).softmax(1)).mT @ h),
    "a loss on a head before the dropout": lambda net, h: F.cross_entropy(net.heads[0](net.drop(h)), LABELS),
}


def found_in(model: nn.Module) -> list[Finding]:
    torch.manual_seed(0)
    return list(audit(model, torch.randn(16, 8), options={"select": ["REG101"]}).findings)


@pytest.mark.parametrize("how", DROPPED)
def test_dropped_scores_are_found_on_their_way(how: str) -> None:
    """The audit reports the dropout, and confirms that it loses its share of the scores."""
    findings = found_in(Scores(DROPPED[how]))
    assert [(each.code, each.evidence.verdict) for each in findings] == [("REG101", Verdict.CONFIRMED)]
    assert findings[0].evidence.measured == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("how", KEPT)
def test_features_on_the_same_ways_are_right(how: str) -> None:
    """A dropout that a layer learns from, and a sum with a term that is not dropped, are no dropped output."""
    assert found_in(Scores(KEPT[how])) == []


@pytest.mark.parametrize("code", [2, 4])
def test_an_autoencoder_is_no_block(code: int) -> None:
    """Both return what they are given in shape; only an autoencoder passes all of it through a narrower layer."""
    features = nn.Sequential(nn.Linear(8, code), nn.ReLU(), nn.Linear(code, 8), nn.Dropout(0.3))
    block = nn.Sequential(nn.Linear(8, 8 * code), nn.ReLU(), nn.Linear(8 * code, 8), nn.Dropout(0.3))
    assert [each.module for each in found_in(features)] == ["3"]
    assert found_in(block) == []


def trained(loss: Callable[[torch.Tensor], torch.Tensor], steps: bool, model: nn.Module) -> list[str]:
    """The codes that a watched training of a model is reported for."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with regcheck.watch({"select": ["REG101"]}) as watched:
        for _ in range(2):
            optimizer.zero_grad()
            loss(model(torch.randn(16, 8))).backward()
            if steps:
                optimizer.step()
    return [each.code for each in watched.report.findings]


@pytest.mark.parametrize(
    ("loss", "steps", "found"),
    [
        (torch.sum, False, []),
        (torch.sum, True, ["REG101"]),
        (lambda scores: CRITERION(scores, LABELS), False, ["REG101"]),
    ],
    ids=["gradients alone", "an optimizer steps", "a loss of torch"],
)
def test_gradients_alone_do_not_make_a_model(
    loss: Callable[[torch.Tensor], torch.Tensor], steps: bool, found: list[str]
) -> None:
    """A test may send gradients back through a block; what an optimizer steps or a loss scores is a model."""
    assert trained(loss, steps, nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6), nn.Dropout(0.3))) == found


@pytest.mark.parametrize("last", [nn.Tanh(), nn.ReLU(), nn.Softplus()], ids=str)
@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_an_activation_of_trained_scores_is_passive(last: nn.Module, first: bool) -> None:
    """What a program trains against a target are scores, whichever activation stands before or behind the dropout."""
    ends = (nn.Dropout(0.3), last) if first else (last, nn.Dropout(0.3))
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6), *ends)
    assert trained(lambda scores: F.mse_loss(scores, torch.ones(16, 6)), True, model) == ["REG101"]
