"""Test a rule against its own file: `check_rule` holds regcheck's rules, and yours, to the same promises."""

from __future__ import annotations

import copy
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import unified_diff
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from regcheck.config.options import Options
from regcheck.core.device_evidence import EvidenceByDevice, Proofs
from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Evidence, Finding, Suspicion, Verdict
from regcheck.core.graph import Mode
from regcheck.core.join import join
from regcheck.core.ranks import Ranks
from regcheck.core.report import Report
from regcheck.core.rule import FIX_HEADING, Example, Rule, finding, merged
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import Backward, Called, Stepped, WeightsTrained
from regcheck.engine.audit import check_model
from regcheck.engine.check import Check
from regcheck.engine.model_use import check_uses
from regcheck.engine.program import check_usage
from regcheck.engine.scan import scan_with
from regcheck.probe import devices
from regcheck.probe.factory import ProbeOn, locate, model_probes, usage_probes
from regcheck.probe.measurements.rank_masks import mask_from
from regcheck.probe.probes import RanksProbe
from regcheck.probe.process_state import world_untouched
from regcheck.probe.rank_agreement import state_digest
from regcheck.probe.runner import Runner
from regcheck.probe.seeds import state_of
from regcheck.runtime.recorder import EventRecorder, Observation
from regcheck.static.fixes.patches import apply_patches, with_patches
from regcheck.static.project.files import Source
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model
from regcheck.tracing.unwrap import subject_of

__all__ = ["broken_promises", "check_rule"]


def check_rule(rule: Rule, *, on: Sequence[str] = ("cpu",)) -> None:
    """Hold a rule to its promises, each over every example of its file.

    BAD: source and run both report exactly the lines marked `# <-`, the measurement confirms them, and the rule's fix
    gives exactly the code in `fixed`, of which nothing is reported. GOOD: neither reports anything, and a measurement
    forced on what the rule could suspect confirms nothing and refutes something. Source is scanned as a named file and
    as part of a folder. A rule without `confirm` speaks of source alone, and only a scan tests it.

    Raises:
        AssertionError: the promises that are broken, one a line.
    """
    broken = [*broken_promises(rule, on=on)]
    assert not broken, f"{rule.code} {rule.name} breaks its promises:\n" + "\n".join(broken)


def broken_promises(rule: Rule, *, on: Sequence[str] = ("cpu",)) -> Iterator[str]:
    """The promises that a rule breaks, one sentence each."""
    if not rule.bad or not rule.good:
        yield "there must be at least one BAD and one GOOD example"
    if rule.fix is not None and not any(example.fixed for example in rule.bad):
        yield "the rule has a `fix`, and no BAD example holds the code after it (`fixed`)"
    if (rule.fix is not None) != (f"\n## {FIX_HEADING}\n" in rule.page):
        yield f"the page has the section {FIX_HEADING!r} if and only if the rule has a `fix`"
    for kind, examples in (("BAD", rule.bad), ("GOOD", rule.good)):
        for number, example in enumerate(examples, 1):
            if bool(example.marked) != (kind == "BAD"):
                yield f"{kind} {number}: mark the lines to be reported, and only those"
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, f"{rule.name.replace('-', '_')}_{kind.lower()}_{number}.py")
                path.write_text(example.source)
                options = Options(devices=tuple(on), select=(rule.code,))
                for complaint in _complaints(rule, example, path, options):
                    yield f"{kind} {number}: {complaint}"


def _complaints(rule: Rule, example: Example, path: Path, options: Options) -> Iterator[str]:
    """The promises that a rule breaks over one example, which stands in the file at `path`."""
    check = Check(options, (rule,), devices.chosen(options.devices))
    if rule.about == "proofs":
        with _watched_import(path) as (module, _):
            yield from _wrong_lines("of what was measured", _compared(rule, module), rule, example)
        return
    if rule.about == "ranks":
        with _watched_import(path) as (module, _), world_untouched():
            yield from _across_ranks(rule, module, example, check)
        return
    for how, place in (("from source", path), ("from source, in a folder", path.parent)):
        report = scan_with([place], options, (rule,))
        yield from _wrong_lines(how, report.findings, rule, example)
        for each in report.not_checked:
            yield f"{how}: not checked: {each.reason}"
    yield from _wrongly_fixed("from source", rule, example, path, report, options)
    if rule.about == "ignores" or rule.confirm is None:
        return
    with _watched_import(path) as (module, seen):
        report = _run(rule, module, seen, check)
        yield from _wrong_lines("when run", report.findings, rule, example)
        yield from _unproven(report)
        sources = {each.path: Source(str(path), path.read_bytes()) for each in report.findings}
        report = with_patches(report, (rule,), sources)
        yield from _wrongly_fixed("when run", rule, example, path, report, options)
        if not example.marked:
            yield from _wrongly_forced({each.verdict for each in _forced(rule, module, seen, check)})


def _run(rule: Rule, module: Any, seen: Observation, check: Check) -> Report:
    """The report of the rule on an example that has run."""
    with world_untouched():
        if rule.about == "graph":
            return check_model(check, subject_of(module.model), Inputs(module.inputs))
        usage = check_usage(check, seen.usage, seen.captures, seen.optimizers)
        return join([usage, *check_uses(check, seen, {})])


def _wrongly_forced(verdicts: set[Verdict]) -> Iterator[str]:
    if Verdict.CONFIRMED in verdicts:
        yield "a forced measurement confirms it"
    if Verdict.REFUTED not in verdicts:
        yield "no forced measurement refutes it"


def _wrongly_fixed(
    how: str, rule: Rule, example: Example, path: Path, report: Report, options: Options
) -> Iterator[str]:
    """The differences between the code after the rule's fix of an example and the code that the example expects."""
    patches = [each.patch for each in report.findings if each.patch is not None]
    content, done = apply_patches(path.read_bytes(), {None: patches}, str(path))
    fixed = content.decode() if patches else ""
    if len(done) < len(patches):
        yield f"{how}: the fixes of two findings overlap"
    wanted, got = (Example.unmarked(each).splitlines() for each in (example.fixed, fixed))
    if wanted != got:
        yield "\n".join(
            [f"{how}: the fix gives other code:", *unified_diff(wanted, got, "expected", "fixed", lineterm="")]
        )
    elif fixed:
        again = path.parent / "fixed" / path.name
        again.parent.mkdir(exist_ok=True)
        again.write_bytes(content)
        remaining = [each.line for each in scan_with([again], options, (rule,)).findings]
        if remaining:
            yield f"{how}: the fixed code is still reported, at lines {remaining}"


def _wrong_lines(how: str, findings: Iterable[Finding], rule: Rule, example: Example) -> Iterator[str]:
    lines = {each.line for each in findings if each.code == rule.code}
    if lines != set(example.marked):
        yield f"{how}: reports lines {sorted(map(str, lines))}, not {sorted(map(str, example.marked))}"


def _compared(rule: Rule, module: Any) -> Iterator[Finding]:
    """What a rule finds in the verdicts of an example, as if they had been measured about its active dropouts."""
    traced = trace_model(module.model, "example", Inputs(module.inputs), locate)
    said = tuple(Evidence(Verdict(verdict), device=device) for device, verdict in module.measured.items())
    active = [op for op in traced.graph.train if op.drops and op.active]
    proofs = Proofs("example", tuple(EvidenceByDevice("REG000", Suspicion(op, "measured"), said) for op in active))
    for suspicion in merged(rule.check(proofs)):
        assert suspicion.evidence is not None
        yield finding(rule, suspicion, suspicion.evidence)


def _across_ranks(rule: Rule, module: Any, example: Example, check: Check) -> Iterator[str]:
    """What is wrong with what a rule says of two ranks that begin as the example lets them."""
    states = []
    for rank in range(2):
        torch.seed()  # as a new process does
        model = module.begin(rank)
        states.append(state_of(torch.device("cpu")))
    traced = trace_model(model, "example", Inputs(module.inputs), locate)
    ranks = Ranks(traced.graph, 0, {rank: state_digest(state).decode() for rank, state in enumerate(states)})
    runner, seed = Runner(copy.deepcopy(model), module.inputs, {}, "cpu", locate), check.options.seed

    def evidence(suspicion: Suspicion) -> Evidence:
        def exchange(about: str, note: bytes, ranks: Iterable[int]) -> dict[int, bytes]:
            return {0: note, 1: mask_from(runner, suspicion.op, states[1], seed)}

        assert rule.confirm is not None
        try:
            return rule.confirm(suspicion, RanksProbe(runner, states[0], ranks.streams, exchange, seed))
        except CannotMeasure as error:
            return Evidence(Verdict.UNMEASURED, because=str(error))

    findings = [finding(rule, each, evidence(each)) for each in merged(rule.check(ranks))]
    yield from _wrong_lines("of two ranks", findings, rule, example)
    yield from _unproven(Report(tuple(findings)))
    if not example.marked:
        drops = [*traced.graph.dropouts(Mode.TRAIN)]
        yield from _wrongly_forced({evidence(Suspicion(op, "forced", ops=(op,))).verdict for op in drops})


def _unproven(report: Report) -> Iterator[str]:
    for each in report.findings:
        if each.evidence.verdict is not Verdict.CONFIRMED:
            yield f"line {each.line} is {each.evidence.verdict.value}: {each.evidence.because}"
    for missed in report.not_checked:
        yield f"when run: not checked: {missed.reason}"


@contextmanager
def _watched_import(path: Path) -> Iterator[tuple[ModuleType, Observation]]:
    """Import an example, and yield it with what the recorder saw of it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        with warnings.catch_warnings(), EventRecorder() as watch:
            warnings.simplefilter("ignore")  # what an example does wrong, torch may warn of
            spec.loader.exec_module(module)
            seen = watch.drain()
        yield module, seen
    finally:
        del sys.modules[path.stem]


def _forced(rule: Rule, module: Any, seen: Observation, check: Check) -> Iterator[Evidence]:
    """The evidence of the rule's measurement on every op and event that the rule could suspect."""
    if rule.about == "graph":
        yield from _forced_on_ops(rule, module.model, Inputs(module.inputs), check)
        return
    if rule.reads_use:
        for capture in seen.captures:
            yield from _forced_on_ops(rule, capture.model, Inputs(capture.args, capture.kwargs), check)
    events = [each for each in seen.usage.events if isinstance(each, (Backward, Called, Stepped, WeightsTrained))]
    probe_on = usage_probes(seen.captures, seen.optimizers, check.options)
    yield from _measured(rule, [Suspicion(each, "forced") for each in events], probe_on, check.devices)


def _forced_on_ops(rule: Rule, model: nn.Module, inputs: Inputs, check: Check) -> Iterator[Evidence]:
    twin = copy.deepcopy(model)
    traced = trace_model(twin, "example", inputs, locate)
    starts = StartingPoints.of([rule.begins_at])
    ops = [op for mode in Mode for op in traced.graph.flow(mode) if op.drops or op.active or starts.has(op)]
    probe_on = model_probes(lambda: twin, traced, check.options.seed)
    yield from _measured(rule, [Suspicion(op, "forced", ops=(op,)) for op in ops], probe_on, check.devices)


def _measured(rule: Rule, suspicions: Iterable[Suspicion], probe_on: ProbeOn, on: Sequence[str]) -> Iterator[Evidence]:
    """The evidence on each suspicion and device, where the rule can measure it."""
    assert rule.confirm is not None
    # A rule that reads both suspects either ops or events; its `confirm` refuses the other kind.
    refusals = (CannotMeasure, *([TypeError] if rule.reads_use else []))
    for suspicion in suspicions:
        for device in on:
            with suppress(*refusals):
                yield rule.confirm(suspicion, probe_on(suspicion, device))
