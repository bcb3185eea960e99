"""Measurements are planned from counted work: a budget decides how much is run, and never what it says."""

from __future__ import annotations

import importlib.util
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regcheck.core import measurements
from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements import Measurement
from regcheck.engine.audit import audit
from regcheck.probe.factory import Estimate, Estimator
from regcheck.probe.runner import Runner
from regcheck.probe.work_plan import GRACE, MARGIN, Budget
from regcheck.tracing.cost import SECOND

FIXTURES = Path(__file__).parents[2] / "fixtures" / "models"
SOME = (
    "attention_behind_a_switch",
    "block_dropped_without_scale",
    "classifier_ending_in_dropout",
    "dropout_built_in_forward",
    "noise_from_distributions",
    "standardized_by_the_batch",
    "tabular_network_with_dropout_before_norms",
)


def test_a_budget_gives_as_many_runs_as_fit() -> None:
    """All that are of use, or as many as there is work for; each is taken from what is left."""
    budget = Budget(1.0, "`budget`")
    assert budget.take(SECOND // 10, 2, 4) == 4
    assert budget.take(SECOND // 10, 2, 12) == 6
    with pytest.raises(CannotMeasure) as refused:
        budget.take(SECOND // 10, 2, 12)
    assert str(refused.value) == (
        "proof takes 2 runs of 0.1 s of work each, more than the 0 s left of its budget of 1 s; raise `budget`"
    )
    assert Budget().take(SECOND, 1, 100) == 100


def test_cpu_time_is_a_safety_net_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take far more CPU time than was counted end as not measured."""
    clock = [0.0]
    monkeypatch.setattr("time.thread_time", lambda: clock[0])
    budget = Budget(2.0, "`budget`")
    for passed in (2 * MARGIN, GRACE + 1):
        with budget.watch_over():
            clock[0] += passed
    with pytest.raises(CannotMeasure, match="of CPU time"), budget.watch_over():
        pass


def all_measurements() -> list[type[Measurement]]:
    """Every measurement of regcheck, from the modules of its package."""
    for module in pkgutil.iter_modules(measurements.__path__, f"{measurements.__name__}."):
        importlib.import_module(module.name)
    return [each for each in Measurement.__subclasses__() if each.__module__.startswith(measurements.__name__)]


NOT_ESTIMATED = {"ConstantTerms", "LimitExcess", "Decay", "Shrinkage", "RankMasks", "ModeDifference"}
"""Measurements of other subjects than a model, which plan their own runs."""


def test_each_measurement_has_an_estimate() -> None:
    """Each measurement names the module that makes it, which estimates its forwards, and the estimator runs nothing."""
    found = {}
    for measurement in all_measurements():
        with pytest.raises(Estimate) as estimate:
            Estimator().measure(measurement)
        found[measurement.__name__] = estimate.value.forwards
    assert {name for name, forwards in found.items() if forwards == 0} == NOT_ESTIMATED


def examined(name: str, budget: float) -> dict[tuple[str, int | None], tuple[str, str]]:
    """The verdict and the severity of each suspicion about a fixture."""
    spec = importlib.util.spec_from_file_location(name, FIXTURES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        spec.loader.exec_module(module)
    report = audit(module.model, *module.inputs, options={"devices": ["cpu"], "budget": budget})
    both = [*report.findings, *report.refuted]
    return {(each.code, each.line): (each.evidence.verdict.value, each.severity.value) for each in both}


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("budget", [0.02, 0.005, 0.002])
def test_a_smaller_budget_changes_no_verdict(name: str, budget: float) -> None:
    """With less to spend a suspicion is proven on less, or not at all; it never gets another verdict."""
    whole, less = examined(name, 60), examined(name, budget)
    assert less.keys() == whole.keys()
    assert {each for each in less.items() if each[1][0] != "unmeasured"} <= set(whole.items())


class Wide(nn.Module):
    """Drops what it gives, and does as much for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head, self.drop = nn.Linear(256, 1024), nn.Linear(1024, 64), nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.drop(self.head(torch.relu(self.hidden(x))))
        return scores


def test_fewer_samples_are_run_where_all_take_too_much() -> None:
    """Of a large batch the first samples are measured, and the evidence says of how many."""
    (finding,) = audit(Wide(), torch.randn(512, 256), options={"budget": 0.02, "devices": ["cpu"]}).findings
    assert (finding.code, finding.evidence.verdict) == ("REG101", Verdict.CONFIRMED)
    assert "of 512 samples, as its budget allows no more" in finding.evidence.because


def test_what_reduced_draws_can_tell_is_said() -> None:
    """Where fewer runs are made than are of use, the evidence says which shares cannot be told from the rate."""
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 8), nn.Dropout(0.3)), torch.randn(4, 64)
    (finding,) = audit(model, x, options={"budget": 0.0032, "devices": ["cpu"]}).findings
    assert finding.evidence.verdict is Verdict.CONFIRMED
    assert "indistinguishable from 0.3" in finding.evidence.because and "of 12 runs" in finding.evidence.because


def test_a_call_is_measured_on_fewer_samples_too() -> None:
    """A captured call whose batch takes too much is made again with its first samples."""
    runner = Runner(Wide(), (torch.randn(512, 256),), {}, "cpu", budget=Budget(0.1, "`budget`"))
    (output,) = runner.fit(Mode.EVAL, 0, 24)
    assert 2 <= output.size(0) < 512
    assert runner.notes == [f"on {output.size(0)} of 512 samples, as its budget allows no more"]
    small = Runner(Wide(), (torch.randn(4, 256),), {}, "cpu", budget=Budget(0.1, "`budget`"))
    (output,) = small.fit(Mode.EVAL, 0, 24)
    assert output.size(0) == 4 and small.notes == []


def test_a_model_that_mixes_its_samples_is_run_whole() -> None:
    """Where an output has no row for each sample, no sample is left out."""

    class Pooled(Wide):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean(0)

    runner = Runner(Pooled(), (torch.randn(512, 256),), {}, "cpu", budget=Budget(0.1, "`budget`"))
    with pytest.raises(CannotMeasure, match="proof takes 24 runs"):
        runner.fit(Mode.EVAL, 0, 24)
