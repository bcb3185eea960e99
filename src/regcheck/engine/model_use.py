"""A live model together with its use: what a watched program did with it, or what the source around its class does."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from regcheck.core.errors import CannotMeasure, CannotTrace
from regcheck.core.finding import Suspicion
from regcheck.core.graph import Graph, Op, Wholeness
from regcheck.core.report import Report
from regcheck.core.rule import Probe, Rule
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import Usage
from regcheck.engine.check import NO_BLOCKS, Blocks, Check, Suspicions
from regcheck.files.loaded_modules import file_of
from regcheck.keras_api.layer_tree import named_parts
from regcheck.lazy_dataclass import dataclass
from regcheck.probe.audit_copy import workspace
from regcheck.probe.factory import NO_RUN, ProbeOn, budget_of, locate, model_probes, no_probe, usage_probes
from regcheck.probe.process_state import world_untouched
from regcheck.probe.seeds import seed_everything
from regcheck.suppression.declare import declarations_around
from regcheck.tracing.call_interceptor import autocasting
from regcheck.tracing.cost import TooMuchWork
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.fake import reason_not_run
from regcheck.tracing.strategies import trace_model
from regcheck.tracing.unsharding import followable
from regcheck.tracing.unwrap import Subject, subject_of

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Capture, Observation


@dataclass(frozen=True)
class ModelUse:
    """A usage, and the `key` by which it knows the model at hand."""

    key: str
    usage: Usage


def uses_in_run(seen: Observation) -> Iterator[tuple[str, Capture | None, list[ModelUse]]]:
    """The uses of each structure that a watched program called, with a captured call of it where there is one."""
    keys: dict[str, dict[str, None]] = {}
    for _, call in seen.usage.calls():
        if call.structure:
            keys.setdefault(call.structure, {})[call.model.key] = None
    captures = {capture.model_key: capture for capture in reversed(seen.captures)}
    for structure, models in keys.items():
        yield structure, captures.get(structure), [ModelUse(key, seen.usage) for key in models]


def uses_in_source(model: nn.Module, rules: Iterable[Rule]) -> list[ModelUse]:
    """The uses of a model's class in the files that hold the class: its own, and those of modules that imported it."""
    from regcheck.static.analyze import analyze
    from regcheck.static.project.discovery import read
    from regcheck.static.project.files import Source
    from regcheck.static.project.names import Project

    kind = type(model)
    try:
        own = inspect.getsourcefile(kind)
    except (OSError, TypeError):
        return []
    modules: list[Any] = [*sys.modules.values()]
    holders = [each for each in modules if isinstance(each, ModuleType) and vars(each).get(kind.__name__) is kind]
    files = dict.fromkeys(filter(None, (own, *map(file_of, holders))))
    contents = {file: read(Path(file)) for file in files if file.endswith(".py")}
    sources = [Source(file, content, True) for file, content in contents.items() if isinstance(content, bytes)]
    reading = analyze(Project(sources, StartingPoints.of(rule.begins_at for rule in rules)))
    mine = {key for key, each in reading.models.items() if (each.path, each.name) == (own, kind.__qualname__)}
    return [
        ModelUse(key, usage)
        for usage in reading.usages
        for key in dict.fromkeys(call.model.key for _, call in usage.calls())
        if key in mine
    ]


def check_model_use(
    check: Check,
    subject: Subject,
    inputs: Inputs | None,
    uses: Sequence[ModelUse],
    probe_event: ProbeOn = no_probe,
    keep: Callable[[Graph], None] = lambda graph: None,
) -> Report:
    """Check one model together with its uses, with the rules that read both.

    `keep` is handed the graph. A model that cannot be traced is not reported here: `check_model` reports it.
    """
    return check.guarded(subject.name, lambda: _check_model_use(check, subject, inputs, uses, probe_event, keep))


@world_untouched()
def _check_model_use(
    check: Check,
    subject: Subject,
    inputs: Inputs | None,
    uses: Sequence[ModelUse],
    probe_event: ProbeOn,
    keep: Callable[[Graph], None],
) -> Report:
    options = check.options
    if not uses:
        return check.report(subject.name, (), ())
    try:
        model, spread = followable(subject)
    except CannotMeasure:
        return check.report(subject.name, (), ())
    not_run = spread or reason_not_run(model) if options.run else NO_RUN
    limit = budget_of(options).left
    with workspace(model) as fresh:
        seed_everything(options.seed)
        try:
            traced = trace_model(
                model if not_run else fresh(), subject.name, inputs, locate, Wholeness.UNKNOWN, not_run, limit
            )
        except (TooMuchWork, CannotMeasure, CannotTrace):
            return check.report(subject.name, (), ())
        keep(traced.graph)
        suspicions = _suspect(check, traced.graph, uses, traced.blocks)
        probe_op = model_probes(cache(fresh), traced, options.seed, partial(budget_of, options))
        findings = check.prove(subject.name, suspicions.pairs, either(probe_op, probe_event), traced.blocks)
    around = partial(declarations_around, dict(named_parts(model)))
    return check.report(subject.name, findings, suspicions.failed, around, suspicions.suppressed_by)


def check_uses(check: Check, observation: Observation, graphs: MutableMapping[str, Graph]) -> Iterator[Report]:
    """Check each structure that a program called together with its uses, if a rule reads both.

    `graphs` holds the graph of each structure that was captured before, and gets those of this observation.
    """
    if not any(rule.reads_use for rule in check.rules):
        return
    probe_event: ProbeOn = no_probe
    if check.options.run:
        probe_event = usage_probes(observation.captures, observation.optimizers, check.options)
    for structure, capture, uses in uses_in_run(observation):
        if capture is not None:
            inputs = Inputs(capture.args, capture.kwargs, "captured")
            subject = replace(subject_of(capture.model), group=None)
            with autocasting(capture.autocast):
                yield check_model_use(check, subject, inputs, uses, probe_event, partial(graphs.__setitem__, structure))
        elif structure in graphs:
            yield check_graph_use(check, observation.usage.subject, graphs[structure], uses, probe_event)


def check_graph_use(check: Check, subject: str, graph: Graph, uses: Sequence[ModelUse], probe_event: ProbeOn) -> Report:
    """Check a model that is no longer at hand by the graph that an earlier call of it had, together with its uses."""
    suspicions = _suspect(check, graph, uses)
    with world_untouched():
        findings = check.prove(subject, suspicions.pairs, either(no_probe, probe_event))
    return check.report(subject, findings, suspicions.failed, suppressed_by=suspicions.suppressed_by)


def _suspect(check: Check, graph: Graph, uses: Iterable[ModelUse], blocks: Blocks = NO_BLOCKS) -> Suspicions:
    """What the rules suspect that read a graph together with a usage, over all uses."""
    together = Suspicions()
    for use in uses:
        each = check.suspect("graph and usage", replace(graph, model=use.key), use.usage, blocks=blocks)
        together.pairs += each.pairs
        together.failed += each.failed
        together.suppressed_by |= each.suppressed_by
    return together


def either(probe_op: ProbeOn, probe_event: ProbeOn) -> ProbeOn:
    """The probes for suspicions about ops and events alike."""

    def probe_on(suspicion: Suspicion, device: str) -> Probe:
        return (probe_op if isinstance(suspicion.at, Op) else probe_event)(suspicion, device)

    return probe_on
