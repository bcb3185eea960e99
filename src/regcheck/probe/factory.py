"""Build the probes that measure suspicions, one for each device, and combine the evidence of devices."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NoReturn

import torch
from torch import nn

from regcheck.config.options import Options
from regcheck.core.errors import CannotMeasure, UsageError
from regcheck.core.finding import Evidence, Suspicion, Verdict
from regcheck.core.measurements import M
from regcheck.core.rule import Probe, Rule
from regcheck.core.usage import Called, Stepped
from regcheck.files.place import Place
from regcheck.probe.audit_copy import copied
from regcheck.probe.probes import BaseProbe, CallProbe, ModelProbe, OptimizerProbe, procedure
from regcheck.probe.runner import Runner
from regcheck.probe.work_plan import Budget
from regcheck.runtime.captures import Capture
from regcheck.tracing.call_interceptor import autocasting
from regcheck.tracing.example_inputs import home_of
from regcheck.tracing.strategies import TraceResult

NO_RUN = "running is switched off"
"""Why no probe measures where `--no-run` or a configuration says so."""

ProbeOn = Callable[[Suspicion, str], Probe]
"""Returns the probe that measures a suspicion on a device."""


def model_probes(
    twin: Callable[[], nn.Module], traced: TraceResult, seed: int, budget: Callable[[], Budget] = Budget, note: str = ""
) -> ProbeOn:
    """One probe of a model per device, built on first use; `twin` returns a copy of the model that may be run.

    Each device has its own `budget`, so that the proofs on one do not depend on which others there are. Evidence ends
    with the `note`.
    """
    built: dict[str, tuple[Runner, Probe]] = {}

    def probe_on(suspicion: Suspicion, device: str) -> Probe:
        if traced.inputs is None or traced.unmeasurable:
            raise CannotMeasure(traced.unmeasurable)
        if device not in built:
            inputs = traced.inputs
            runner = Runner(twin(), inputs.args, inputs.kwargs, device, locate, budget(), traced.work)
            built[device] = runner, ModelProbe(runner, traced.graph, seed, traced.squares)
        runner, probe = built[device]
        runner.notes[:] = [note] if note else []
        return probe

    return probe_on


def usage_probes(
    captures: Sequence[Capture],
    optimizers: Mapping[str, torch.optim.Optimizer],
    options: Options,
) -> ProbeOn:
    """A probe for each event: of the optimizer that it stepped, or of the call whose inputs were captured."""
    seed, budgets = options.seed, dict[tuple[str, str], Budget]()

    def probe_on(suspicion: Suspicion, device: str) -> Probe:
        event = suspicion.event
        if isinstance(event, Stepped) and event.optimizer.key in optimizers:
            return OptimizerProbe(optimizers[event.optimizer.key], device, seed, budget_of(options))
        if isinstance(event, Called) and event.capture is not None:
            capture = captures[event.capture]
            budget = budgets.setdefault((capture.model_key, device), budget_of(options))
            model = copied(capture.model) if device == home_of(capture.model).type else capture.model
            around = partial(autocasting, capture.autocast)
            runner = Runner(model, capture.args, capture.kwargs, device, locate, budget, around=around)
            statistics = capture.before.statistics if capture.before else None
            return CallProbe(runner, capture.modes, seed, statistics)
        return BaseProbe(device, seed)

    return probe_on


def budget_of(options: Options) -> Budget:
    """The budget for all measurements of one subject on one device."""
    return Budget(options.budget, options.budget_named)


class Estimate(Exception):
    """How many forwards a measurement typically runs."""

    def __init__(self, forwards: int) -> None:
        super().__init__(forwards)
        self.forwards = forwards


class Estimator(BaseProbe):
    """A probe that measures nothing: it raises the `Estimate` of the first measurement that a rule makes."""

    def __init__(self) -> None:
        super().__init__("", 0)

    def measure(self, measurement: type[M], *about: Any) -> NoReturn:
        raise Estimate(procedure(measurement).forwards)


def estimated_forwards(rule: Rule, suspicion: Suspicion) -> int:
    """The forwards that proving a suspicion typically runs."""
    try:
        if rule.confirm is not None:
            rule.confirm(suspicion, Estimator())
    except Estimate as estimate:
        return estimate.forwards
    except Exception:  # the rule runs nothing
        return 0
    return 0


def no_probe(suspicion: Suspicion, device: str) -> Probe:
    """Refuses to measure, where nothing may run."""
    raise CannotMeasure(NO_RUN)


def combined(evidence: Sequence[Evidence]) -> Evidence:
    """The evidence of several devices as one: confirmed if one confirms, with the verdicts of those that differ."""
    for verdict in (Verdict.CONFIRMED, Verdict.REFUTED, Verdict.UNMEASURED):
        agreeing = [each for each in evidence if each.verdict is verdict]
        if agreeing:
            others = "".join(f"; on {each.device}: {verdict_of(each)}" for each in evidence if each not in agreeing)
            first, names = agreeing[0], ", ".join(each.device for each in agreeing)
            return replace(first, device=names, because=first.because + others)
    raise UsageError("no device to measure on")


def verdict_of(evidence: Evidence) -> str:
    """The verdict of one device among several, or why it has none."""
    unmeasured = evidence.verdict is Verdict.UNMEASURED
    return f"not measured: {evidence.because}" if unmeasured and evidence.because else evidence.verdict.value


def locate(cls: type, path: str) -> Place | None:
    """Where the source of a class builds the layer at `path`; None where the source does not show it."""
    from regcheck.static.models.layer_locations import constructors  # loads all of `static`, which few models need

    for base in cls.__mro__:
        if "__init__" in vars(base) and not base.__module__.startswith("torch."):
            file, first_line = _source_of(base)
            place = constructors(file, base.__qualname__, first_line).get(path) if file else None
            if place is not None:
                return place
    return None


@lru_cache(maxsize=1024)
def _source_of(cls: type) -> tuple[str | None, int]:
    """The file of a class and its first line there; memoized, as the lookup reads the whole file."""
    try:
        return inspect.getsourcefile(cls), inspect.findsource(cls)[1] + 1
    except (OSError, TypeError):
        return None, 0
