"""The early look of a spread: few runs, of few samples, with the verdict and the effect of many runs of all samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, seed, settings
from torch import Tensor, nn

from regcheck.core.errors import CannotMeasure, CannotTrace
from regcheck.core.finding import Verdict
from regcheck.core.graph import Mode, Op
from regcheck.core.measurements.spread import EARLY_LOOK, FIRST_LOOK, Spread
from regcheck.probe.measurements.spread import Drawn, ModelRuns
from regcheck.probe.memoized_calls import Diverged
from regcheck.probe.probes import ModelProbe
from regcheck.probe.process_state import world_untouched
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

from .. import random_models
from ..test_random_models import STEADY

SAMPLES = 8
RAN: list[int] = []
"""The number of samples of each forward; no attribute, as those are restored after each run."""


class Calling(nn.Module):
    """Two layers, and the forward given."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], outputs: int = 6) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 64), nn.Linear(64, outputs)
        self.function = forward

    def forward(self, x: Tensor) -> Any:
        RAN.append(len(x))
        return self.function(self, x)


def probe_of(model: nn.Module, x: Tensor) -> tuple[ModelProbe, Op]:
    """A probe of a model, and its one random op in eval mode."""
    traced = trace_model(model, "model", Inputs((x,), {}))
    (op,) = [each for each in traced.graph.eval if each.active and each.kind.value in ("dropout", "random")]
    return ModelProbe(Runner(model, (x,), {}, "cpu", work=traced.work), traced.graph, 0, traced.squares), op


def measured(forward: Callable[[Any, Tensor], Any], outputs: int = 6) -> tuple[Spread, list[int]]:
    """The spread of a model, and the sizes of the batches that the measurement ran on."""
    torch.manual_seed(0)
    model = Calling(forward, outputs)
    probe, op = probe_of(model, torch.randn(SAMPLES, 16))
    RAN.clear()
    return probe.measure(Spread, [op], Mode.EVAL), RAN[:]


def plain(self: Any, x: Tensor) -> Tensor:
    scores: Tensor = self.second(F.dropout(self.first(x), 0.3))
    return scores


def noise(self: Any, x: Tensor) -> Tensor:
    scores: Tensor = self.second(self.first(x) + torch.randn_like(self.first(x)))
    return scores


def without_effect(self: Any, x: Tensor) -> Tensor:
    scores: Tensor = self.second(self.first(x) + 0 * F.dropout(self.first(x), 0.3))
    return scores


def of_a_batch(self: Any, x: Tensor) -> Tensor:
    assert len(x) == SAMPLES
    return plain(self, x)


def without_rows(self: Any, x: Tensor) -> Tensor:
    return plain(self, x).sum(0)


def squeezed(self: Any, x: Tensor) -> Tensor:
    return plain(self, x).squeeze()


def first_sample_saved(self: Any, x: Tensor) -> Tensor:
    hidden = self.first(x)
    scores: Tensor = self.second(torch.cat([hidden[:1], F.dropout(hidden[1:], 0.3)]))
    return scores


@pytest.mark.parametrize("forward", [plain, noise])
def test_thirteen_runs_of_one_sample_prove_an_effect(forward: Any) -> None:
    """They are equal to the bit exactly where their streams are, which chance does less than once in two million."""
    spread, ran = measured(forward)
    assert spread.verdict is Verdict.CONFIRMED and spread.look == EARLY_LOOK
    assert ran == [1] * (15 if forward is plain else 13)  # two with the dropout off
    assert spread.floor == 0 and spread.few == 1 and spread.vanishes


@pytest.mark.parametrize("forward", [of_a_batch, without_rows, squeezed])
def test_models_that_need_their_batch_run_on_all_of_it(forward: Any) -> None:
    """A model that refuses one sample, or returns no row for each, is proven by as few runs of its whole batch."""
    spread, ran = measured(forward)
    assert spread.verdict is Verdict.CONFIRMED and spread.look == EARLY_LOOK
    assert ran.count(SAMPLES) == 15 and len(ran) <= 16 and spread.few == 0


def test_an_effect_on_other_samples_is_found() -> None:
    """Where the first sample does not show the effect, runs of the whole batch do."""
    spread, ran = measured(first_sample_saved)
    assert spread.verdict is Verdict.CONFIRMED and spread.look == FIRST_LOOK
    assert ran[:3] == [1, 1, 1] and {*ran[3:]} == {SAMPLES}


def test_what_has_no_effect_is_refuted_without_replays() -> None:
    """Of runs that agree whatever the stream, none has to be repeated."""
    spread, ran = measured(without_effect)
    assert spread.verdict is Verdict.REFUTED and ran.count(SAMPLES) == 1 + len(spread.changed) == 13
    assert not spread.replays


@pytest.mark.parametrize("outputs", [1, 6])
def test_the_effect_of_one_sample_is_that_of_all(outputs: int) -> None:
    """Relative to the spread over all samples, so that it does not depend on how many ran."""
    spread, _ = measured(plain, outputs)
    torch.manual_seed(0)
    probe, op = probe_of(Calling(plain, outputs), torch.randn(SAMPLES, 16))
    whole = Drawn(ModelRuns(probe, [op], Mode.EVAL, ()), [op], 0).look()
    assert whole.verdict is Verdict.CONFIRMED and 0.4 < spread.relative / whole.relative < 2.5


@pytest.mark.parametrize(("rate", "few"), [(0.5, 1), (0.01, 6), (0.001, 0)])
def test_samples_suffice_for_different_masks(rate: float, few: int) -> None:
    """As many samples run as it takes for two streams to drop different units."""
    model = Calling(lambda self, x: self.second(F.dropout(self.first(x), rate)))
    probe, op = probe_of(model, torch.randn(SAMPLES, 16))
    runs = ModelRuns(probe, [op], Mode.EVAL, ()).on_fewer_samples()
    assert (0 if runs is None else runs.few) == few


def test_noise_of_kernels_ends_the_early_look() -> None:
    """Where replays differ, more of them measure by how much, and the verdict is that of the rank test."""
    draws = torch.Generator().manual_seed(0)

    class Runs:
        """Runs whose outputs all differ a little, and by more where the stream does."""

        few = 0

        def plan(self, runs: int) -> None:
            pass

        def run(self, seed: int, *, silent: bool = False) -> list[Tensor]:
            return [torch.randn(4, generator=draws) * 1e-6 + seed]

        def on_fewer_samples(self) -> None:
            pass

        def relative(self, runs: Any) -> float:
            return 0.1

    model = Calling(plain)
    _, op = probe_of(model, torch.randn(SAMPLES, 16))
    drawn = Drawn(Runs(), [op], 0)
    assert drawn.early_look() is None
    spread = drawn.look()
    assert spread.verdict is Verdict.CONFIRMED and spread.floor > 0
    assert (len(spread.replays), len(spread.changed)) == (14, 12)


def check(model_spec: Any) -> None:
    """Hold early looks at the random ops of a random model against looks at many runs of its whole batch."""
    with warnings.catch_warnings(), suppress(CannotMeasure, CannotTrace), world_untouched():
        warnings.simplefilter("ignore")  # what layers say of their own arguments is not what is tested
        model, (args, kwargs) = model_spec.built(), model_spec.inputs()
        traced = trace_model(model, "model", Inputs(args, kwargs))
        runner = Runner(model, args, kwargs, "cpu", work=traced.work)
        probe = ModelProbe(runner, traced.graph, 0, traced.squares)
        for op in traced.graph.eval:
            if op.active and op.site.place is not None and op.kind.value in ("dropout", "random"):
                spread = probe.measure(Spread, [op], Mode.EVAL)
                if spread.look == EARLY_LOOK:
                    with suppress(Diverged):
                        whole = Drawn(ModelRuns(probe, [op], Mode.EVAL, ()), [op], 0).look()
                        assert whole.verdict is Verdict.CONFIRMED, op.site


@settings(STEADY, max_examples=8)
@given(random_models.models())
def test_early_looks_confirm_what_many_runs_confirm(model_spec: Any) -> None:
    """Whatever the model, an effect that an early look confirms is one that twelve runs of all samples show."""
    check(model_spec)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_early_looks_confirm_what_many_runs_confirm_for_five_hundred_models() -> None:
    """The same for five hundred models."""

    @seed(2)
    @settings(STEADY, derandomize=False, max_examples=500)
    @given(random_models.models())
    def lot(model_spec: Any) -> None:
        check(model_spec)

    lot()
