"""One audit, top to bottom: choose the rules, trace a copy of the model, suspect, prove, report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import cache, partial
from math import inf
from typing import Any

import torch
from torch import nn

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import CannotMeasure, CannotTrace, UsageError
from regcheck.core.finding import Finding, NotChecked, Suspicion
from regcheck.core.graph import Wholeness
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.core.rule import Rule
from regcheck.core.starting_points import Trait
from regcheck.core.suppressions import BLOCKS
from regcheck.core.usage import Stepped, Usage
from regcheck.engine.check import Check, Suspicions
from regcheck.engine.model_use import check_model_use, uses_in_source
from regcheck.engine.onnx_audit import audit_onnx_model, onnx_model
from regcheck.engine.program import check_usage
from regcheck.engine.rank_comparison import compare_ranks, rendezvous
from regcheck.engine.undecided import entries
from regcheck.engine.unexplained_draws import unexplained_draws
from regcheck.keras_api.layer_tree import named_parts
from regcheck.plugins import catalogue, example_inputs
from regcheck.probe.audit_copy import workspace
from regcheck.probe.batch_slice import affordable, batch_size, differ_in_batch_only, first_samples
from regcheck.probe.factory import NO_RUN, budget_of, estimated_forwards, locate, model_probes
from regcheck.probe.process_state import world_untouched
from regcheck.probe.seeds import seed_everything
from regcheck.runtime.models import parts
from regcheck.runtime.optimizers import inner_optimizers, key_of, optimizer_info
from regcheck.static.project.discovery import files_around
from regcheck.suppression.declare import class_declarations, declarations_around, log_used
from regcheck.torch_api.mode_arguments import tied
from regcheck.tracing import module_coverage
from regcheck.tracing.cost import TooMuchWork, overhead_of
from regcheck.tracing.example_inputs import Inputs, elsewhere
from regcheck.tracing.exported_programs import opened
from regcheck.tracing.fake import reason_not_run
from regcheck.tracing.memory import uncollected
from regcheck.tracing.strategies import TraceResult, trace_model
from regcheck.tracing.streams import NumberStreams
from regcheck.tracing.uncalled_layers import uncalled_dropouts
from regcheck.tracing.unsharding import followable, with_arbitrary_values
from regcheck.tracing.unwrap import Subject, subject_of

ASK_THE_USER = "drop whole channels if it is a feature map there, else ignore the rule in these lines"


def audit(
    model: nn.Module | torch.export.ExportedProgram | Any,
    *args: Any,
    optimizer: torch.optim.Optimizer | None = None,
    options: Options | Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Report:
    """Check a model, and prove what is wrong with it by measuring a copy of it.

    Args:
        model: the model, what is around it (DDP, FSDP, `torch.compile`, a trainer, …), an exported program, or an
            ONNX model (`onnx.ModelProto`, `torch.onnx.ONNXProgram`). It is left exactly as it is.
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
    exported = onnx_model(model)
    if exported is not None:
        if optimizer is not None:
            raise UsageError("an ONNX model has no parameters that an optimizer steps: audit the original model")
        return audit_onnx_model(exported, args, kwargs, Options.of(options))
    check = Check.of(Options.of(options))

    def check_all() -> Report:
        subject = subject_of(opened(model) if isinstance(model, torch.export.ExportedProgram) else model)
        if not isinstance(subject.model, nn.Module):
            raise UsageError(f"audit takes an nn.Module, not {type(model).__name__}; pass the model itself")
        classes = (each for part in parts(subject.model) for each in class_declarations(part))
        select.refuse_unknown((each.pattern for each in (*BLOCKS.get(), *classes)), catalogue())
        args_by_mode = tied(subject.model.forward, args, kwargs, training=True, defaults=False)
        inputs = Inputs(*args_by_mode) if args or kwargs else None
        reports = [check_model(check, subject, inputs)]
        if any(rule.reads_use for rule in check.rules):
            reports.append(check_model_use(check, subject, inputs, uses_in_source(subject.model, check.rules)))
        if optimizer is not None:
            optimizers = {key_of(each): each for each in inner_optimizers(optimizer) or [optimizer]}
            steps = (Stepped(optimizer=optimizer_info(each, [subject.model])) for each in optimizers.values())
            reports.append(check_usage(check, Usage(subject.name, tuple(steps)), optimizers=optimizers))
        return join(reports)

    report = check.guarded(type(model).__name__, check_all)
    log_used(report.suppressed_by)
    return report


def check_model(
    check: Check,
    subject: Subject,
    inputs: Inputs | None,
    wholeness: Wholeness = Wholeness.WHOLE,
    limit: float = inf,
    apart: Collection[int] = (),
) -> Report:
    """Check one model with the rules about graphs, devices and ranks.

    Args:
        check: the rules, options and devices.
        subject: the model and its name.
        inputs: its inputs; inferred if None.
        wholeness: whether it is known to be a whole model.
        limit: a model of which one call takes more operations is not checked.
        apart: the ids of parts that are checked on their own.
    """
    name = type(subject.model).__name__
    return check.guarded(name, lambda: _check_model(check, subject, inputs, wholeness, limit, apart))


@world_untouched()
def _check_model(
    check: Check,
    subject: Subject,
    inputs: Inputs | None,
    wholeness: Wholeness,
    limit: float,
    apart: Collection[int],
    is_built: bool = False,
) -> Report:
    """As `check_model`; a model whose forward builds layers is checked with these (`is_built`), as later calls run."""
    model, name, options = subject.model, subject.name, check.options

    def not_traced(*missed: NotChecked) -> Report:
        return replace(check.report(name, (), missed), coverage=(module_coverage.untraced(model, name),))

    meeting = rendezvous(check, subject)
    try:
        model, spread = followable(subject)
    except CannotMeasure as error:
        return not_traced(NotChecked(name, str(error), "audit the model before it is wrapped, in one process"))
    not_run = spread or reason_not_run(model) if options.run else NO_RUN
    with NumberStreams(model).generators_untouched(), workspace(model) as fresh, ExitStack() as until_measured:
        if inputs is not None:
            until_measured.enter_context(uncollected())
        seed_everything(options.seed)
        try:  # where nothing is run only fake copies are made
            run = model if not_run else fresh()
            whole = trace_model(run, name, inputs, locate, wholeness, not_run, limit, example_inputs)
        except TooMuchWork:
            budget = budget_of(options)
            return check.report(name, (), (NotChecked(name, budget.too_large, budget.advice),))
        except CannotMeasure as error:
            return not_traced(NotChecked(name, str(error), "keep what cannot be copied outside of the model"))
        except CannotTrace as error:
            return not_traced(untraceable(name, error, elsewhere(model, inputs)))
        if not (not_run or is_built) and has_built_layers(model, run):
            own = dict(run.named_modules())
            apart = {id(own[path]) for path, each in model.named_modules() if id(each) in apart}
            return _check_model(check, replace(subject, model=run), inputs, wholeness, limit, apart, is_built=True)
        del run  # measurements make copies of their own
        coverage = module_coverage.coverage_of(model, whole)
        if any(Trait.UNCALLED in rule.begins_at for rule in check.rules):
            uncalled = uncalled_dropouts(model, whole, coverage, files_around)
            whole = replace(whole, graph=replace(whole.graph, uncalled=uncalled))
        twin = cache(fresh)
        graph, unexplained = unexplained_draws(model, twin, whole, options.seed)
        whole = replace(whole, graph=graph)
        suspicions = check.suspect("graph", whole.graph, blocks=whole.blocks)
        traced, pairs, note = _on_affordable_batch(check, model, whole, suspicions, fresh)
        if pairs or meeting is not None:
            until_measured.close()
        findings: list[Finding] = []
        missed: tuple[NotChecked, ...] = ()
        if meeting is not None and (spread or not whole.unmeasurable):
            # The values of the parameters do not matter to a mask.
            runs = cache(partial(with_arbitrary_values, subject)) if spread else twin
            findings, missed = compare_ranks(check, *meeting, runs, whole)
        probe_on = model_probes(twin, traced, options.seed, partial(budget_of, options), note)
        findings = [*check.prove(name, pairs, probe_on, traced.blocks), *findings]
        findings += check.prove_again("graph", traced.graph, probe_on)
    declared = partial(declarations_around, dict(named_parts(model)))
    undecided = entries(suspicions.undecided, findings, options, ASK_THE_USER, name, declared)
    unfollowed = module_coverage.unfollowed(model, whole, coverage, apart)
    report = check.report(
        name,
        findings,
        (*whole.not_checked, *unfollowed, *unexplained, *suspicions.failed, *missed, *undecided),
        declared,
        suspicions.suppressed_by,
    )
    return replace(report, coverage=(coverage,), fx_graph=whole.fx_graph)


def has_built_layers(model: nn.Module, twin: nn.Module) -> bool:
    """Whether a copy of a model has more modules than the model, since its forward builds and registers them."""
    before = {path for path, _ in model.named_modules()}
    return any(path not in before for path, _ in twin.named_modules())


def _on_affordable_batch(
    check: Check, model: nn.Module, traced: TraceResult, suspicions: Suspicions, fresh: Callable[[], nn.Module]
) -> tuple[TraceResult, list[tuple[Rule, Suspicion]], str]:
    """The trace and the suspicions on as many samples as the budget can prove them on, and a note on the rest.

    All samples where the budget suffices, or where the model does anything else on fewer.
    """
    pairs = suspicions.pairs
    measured = check.options.confirm and traced.inputs is not None and not traced.unmeasurable
    runs = sum(estimated_forwards(*each) for each in pairs) if measured else 0
    if traced.inputs is None or not runs:
        return traced, pairs, ""
    work, size = max(traced.work.values()), batch_size(traced.inputs)
    count = affordable(size, work, overhead_of(model), runs, budget_of(check.options).left)
    if count >= size:
        return traced, pairs, ""
    few = first_samples(traced.inputs, count)
    try:
        part = trace_model(fresh(), traced.graph.subject, few, locate, traced.graph.wholeness)
    except CannotTrace:
        return traced, pairs, ""
    seen = traced.graph
    graph = replace(part.graph, uncalled=seen.uncalled, unseen=seen.unseen, steering=seen.steering)
    part = replace(part, graph=graph)
    again = check.suspect("graph", part.graph, blocks=part.blocks).pairs
    same = [(rule.code, each.place) for rule, each in again] == [(rule.code, each.place) for rule, each in pairs]
    if not same or not differ_in_batch_only(traced.graph, part.graph, size, count):
        return traced, pairs, ""
    return part, again, f"on {count} of {size} samples, as its budget allows no more"


def untraceable(subject: str, error: CannotTrace, elsewhere: str = "") -> NotChecked:
    """The entry for a model that no way of tracing could follow, with the user's line that stopped it.

    `elsewhere` says that the inputs are on another device than the model, if they are.
    """
    what, place = "pass inputs that the model accepts (audit(model, x), or --input)", error.place
    if elsewhere:
        what = f"move the inputs to the model's device: {elsewhere}"
    return NotChecked(subject, str(error), what, place.path if place else None, place.line if place else None)
