"""An audit that is stopped leaves no trace either: whatever raises, at whichever stage, by itself or at Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import sys
import threading
import warnings

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from regcheck.engine import audit as audit_module
from regcheck.engine.audit import audit
from regcheck.engine.check import Check
from regcheck.probe.probes import ModelProbe, OptimizerProbe
from regcheck.probe.runner import Runner
from regcheck.tracing import module_coverage

from . import random_models
from . import test_leaves_no_trace as traces

pytestmark = pytest.mark.filterwarnings("ignore:dropout")  # torch warns of some of what the faulty models do


world = traces.world

STOPPED = [RuntimeError, KeyboardInterrupt]
"""What raises: the first is reported, the second goes through to the caller."""

MEASUREMENTS = {
    "Spread": "dropout-ignores-mode-bad-0",
    "DroppedOutputs": "dropout-on-output-bad-0",
    "UnitMask": "spatial-dropout-wrong-rank-bad-0",
    "OutputChange": "rnn-dropout-without-effect-bad-0",
    "VarianceShift": "dropout-before-batchnorm-bad-0",
    "BatchDependence": "batch-dependent-prediction-bad-0",
    "HandmadeMask": "unscaled-dropout-bad-0",
    "StackedMasks": "stacked-dropout-bad-0",
    "Moments": "dropout-with-self-normalizing-units-bad-0",
    "ActivationOfZero": "dropout-before-activation-bad-0",
    "MaskAgreement": "fresh-mask-every-step-bad-0",
    "MaskOnMaps": "elementwise-dropout-after-conv-bad-0",
}
"""A model on which each measurement is made."""

STAGES = {
    "trace": (audit_module, "trace_model"),
    "suspect": (Check, "suspect"),
    "measure": (Check, "prove"),
    "search for what draws elsewhere": (audit_module, "unexplained_draws"),
    "cover": (module_coverage, "coverage_of"),
    "report": (Check, "report"),
}
"""The steps of an audit, by the function that takes them."""


@pytest.fixture(params=[True, False], ids=["a copy", "the model itself"])
def made(request, tmp_path):
    """Makes the model and the inputs of a fixture or an example, with gradients, a hook and mixed modes."""
    names = []

    def make(name):
        path = tmp_path / f"stopped_{name.replace('-', '_')}.py"
        path.write_text(traces.SUBJECTS[name])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        names.append(path.stem)
        spec.loader.exec_module(module)
        module.model.register_forward_hook(lambda module, args, output: None)
        for number, parameter in enumerate(module.model.parameters()):
            parameter.grad = torch.randn_like(parameter) if number % 2 else None
        for number, each in enumerate(module.model.modules()):
            each.training = number % 3 != 0
        if not request.param:
            object.__setattr__(module.model, "itself", (each for each in ()))  # a generator cannot be copied
        return module.model, module.inputs

    yield make
    for name in names:
        del sys.modules[name]


def stopping(monkeypatch, owner, name, error, calls=1):
    """Let a function raise at the end of its `calls`-th call; what it was to change it has changed by then."""
    original, made = getattr(owner, name), []

    def stops(*args, **kwargs):
        result = original(*args, **kwargs)
        made.append(None)
        if len(made) == calls:
            raise error("midway")
        return result

    monkeypatch.setattr(owner, name, stops)
    return made


def stopping_measurement(monkeypatch, probe, measurement, error):
    """Let a probe raise at the end of its first measurement of the kind with this name."""
    measure, made = probe.measure, []

    def stops(self, kind, *about):
        result = measure(self, kind, *about)
        if kind.__name__ == measurement and not made:
            made.append(None)
            raise error("midway")
        return result

    monkeypatch.setattr(probe, "measure", stops)
    return made


def audited(model, inputs, error, **kwargs):
    """An audit that may be stopped."""
    try:
        return audit(model, *inputs, options={"extend_select": ["ALL"], "devices": ["cpu"]}, **kwargs)
    except error:
        return None


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_a_measurement_that_is_stopped_at_its_end(made, monkeypatch, measurement, error):
    """Each kind of measurement may raise when it has made its runs: model and world are bit-identical."""
    model, inputs = made(MEASUREMENTS[measurement])
    before = traces.snapshot(model, inputs)
    reached = stopping_measurement(monkeypatch, ModelProbe, measurement, error)
    audited(model, inputs, error)
    assert reached
    assert traces.unchanged(before, model, inputs) == []


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_a_measurement_that_is_stopped_midway(made, monkeypatch, measurement, error):
    """Each kind of measurement may raise in the middle of a run, behind a call: model and world are bit-identical."""
    model, inputs = made(MEASUREMENTS[measurement])
    before = traces.snapshot(model, inputs)
    measure, run, entered, stopped = ModelProbe.measure, Runner.run, [], []

    def measured(self, kind, *about):
        entered.extend([None] * (kind.__name__ == measurement))
        return measure(self, kind, *about)

    def running(self, *args, **kwargs):
        def observe(*seen):
            seen_so_far.append(None)
            if entered and len(seen_so_far) == 2:
                stopped.append(None)
                raise error("midway")

        seen_so_far = []
        return run(self, *args, **{**kwargs, "observe": observe})

    monkeypatch.setattr(ModelProbe, "measure", measured)
    monkeypatch.setattr(Runner, "run", running)
    audited(model, inputs, error)
    assert stopped
    assert traces.unchanged(before, model, inputs) == []


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_stopped(made, monkeypatch, stage, error):
    """Whichever step of an audit raises, model and world are bit-identical when the caller learns of it."""
    model, inputs = made("dropout-ignores-mode-bad-0")
    before = traces.snapshot(model, inputs)
    reached = stopping(monkeypatch, *STAGES[stage], error)
    audited(model, inputs, error)
    assert reached
    assert traces.unchanged(before, model, inputs) == []


class Turns(threading.Thread):
    """Counts turns; a copy of a model shares it with the original, as it shares every thread."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def __next__(self):
        self.made += 1
        return self.made


class Switch(nn.Module):
    """A layer that raises in one mode, or from some call on, in the model or any copy of it."""

    def __init__(self, mode, error, calls):
        super().__init__()
        self.mode, self.error, self.calls, self.made = mode, error, calls, Turns()

    def forward(self, x):
        if self.training is self.mode or next(self.made) >= self.calls:
            raise self.error("as planned")
        return x


def faulty(switch):
    """A model at fault in several ways, with a layer in its middle that may raise."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.Dropout(0.5),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.ReLU(),
        switch,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.9),
        nn.Linear(8, 4),
        nn.Dropout(0.1),
    )


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_a_look_that_is_stopped(mode, error):
    """A forward that raises in one of the two modes leaves model and world bit-identical."""
    model, inputs = faulty(Switch(mode, error, 10_000)), (torch.rand(4, 3, 8, 8),)
    before = traces.snapshot(model, inputs)
    report = audited(model, inputs, error)
    assert (report is None) is (error is KeyboardInterrupt)
    assert traces.unchanged(before, model, inputs) == []


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize("copied", [True, False], ids=["a copy", "the model itself"])
def test_a_forward_that_is_stopped_at_any_time(copied, error):
    """From the first forward of an audit to its last, each may raise: model and world are bit-identical."""
    counting = Switch(None, error, 10_000)
    audited(faulty(counting), (torch.rand(4, 3, 8, 8),), error)
    forwards = next(counting.made) - 1
    assert forwards > 40
    for calls in range(1, forwards + 1, 7):
        model, inputs = faulty(Switch(None, error, calls)), (torch.rand(4, 3, 8, 8),)
        if not copied:
            object.__setattr__(model, "itself", (each for each in ()))  # a generator cannot be copied
        before = traces.snapshot(model, inputs)
        audited(model, inputs, error)
        assert traces.unchanged(before, model, inputs) == []


class Halting(torch.optim.Adam):
    """Adam that raises from some step on, of one optimizer and all its copies, when it has written what it writes."""

    steps, calls, error = 0, 0, None

    def step(self, closure=None):
        super().step(closure)
        Halting.steps += 1
        if Halting.calls and Halting.steps >= Halting.calls:
            raise self.error("as planned")


@pytest.mark.parametrize("error", STOPPED)
@pytest.mark.parametrize(
    ("cls", "calls", "measurement"),
    [(torch.optim.Adam, 0, "Decay"), (torch.optim.Adam, 0, "Shrinkage"), (Halting, 1, "Shrinkage")],
    ids=["at the end of one measurement", "at the end of the other", "in its step"],
)
def test_an_optimizer_that_is_stopped(monkeypatch, cls, calls, measurement, error):
    """An optimizer whose copy raises in a step, or whose measurement does, keeps its state, groups and parameters."""
    model, inputs = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)), (torch.randn(4, 8),)
    optimizer = cls(model.parameters(), lr=0.01, weight_decay=0.1)
    model(*inputs).sum().backward()
    optimizer.step()
    monkeypatch.setattr(Halting, "steps", 0)
    monkeypatch.setattr(Halting, "calls", calls)
    monkeypatch.setattr(Halting, "error", error)
    held = optimizer.param_groups, [*optimizer.state.values()], vars(optimizer)
    before, kept = traces.snapshot(model, inputs), traces.frozen(held)
    measured = stopping_measurement(monkeypatch, OptimizerProbe, measurement, error)
    audited(model, inputs, error, optimizer=optimizer)
    assert (bool(measured), bool(Halting.steps)) == (not calls, bool(calls))
    assert traces.unchanged(before, model, inputs) == []
    assert traces.frozen(held) == kept


@settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],  # building modules is slow, on purpose
)
@given(random_models.models(), st.integers(1, 40), st.sampled_from(STOPPED))
def test_whatever_the_model_and_wherever_it_stops(model_spec, calls, error):
    """Models of all kinds, stopped in any of their forwards, are bit-identical, and so is the world."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what layers say of their own arguments is not what is tested
        model, inputs = model_spec.built(), model_spec.inputs()
    forward, made = type(model.neck).forward, itertools.count(1)

    def stops(self, x):
        if next(made) >= calls:
            raise error("as planned")
        return forward(self, x)

    model.neck.__class__ = type("Neck", (type(model.neck),), {"forward": stops})
    before = traces.snapshot(model, inputs)
    with contextlib.suppress(error):
        audit(model, *inputs[0], options={"devices": ["cpu"], "budget": 20}, **inputs[1])
    assert traces.unchanged(before, model, inputs) == []
