"""A probe runs the measurement that a type names, and refuses those of other subjects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Effect, Evidence, Severity, Verdict
from regcheck.core.graph import Mode
from regcheck.core.measurements import Figures, Measurement
from regcheck.core.measurements.decay import Decay
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.measurements.rank_masks import RankMasks
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.probe.probes import ALPHA, BaseProbe, ModelProbe, OptimizerProbe
from regcheck.probe.runner import Runner
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

MEASURE = """
from regcheck.core.graph import Mode
from regcheck.probe.probes import ModelProbe, measures


@measures(ModelProbe, forwards=1)
def measure(probe, kind):
    (output,) = probe.runner.run(Mode.EVAL, probe.seed)
    return kind(float((output < 0).double().mean()), output.numel())
"""


@dataclass(frozen=True)
class NegativeOutputs(Measurement):
    measured_by: ClassVar = "measure_negative_outputs"
    share: float
    outputs: int

    @property
    def effect(self) -> Effect:
        return Effect("negative outputs", self.share, "of the outputs")

    @property
    def figures(self) -> Figures:
        return Figures(self.share, 0.0, "share of negative outputs; exact count", self.outputs)


def model_probe() -> ModelProbe:
    model, x = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)), torch.randn(16, 4)
    graph = trace_model(model, "model", Inputs((x,))).graph
    return ModelProbe(Runner(model, (x,), {}, "cpu"), graph, 3)


def test_a_rule_can_bring_its_own_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A type outside regcheck names a module outside regcheck, whose `measure` the probe runs."""
    (tmp_path / "measure_negative_outputs.py").write_text(MEASURE)
    monkeypatch.syspath_prepend(tmp_path)
    found = model_probe().measure(NegativeOutputs, NegativeOutputs)
    assert 0 < found.share < 1 and found.outputs == 128


@pytest.mark.parametrize(
    ("probe", "measurement", "reason"),
    [
        (BaseProbe("cpu", 0), UnitMask, "no model to run"),
        (BaseProbe("cpu", 0), ModeDifference, "inputs of this call were not captured"),
        (BaseProbe("cpu", 0), Decay, "no optimizer to step"),
        (BaseProbe("cpu", 0), RankMasks, "no ranks to compare"),
        (OptimizerProbe(torch.optim.SGD([torch.ones(1)], 0.1), "cpu", 0), UnitMask, "no model to run"),
    ],
)
def test_a_probe_of_another_subject_refuses(probe: BaseProbe, measurement: type[Measurement], reason: str) -> None:
    """A probe without the subject that a measurement requires says what is missing."""
    with pytest.raises(CannotMeasure, match=reason):
        probe.measure(measurement, None)


def test_evidence_has_the_effect_and_the_probes_settings() -> None:
    """Evidence combines the measurement's effect and figures with the rule's threshold and the probe's settings."""
    probe = model_probe()
    (op,) = probe.graph.dropouts(Mode.TRAIN)
    mask = probe.measure(UnitMask, op)
    evidence = probe.evidence(Verdict.CONFIRMED, "why", mask, material_from=0.8, lowers_to=Severity.INFO)
    effect = Effect("units dropped in train mode", mask.share, "of the units", 0.8)
    assert evidence == Evidence(
        Verdict.CONFIRMED,
        mask.share,
        0.5,
        "share of units dropped; exact binomial test",
        ALPHA,
        mask.units,
        "cpu",
        3,
        "why",
        effect,
    )
    assert evidence.lowers_to is Severity.INFO
