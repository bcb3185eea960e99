"""One audit, told top to bottom: choose the rules, look at the model, prove what is suspected, silence, report."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.device_evidence import EvidenceByDevice, Proofs
from regcheck.core.errors import (
    BrokenRule,
    CannotMeasure,
    CannotTrace,
    Failed,
    RegcheckError,
    UsageError,
    format_error,
    stops,
)
from regcheck.core.finding import Evidence, Finding, NotChecked, Suspicion, Verdict
from regcheck.core.graph import Graph, Kind, Mode, Op, Wholeness
from regcheck.core.inspections import MEASURED, NOT_KEPT, NOT_REPLAYED, Inspection, best, left_open
from regcheck.core.rank_masks import Ranks
from regcheck.core.report import Report, gathered
from regcheck.core.rule import About, Rule, finding, merged
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.core.usage import Stepped, Usage
from regcheck.engine.model_use import ModelUse, either, uses_in_run, uses_in_source
from regcheck.engine.verdict_store import VerdictStore
from regcheck.plugins import catalogue, example_inputs
from regcheck.probe import devices
from regcheck.probe.audit_copy import workspace
from regcheck.probe.batch_slice import affordable, batch_size, differ_in_batch_only, first_samples
from regcheck.probe.factory import (
    NO_RUN,
    ProbeOn,
    budget_of,
    combined,
    estimated_runs,
    locate,
    model_probes,
    no_probe,
    usage_probes,
)
from regcheck.probe.probes import ModelProbe
from regcheck.probe.process_state import world_untouched
from regcheck.probe.rank_agreement import LAG, RanksProbe, Rendezvous, state_digest
from regcheck.probe.runner import Runner
from regcheck.probe.seeds import seed_everything, state_of
from regcheck.runtime.models import parts
from regcheck.runtime.optimizers import inner_optimizers, key_of, optimizer_info
from regcheck.suppression.apply import decide_here, report_on
from regcheck.suppression.decide import Context, decide
from regcheck.suppression.declare import class_declarations, log_used
from regcheck.tracing import module_coverage
from regcheck.tracing.accelerators import capturing
from regcheck.tracing.call_interceptor import autocasting
from regcheck.tracing.cost import TooMuchWork, overhead_of
from regcheck.tracing.example_inputs import Inputs, elsewhere, home_of, moved
from regcheck.tracing.fake import reason_not_run
from regcheck.tracing.memory import uncollected
from regcheck.tracing.strategies import TraceResult, trace_model
from regcheck.tracing.streams import hidden_draws
from regcheck.tracing.unwrap import Subject, obstacle, subject_of
from regcheck.tracing.user_line import raising_place

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Capture, Observation

SUSPECTED = Evidence(Verdict.UNMEASURED)
Blocks = Mapping[tuple[Mode, str], tuple[CodeSuppression, ...]]


def audit(
    model: nn.Module,
    *args: Any,
    optimizer: torch.optim.Optimizer | None = None,
    options: Options | Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Report:
    """Check a model, and prove what is wrong with it by measuring a copy of it.

    Args:
        model: the model, or what is around it (DDP, FSDP, `torch.compile`, a trainer, …). It is left exactly as it is.
        args: positional inputs of its `forward`; inferred where none are given.
        kwargs: keyword inputs of its `forward`.
        optimizer: checked too, on copies of its parameters.
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `fail_on`, `devices`, `seed`, …).

    Raises:
        UsageError: an unknown option or rule code (also one that `regcheck.ignore` names), an unusable device, or
            something that is no model.
    """
    if not isinstance(optimizer, (torch.optim.Optimizer, type(None))):
        raise UsageError(f"optimizer must be a torch.optim.Optimizer, not {type(optimizer).__name__}")
    run = Run.of(Options.of(options))

    def check() -> Report:
        subject = subject_of(model)
        if not isinstance(subject.model, nn.Module):
            raise UsageError(f"audit takes an nn.Module, not {type(model).__name__}; pass the model itself")
        classes = (each for part in parts(subject.model) for each in class_declarations(part))
        select.refuse_unknown((each.pattern for each in (*BLOCKS.get(), *classes)), catalogue())
        given = Inputs(args, kwargs) if args or kwargs else None
        reports = [run.model(subject, given)]
        if any(rule.reads_use for rule in run.rules):
            reports.append(run.in_use(subject, given, uses_in_source(subject.model, run.rules)))
        if optimizer is not None:
            stepping = {key_of(each): each for each in inner_optimizers(optimizer) or [optimizer]}
            stepped = (Stepped(optimizer=optimizer_info(each, [subject.model])) for each in stepping.values())
            reports.append(run.usage(Usage(subject.name, tuple(stepped)), (), stepping))
        return gathered(reports)

    report = run.contained(type(model).__name__, check)
    log_used(report.suppressed_by)
    return report


def judge(
    seen: Observation, options: Options | Mapping[str, Any] | None = None, memory: VerdictStore | None = None
) -> Report:
    """Check what a watched program did, and each model structure it ran that the `memory` does not know.

    What is known after it is kept in the `memory`. A model counts as a whole one where it was trained: a test that
    only calls it may try a part on its own. Each structure, and the calls of it, have the work of `Options.budget`.
    """
    run = replace(Run.of(Options.of(options), watched=True), memory=memory or VerdictStore())
    report = run.seen(seen)
    return replace(report, not_checked=(*report.not_checked, *left_open(report.looks)), looks={})


Suspected = tuple[list[tuple[Rule, Suspicion]], tuple[NotChecked, ...], tuple[CodeSuppression, ...]]
"""The suspicions with their rules, an entry for each rule that failed, and the declarations that suppress others."""


@dataclass(frozen=True)
class Run:
    """The choices that hold for a whole run, and what is known from what it has looked at."""

    options: Options
    rules: tuple[Rule, ...]
    devices: tuple[str, ...]
    memory: VerdictStore = field(default_factory=VerdictStore)

    @classmethod
    def of(cls, options: Options, watched: bool = False) -> Run:
        """The run with these options, of a program that is `watched`, or of a model that is handed in."""
        return cls(options, select.chosen(catalogue(), options), devices.chosen(options.devices, watched))

    def contained(self, subject: str, check: Callable[[], Report]) -> Report:
        """What a check reports; where the code of the user's raises, that it stopped there, and was not checked."""
        try:
            if capturing():
                what = "audit it before or after the capture"
                return self._report((), (NotChecked(subject, "a CUDA graph is being captured", what),), subject)
            return check()
        except (UsageError, BrokenRule, Failed):
            raise
        except BaseException as error:
            if stops(error):
                raise
            reason = str(error) if isinstance(error, RegcheckError) else f"it raised {format_error(error)}"
            place, what = raising_place(error.__traceback__), "repair what raises, or audit a part of the model"
            stopped = NotChecked(subject, reason, what, *((place.path, place.line) if place else ()))
            return replace(self._report((), (stopped,), subject), coverage=(Coverage(subject, "none"),))

    def model(
        self,
        examined: nn.Module | Subject,
        given: Inputs | None,
        wholeness: Wholeness = Wholeness.WHOLE,
        limit: float = inf,
        apart: Collection[int] = (),
    ) -> Report:
        """Check one model with the graph rules.

        `apart` holds the ids of parts that are checked on their own.
        A model of which a call takes more operations than the `limit` is not checked.
        """
        return self._look(examined, given, wholeness, limit, apart)[0]

    def _look(
        self,
        examined: nn.Module | Subject,
        given: Inputs | None,
        wholeness: Wholeness,
        limit: float,
        apart: Collection[int],
    ) -> tuple[Report, int]:
        """The report on one model, and how the look at it ended: whether it ran on the inputs given."""
        ended = NOT_REPLAYED

        def check() -> Report:
            nonlocal ended
            report, ended = self._looked_at(examined, given, wholeness, limit, apart)
            return report

        name = type(examined.model if isinstance(examined, Subject) else examined).__name__
        return self.contained(name, check), ended

    @world_untouched()
    def _looked_at(
        self,
        examined: nn.Module | Subject,
        given: Inputs | None,
        wholeness: Wholeness,
        limit: float,
        apart: Collection[int],
    ) -> tuple[Report, int]:
        found = examined if isinstance(examined, Subject) else subject_of(examined)
        model, subject = found.model, found.name
        if spread := obstacle(model):
            blocked = NotChecked(subject, spread, "audit the model before it is wrapped, in one process")
            report = self._report((), (blocked,), subject)
            return replace(report, coverage=(module_coverage.untraced(model, subject),)), NOT_REPLAYED
        why_not = reason_not_run(model) if self.options.run else NO_RUN
        meeting, stream = self._meeting(found)
        with workspace(model) as fresh, ExitStack() as until_measured:
            if given is not None:
                until_measured.enter_context(uncollected())
            seed_everything(self.options.seed)
            try:  # where nothing is run only fake copies are made
                traced = trace_model(
                    model if why_not else fresh(), subject, given, locate, wholeness, why_not, limit, example_inputs
                )
            except TooMuchWork:
                return self._too_large(subject), NOT_REPLAYED
            except CannotMeasure as error:
                uncopied = NotChecked(subject, str(error), "keep what cannot be copied outside of the model")
                report = self._report((), (uncopied,), subject)
                return replace(report, coverage=(module_coverage.untraced(model, subject),)), NOT_REPLAYED
            except CannotTrace as error:
                report = self._report((), (untraced(subject, error, elsewhere(model, given)),), subject)
                return replace(report, coverage=(module_coverage.untraced(model, subject),)), NOT_REPLAYED
            suspicions, broken, used = self._suspicions("graph", traced.graph, blocks=traced.blocks)
            whole, (traced, suspicions, left_out) = traced, self._affordable(model, traced, suspicions, fresh)
            twin = cache(fresh)
            if suspicions or meeting is not None:
                until_measured.close()
            budget = partial(budget_of, self.options)
            probe_on = model_probes(twin, traced, self.options.seed, budget, left_out)
            compared, unheard = self._across(meeting, stream, twin, whole) if meeting is not None else ([], ())
            proven = [*self._proved(subject, suspicions, probe_on, traced.blocks), *compared]
            unexplained = self._unexplained(twin, traced)
        seen = module_coverage.coverage_of(model, whole)
        missed = (*whole.not_checked, *module_coverage.unfollowed(model, whole, seen, apart), *unexplained)
        modules = dict(model.named_modules())
        report = self._report(
            proven, (*missed, *broken, *unheard), subject, lambda each: declared_by_classes(each, modules)
        )
        report = replace(report, suppressed_by=tuple(dict.fromkeys((*used, *report.suppressed_by))))
        ended = NOT_REPLAYED if whole.inputs is None else MEASURED
        return replace(report, coverage=(seen,), fx_graph=whole.fx_graph), ended

    def _too_large(self, subject: str) -> Report:
        """The report on a model of which one call takes more work than may be spent on it."""
        budget = budget_of(self.options)
        return self._report((), (NotChecked(subject, budget.too_large, budget.advice),), subject)

    def _affordable(
        self,
        model: nn.Module,
        traced: TraceResult,
        suspicions: list[tuple[Rule, Suspicion]],
        fresh: Callable[[], nn.Module],
    ) -> tuple[TraceResult, list[tuple[Rule, Suspicion]], str]:
        """The trace, and what is suspected, on as many samples as the budget allows to prove it, and what is left out.

        All samples where the budget suffices, or where the model does anything else on fewer.
        """
        measured = self.options.confirm and traced.inputs is not None and not traced.unmeasurable
        runs = sum(estimated_runs(*each) for each in suspicions) if measured else 0
        if traced.inputs is None or not runs:
            return traced, suspicions, ""
        work, size = max(traced.work.values()), batch_size(traced.inputs)
        count = affordable(size, work, overhead_of(model), runs, budget_of(self.options).left)
        if count >= size:
            return traced, suspicions, ""
        try:
            part = trace_model(
                fresh(), traced.graph.subject, first_samples(traced.inputs, count), locate, traced.graph.wholeness
            )
        except CannotTrace:
            return traced, suspicions, ""
        again, *_ = self._suspicions("graph", part.graph, blocks=part.blocks)
        same = [(rule.code, each.place) for rule, each in again] == [
            (rule.code, each.place) for rule, each in suspicions
        ]
        if not same or not differ_in_batch_only(traced.graph, part.graph, size, count):
            return traced, suspicions, ""
        return part, again, f"on {count} of {size} samples, as its budget allows no more"

    def _meeting(self, examined: Subject) -> tuple[Rendezvous | None, bytes]:
        """Where the ranks meet that train the model, if a rule compares them, and the state of the stream here."""
        compares = self.options.run and any(rule.about == "ranks" for rule in self.rules)
        if not compares or examined.group is None or not examined.model.training:
            return None, b""
        return Rendezvous(examined.group, examined.name), state_of(home_of(examined.model))

    def _across(
        self, meeting: Rendezvous, stream: bytes, twin: Callable[[], nn.Module], traced: TraceResult
    ) -> tuple[list[Finding], tuple[NotChecked, ...]]:
        """What the rules find that compare the ranks; they do without those that do not audit the model as well."""
        if traced.inputs is None or traced.unmeasurable or not [*traced.graph.dropouts(Mode.TRAIN)]:
            return [], ()
        try:
            said = meeting.exchange("stream", state_digest(stream), meeting.everyone)
        except CannotMeasure as error:
            missed = f"whether all ranks draw the same masks: {error}"
            return [], (NotChecked(traced.graph.subject, missed, "audit the model on every rank at the same time"),)
        ranks = Ranks(traced.graph, meeting.here, {rank: name.decode() for rank, name in said.items()})
        suspicions, broken, _ = self._suspicions("ranks", ranks, blocks=traced.blocks)
        home = home_of(twin())
        runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home.type, locate)
        probe = RanksProbe(runner, stream, ranks.alike, partial(meeting.exchange, patience=LAG), self.options.seed)
        return replace(self, devices=(home.type,))._proved(ranks.subject, suspicions, lambda *_: probe), broken

    def _unexplained(self, twin: Callable[[], nn.Module], traced: TraceResult) -> tuple[NotChecked, ...]:
        """An entry if eval runs differ by a draw that no op carries to an output: by control flow, Python or NumPy."""

        def known(op: Op) -> bool:
            return op.kind is not Kind.OPAQUE

        flow = traced.graph.eval
        draws = [op for op in flow if op.active and (op.drops or op.kind is Kind.RANDOM)]
        seen = any(flow.outputs_reached(op, known) for op in draws)
        if traced.inputs is None or traced.unmeasurable or seen or not (draws or traced.drew_elsewhere):
            return ()
        try:
            runner = Runner(twin(), traced.inputs.args, traced.inputs.kwargs, home_of(twin()).type, locate)
            repeats = ModelProbe(runner, traced.graph, self.options.seed).repeats()
        except CannotMeasure:
            return ()
        if repeats:
            return ()
        hidden = hidden_draws(twin().eval(), moved(traced.inputs.args), moved(traced.inputs.kwargs), locate)
        lines = [(each.module, each.place, f"{each.source} random numbers are drawn here") for each in hidden]
        lines += [(op.module, op.place, f"what `{op.call}` draws here could not be followed") for op in draws]
        differ, what = "predictions in eval mode differ from run to run", "guard the draw with `if self.training:`"
        return tuple(
            NotChecked(
                f"{traced.graph.subject}.{module}".rstrip("."),
                f"{differ}, and {how}",
                what,
                place.path if place else None,
                place.line if place else None,
            )
            for module, place, how in dict.fromkeys(lines)
        ) or (NotChecked(traced.graph.subject, f"{differ}, by draws that no line of this thread makes", what),)

    def seen(self, seen: Observation) -> Report:
        """Check what a watched program did, and the structures it ran that are to be looked at."""
        trained = seen.usage.models_trained_alone()
        whole = {call.capture for _, call in seen.usage.calls() if call.model.key in trained}
        reports = [self.usage(seen.usage, seen.captures, seen.optimizers), *self._in_use(seen)]
        looks = [{key: Inspection(NOT_KEPT, (each,)) for key, each in seen.uncaptured.items()}]
        called = {id(capture.model): {id(part) for part in parts(capture.model)} for capture in seen.captures}
        limit = budget_of(self.options).left
        for index, capture in enumerate(seen.captures):
            wholeness = Wholeness.WHOLE if capture.whole and index in whole else Wholeness.UNKNOWN
            structure = capture.model_key
            if self.memory.is_due(structure, wholeness):
                given = Inputs(capture.args, capture.kwargs, "captured")
                once = replace(subject_of(capture.model), group=None)  # the ranks' streams have moved on since the call
                within = called[id(capture.model)] & called.keys() - {id(capture.model)}
                apart = {part for each in within for part in called[each]}
                with autocasting(capture.autocast):
                    report, ended = self._look(once, given, wholeness, limit, apart)
                looks.append({structure: self.memory.looked(structure, wholeness, report, ended)})
                reports.append(replace(report, not_checked=(), structure=structure))
        return replace(gathered([*reports, Report(not_checked=seen.skipped)]), looks=best(looks))

    def _in_use(self, seen: Observation) -> Iterator[Report]:
        """Check each structure that a watched program called together with its use, if a rule reads both."""
        if not any(rule.reads_use for rule in self.rules):
            return
        probe_event = usage_probes(seen.captures, seen.optimizers, self.options) if self.options.run else no_probe
        for structure, capture, uses in uses_in_run(seen):
            if capture is not None:
                given = Inputs(capture.args, capture.kwargs, "captured")
                once = replace(subject_of(capture.model), group=None)
                with autocasting(capture.autocast):
                    yield self.in_use(once, given, uses, probe_event, structure)
            elif structure in self.memory.graphs:
                found, broken, used = self._suspected_in_use(self.memory.graphs[structure], uses)
                with world_untouched():
                    proven = self._proved(seen.usage.subject, found, either(no_probe, probe_event))
                yield replace(self._report(proven, broken, seen.usage.subject), suppressed_by=used)

    def in_use(
        self,
        examined: Subject,
        given: Inputs | None,
        uses: Sequence[ModelUse],
        probe_event: ProbeOn = no_probe,
        structure: str = "",
    ) -> Report:
        """Check one model together with its uses, with the rules that read both.

        A model that cannot be traced is not reported here: `model` does.
        """
        return self.contained(examined.name, lambda: self._looked_at_use(examined, given, uses, probe_event, structure))

    @world_untouched()
    def _looked_at_use(
        self, examined: Subject, given: Inputs | None, uses: Sequence[ModelUse], probe_event: ProbeOn, structure: str
    ) -> Report:
        model, subject = examined.model, examined.name
        if not uses or obstacle(model):
            return self._report((), (), subject)
        why_not = reason_not_run(model) if self.options.run else NO_RUN
        limit = budget_of(self.options).left
        with workspace(model) as fresh:
            seed_everything(self.options.seed)
            try:
                traced = trace_model(
                    model if why_not else fresh(), subject, given, locate, Wholeness.UNKNOWN, why_not, limit
                )
            except (TooMuchWork, CannotMeasure, CannotTrace):
                return self._report((), (), subject)
            if structure:
                self.memory.graphs[structure] = traced.graph
            found, broken, used = self._suspected_in_use(traced.graph, uses, traced.blocks)
            probe_op = model_probes(cache(fresh), traced, self.options.seed, partial(budget_of, self.options))
            proven = self._proved(subject, found, either(probe_op, probe_event), traced.blocks)
        modules = dict(model.named_modules())
        report = self._report(proven, broken, subject, lambda each: declared_by_classes(each, modules))
        return replace(report, suppressed_by=tuple(dict.fromkeys((*used, *report.suppressed_by))))

    def _suspected_in_use(
        self, graph: Graph, uses: Iterable[ModelUse], blocks: Blocks = MappingProxyType({})
    ) -> Suspected:
        """What the rules suspect that read a model's graph together with its use."""
        each = [
            self._suspicions("graph and usage", replace(graph, model=use.key), use.usage, blocks=blocks) for use in uses
        ]
        found, broken, used = ([*chain.from_iterable(part)] for part in zip(*each, strict=True))
        return found, tuple(broken), tuple(dict.fromkeys(used))

    def usage(
        self, usage: Usage, captures: Sequence[Capture], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> Report:
        """Check what a program did with its models and optimizers with the usage rules."""
        return self.contained(usage.subject, lambda: self._used(usage, captures, optimizers))

    def _used(
        self, usage: Usage, captures: Sequence[Capture], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> Report:
        suspicions, broken, used = self._suspicions("usage", usage)
        if not suspicions:
            return replace(self._report((), broken, usage.subject), suppressed_by=used)
        probe_on: ProbeOn = no_probe
        if self.options.run:
            probe_on = usage_probes(captures, optimizers, self.options)
        sure = [each for each in suspicions if not each[1].tentative]
        tentative = [each for each in suspicions if each[1].tentative and not self._settled(*each)]
        with world_untouched():
            found, missed = self._proved(usage.subject, sure, probe_on), broken
            measuring = self.options.run and self.options.confirm
            tried = self._proved(usage.subject, tentative, probe_on) if measuring else []
        found += [each for each in tried if each.evidence.verdict is not Verdict.UNMEASURED]
        unmeasured = [each for each in tried if each not in found]
        decisions = [(each, decide_here(each, self.options)) for each in unmeasured]
        missed += tuple(untold(each) for each, decision in decisions if not decision.is_suppressed)
        report = self._report(found, missed, usage.subject)
        around = (each for _, decision in decisions for each in decision.by_code)
        return replace(report, suppressed_by=tuple(dict.fromkeys((*used, *around, *report.suppressed_by))))

    def _suspicions(self, about: About, *values: Any, blocks: Blocks = MappingProxyType({})) -> Suspected:
        """What the rules about some values suspect, which rules failed, and which declarations suppress a suspicion.

        A block suppresses what is suspected of an event or op in it, before that is measured.
        """
        found: list[tuple[Rule, Suspicion]] = []
        broken: list[NotChecked] = []
        used: dict[CodeSuppression, None] = {}

        def is_reported(rule: Rule, suspicion: Suspicion) -> bool:
            at = suspicion.at
            around = blocks.get((at.mode, at.id), ()) if isinstance(at, Op) else at.intended
            decision = decide(finding(rule, suspicion, SUSPECTED), Context(self.options, around))
            used.update(dict.fromkeys(decision.by_code))
            return not decision.is_suppressed

        for rule in self.rules:
            if rule.about != about:
                continue
            try:
                suspected = (each for each in rule.check(*values) if is_reported(rule, each))
                found += [(rule, suspicion) for suspicion in merged(suspected)]
            except BaseException as error:
                if stops(error):
                    raise
                broken.append(NotChecked(values[0].subject, f"{rule.code} failed: {format_error(error)}"))
        return found, tuple(broken), tuple(used)

    def _proved(
        self,
        subject: str,
        suspicions: Iterable[tuple[Rule, Suspicion]],
        probe_on: ProbeOn,
        blocks: Blocks = MappingProxyType({}),
    ) -> list[Finding]:
        """Each suspicion with its evidence, and what the rules find that compare the devices it was measured on."""
        proofs = [
            (rule, EvidenceByDevice(rule.code, each, self._evidence(rule, each, probe_on))) for rule, each in suspicions
        ]
        found = [finding(rule, proof.suspicion, combined(proof.evidence)) for rule, proof in proofs]
        compared = Proofs(subject, tuple(proof for _, proof in proofs))
        differing = self._suspicions("proofs", compared, blocks=blocks)[0] if len(self.devices) > 1 else []
        return [*found, *(finding(rule, each, each.evidence) for rule, each in differing if each.evidence)]

    def _evidence(self, rule: Rule, suspicion: Suspicion, probe_on: ProbeOn) -> tuple[Evidence, ...]:
        """What measuring said on each device."""
        if not self.options.confirm or rule.confirm is None:
            because = "measuring is switched off" if rule.confirm else "source only"
            return (Evidence(Verdict.UNMEASURED, because=because),)
        if known := self._settled(rule, suspicion):
            return (Evidence(Verdict.UNMEASURED, because=known),)
        found = []
        for device in self.devices:
            try:
                found.append(rule.confirm(suspicion, probe_on(suspicion, device)))
            except CannotMeasure as error:
                found.append(Evidence(Verdict.UNMEASURED, device=device, because=str(error)))
            except BaseException as error:
                if stops(error):
                    raise
                because = f"the measurement failed: {format_error(error)}"
                found.append(Evidence(Verdict.UNMEASURED, device=device, because=because))
        return tuple(found)

    def _settled(self, rule: Rule, suspicion: Suspicion) -> str:
        """Why a suspicion is not measured: what was measured before settles it; empty where it does not."""
        place = suspicion.place
        if place is None:
            return ""
        severity = rule.severity if suspicion.severity is None else min(rule.severity, suspicion.severity)
        return self.memory.settled((rule.code, os.path.abspath(place.path), place.line), severity)

    def _report(
        self,
        findings: Iterable[Finding],
        not_checked: tuple[NotChecked, ...],
        subject: str,
        declared: Callable[[Finding], tuple[CodeSuppression, ...]] = lambda finding: (),
    ) -> Report:
        return report_on(
            findings, not_checked, self.options, declared=declared, devices=self.devices, subjects=(subject,)
        )


def untold(tried: Finding) -> NotChecked:
    """The entry for what only a measurement could have told, which none did."""
    reason = f"whether {tried.code} {tried.name} is the case: {tried.evidence.because}"
    return NotChecked(tried.module, reason, f"ignore {tried.code} here if it is meant", tried.path, tried.line)


def untraced(subject: str, error: CannotTrace, elsewhere: str = "") -> NotChecked:
    """The entry for a model that no way of tracing could follow, with the user's line that stopped it.

    `elsewhere` says that the inputs are on another device than the model, if they are.
    """
    what, place = "pass inputs that the model accepts (audit(model, x), or --input)", error.place
    if elsewhere:
        what = f"move the inputs to the model's device: {elsewhere}"
    return NotChecked(subject, str(error), what, place.path if place else None, place.line if place else None)


def declared_by_classes(finding: Finding, modules: Mapping[str, nn.Module]) -> tuple[CodeSuppression, ...]:
    """The declarations of the classes that contain the finding's module."""
    path = finding.module_path
    around = (module for name, module in modules.items() if name == "" or path == name or path.startswith(f"{name}."))
    return tuple(each for module in around for each in class_declarations(module))
