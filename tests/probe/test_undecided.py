"""Where the samples cannot tell, a measurement says so: it neither confirms nor refutes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Evidence, Suspicion, Verdict
from regcheck.core.graph import Kind, Mode
from regcheck.core.measurements.batch_dependence import BatchDependence
from regcheck.core.measurements.decay import Decay
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.measurements.spread import SECOND_LOOK, Spread
from regcheck.probe.factory import locate, model_probes
from regcheck.probe.measurements.mask_on_maps import whole_chance
from regcheck.probe.statistics import rank_test
from regcheck.rules import load
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

RULES = {rule.code: rule for rule in load()}


class Does(nn.Module):
    """A layer, and whatever is done with what it makes."""

    def __init__(self, does: Any, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.does = layer, does

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.does(self.layer(x), self.training)
        return result


def said(code: str, does: Any, x: torch.Tensor, layer: nn.Module | None = None) -> Evidence:
    """What the rule's measurement says of the last dropout of a model."""
    torch.manual_seed(0)
    model = Does(does, layer or nn.Identity())
    traced = trace_model(model, "model", Inputs((x,)), locate)
    op = list(traced.graph.dropouts(Mode.TRAIN))[-1]
    suspicion, confirm = Suspicion(op, "forced", ops=(op,)), RULES[code].confirm
    assert confirm is not None
    return confirm(suspicion, model_probes(lambda: model, traced, 0)(suspicion, "cpu"))


CASES: dict[str, tuple[str, Any, tuple[int, ...], tuple[int, ...]]] = {
    "nothing lost": ("REG101", lambda x, on: F.dropout(x, 0.001, on), (1, 1), (500, 40)),
    "nothing passed on": ("REG104", lambda x, on: F.dropout(x, 0.001, on).sigmoid(), (1, 1), (500, 40)),
    "two rates alike": ("REG106", lambda x, on: F.dropout(F.dropout(x, 0.1, on), 0.1, on), (2, 2), (500, 40)),
    "agreement by chance": (
        "REG404",
        lambda x, on: sum(F.dropout(each, 0.01, on) for each in x.split(1, dim=1)),
        (2, 2),
        (2000, 2),
    ),
    "maps left whole": ("REG102", lambda x, on: F.dropout(x, 0.001, on), (1, 1, 4, 4), (8, 4, 64, 64)),
}


@pytest.mark.parametrize(("code", "does", "few", "many"), CASES.values(), ids=CASES)
def test_few_draws_decide_nothing(code: str, does: Any, few: tuple[int, ...], many: tuple[int, ...]) -> None:
    """On a few units the verdict is `unmeasured`; on many of them the same model is confirmed (α = 1e-6)."""
    assert said(code, does, torch.rand(few) + 0.5, layer_for(few)).verdict is Verdict.UNMEASURED
    assert said(code, does, torch.rand(many) + 0.5, layer_for(many)).verdict is Verdict.CONFIRMED


def layer_for(shape: tuple[int, ...]) -> nn.Module:
    """A convolution of smooth maps where the inputs are maps: neighbours in white noise would tell nothing."""
    if len(shape) != 4:
        return nn.Identity()
    return nn.Sequential(nn.AvgPool2d(5, 1, 2), nn.Conv2d(shape[1], shape[1], 1))


def test_two_calls_on_one_line_draw_apart() -> None:
    """Two dropouts of one line drop 1 - (1 - p)² together, as masks of their own do (α = 1e-6)."""
    found = said("REG106", lambda x, on: F.dropout(F.dropout(x, 0.1, on), 0.1, on), torch.ones(100, 40))
    assert found.verdict is Verdict.CONFIRMED
    assert found.expected == pytest.approx(0.19)


def test_only_draws_that_reach_the_output_are_counted() -> None:
    """Of a dropout whose result is cut to one column in forty, a fortieth of the draws are samples."""
    found = said("REG101", lambda x, on: F.dropout(x, 0.1, on)[:, :1], torch.rand(200, 40) + 0.5)
    assert found.verdict is Verdict.CONFIRMED
    assert found.samples is not None and found.samples % 200 == 0 and found.samples <= 200 * 12


@pytest.mark.parametrize(("floor", "above", "verdict"), [
    (0.0, 0, Verdict.REFUTED),
    (0.0, 1, Verdict.UNMEASURED),
    (1.0, 0, Verdict.REFUTED),
    (1.0, 11, Verdict.REFUTED),
    (1.0, 12, Verdict.UNMEASURED),
    (1.0, 24, Verdict.CONFIRMED),
])  # fmt: skip
def test_noise_is_neither_proof_nor_its_contrary(floor: float, above: int, verdict: Verdict) -> None:
    """Where replays differ by themselves, half of the changed runs above them are too many to refute."""
    changed = (2.0,) * above + (floor / 2,) * (24 - above)
    spread = Spread((floor,) * 24, changed, (), 0.1, rank_test(24, 24, above), look=SECOND_LOOK)
    assert spread.verdict is verdict


@pytest.mark.parametrize(("above", "floor", "verdict"), [
    (12, 0.0, Verdict.CONFIRMED),
    (1, 0.0, Verdict.UNMEASURED),
    (6, 0.1, Verdict.UNMEASURED),
    (5, 0.1, Verdict.REFUTED),
    (0, 0.0, Verdict.REFUTED),
])  # fmt: skip
def test_a_mode_that_matters_at_times_is_in_doubt(above: int, floor: float, verdict: Verdict) -> None:
    """Only all runs confirm that the mode changes a prediction, and those that differ now and then refute nothing."""
    assert ModeDifference(0.1, None, above, 12, floor, rank_test(12, 12), 24).verdict is verdict


def test_samples_that_exchange_for_themselves_say_nothing() -> None:
    """Where flipped samples equal the originals, no other batch exists to measure the batch statistics with."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.norm = nn.EmbeddingBag(10, 4), nn.BatchNorm1d(4, track_running_stats=False)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.norm(self.words(ids))
            return result

    model, ids = Bag(), torch.tensor([[1, 2, 1], [4, 5, 4]])
    traced = trace_model(model, "model", Inputs((ids,)), locate)
    op = next(op for op in traced.graph.eval if op.kind is Kind.BATCH_NORM)
    with pytest.raises(CannotMeasure, match="none of the other batches changes"):
        model_probes(lambda: model, traced, 0)(Suspicion(op, "forced", ops=(op,)), "cpu").measure(BatchDependence, op)


def test_maps_left_whole_by_chance() -> None:
    """Of maps of three and one elements, draws at 1/2 leave both whole with a probability of 1/4."""
    assert whole_chance(torch.tensor([3, 1]), 0.5) == pytest.approx(0.25)
    assert whole_chance(torch.tensor([3, 0]), 0.5) == pytest.approx(0.25)
    assert whole_chance(torch.tensor([400]), 0.5) < 1e-6


def test_one_weight_has_no_spread() -> None:
    """The effective decay of a single weight is not called uniform."""
    assert not Decay(0.0, 1.0, 5.0, 5.0, 0.1, 1, 1e-9).is_uniform
    assert Decay(1.0, 0.0, 1.0, 1.0, 0.1, 2, 1e-9).is_uniform
