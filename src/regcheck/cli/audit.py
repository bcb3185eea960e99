"""`regcheck audit TARGET…`: build models, measure them, and prove each finding."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from regcheck.cli.common_options import (
    Parser,
    add_common_options,
    add_fix_options,
    options_from,
    refuse_fixes_alone,
    without_new_baseline,
)
from regcheck.cli.inputs import FORMS, InputSpec, build_arguments, parse_input
from regcheck.cli.output import publish, publish_changes, publish_diff
from regcheck.cli.progress import shown_progress
from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import CannotBuild, UsageError
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.join import join
from regcheck.core.progress import steps
from regcheck.core.report import Report, asked_by_name
from regcheck.plugins import catalogue

if TYPE_CHECKING:
    from regcheck.engine.fixed_lines import FixedLine


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck audit", "Build models, run them under control, and prove each finding by measuring it.")
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="*",
        help="pkg.mod:Name, file.py:Name, an exported program, TorchScript or ONNX (model.pt2, scripted.pt, "
        "model.onnx), torchvision:NAME, timm:NAME or hf:NAME; a Name is a model, or a class or a function without "
        "required arguments; a NAME may be a glob (default: the configured `models`)",
    )
    parser.add_argument(
        "--input",
        dest="inputs",
        metavar="INPUT",
        type=parse_input,
        action="append",
        default=[],
        help=f"an input of forward: {FORMS}; repeat it for each argument (default: inferred)",
    )
    parser.add_argument(
        "--no-run",
        dest="run",
        action="store_false",
        default=argparse.SUPPRESS,
        help="run the model on fake tensors only, and measure nothing",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=positive,
        help="audit each model in a process of its own, N at once: one that crashes is not checked, and the others are",
    )
    parser.add_argument(
        "--memory",
        metavar="GB",
        type=positive,
        help="the most memory of one such process (default: its share of the machine's; on Linux)",
    )
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="run these processes on a Ray cluster: ray://HOST:PORT, HOST:PORT, auto, or local for one on this machine",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        type=Path,
        help="write each model's report to this file as it comes, and skip the models that an earlier run wrote there",
    )
    add_fix_options(parser)
    add_common_options(parser)
    return parser


def positive(text: str) -> int:
    """Parses a whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--jobs and --memory take a whole number from 1, not {text!r}")
    return int(text)


def run(argv: Sequence[str]) -> int:
    """Audit every target, apply fixes with `--fix`, publish one report on all targets, and return the exit code."""
    arguments = argument_parser().parse(argv)
    options = options_from(arguments)
    targets = arguments.targets or options.models
    if not targets:
        raise UsageError("name a TARGET, as in `regcheck audit file.py:Net`, or set `models` in [tool.regcheck]")
    refuse_fixes_alone(arguments)
    wants_fixes = arguments.fix or arguments.diff
    if wants_fixes and (arguments.write_baseline or not options.confirm or not options.run):
        raise UsageError("--fix and --diff change what a measurement proves: measure, and write no baseline")
    try:
        import torch  # noqa: F401, only asked whether it is there
    except ModuleNotFoundError:
        raise UsageError("`regcheck audit` needs torch: `pip install 'regcheck[torch]'`") from None
    from regcheck.engine.live_fix import LiveFixes

    looking = without_new_baseline(options, arguments)
    rules = select.chosen(catalogue(), options)
    fixes = LiveFixes(rules, os.getcwd(), since=time.time_ns(), unsafe=arguments.unsafe_fixes)
    with shown_progress(verbose=arguments.verbose, quiet=arguments.quiet):
        named = [*dict.fromkeys(each for target in targets for each in matches(target))]
        if arguments.jobs or arguments.memory or arguments.cluster or arguments.resume:
            report = fixes.offered(apart(named, arguments, looking))
        else:
            report = fixes.offered(audited(named, arguments.inputs, looking))
        if wants_fixes:
            result = fixes.applied(report, partial(audited_afresh, named, arguments.inputs, looking))
    if not wants_fixes:
        return publish(report, arguments, options)
    if arguments.diff:
        return publish_diff(result, arguments, options)
    return publish_changes(result, arguments, options)


def apart(targets: Sequence[str], arguments: argparse.Namespace, options: Options) -> Report:
    """Returns one report on all targets, each audited in a process of its own."""
    from regcheck.cli.audit_apart import audited_apart

    specs: list[InputSpec] = arguments.inputs
    examine_one = partial(examined_to_send, inputs=specs, options=options)
    memory = arguments.memory * 10**9 if arguments.memory else None
    inputs = [*map(repr, specs)]
    return audited_apart(
        targets, examine_one, options, arguments.jobs or 1, memory, arguments.cluster, arguments.resume, inputs
    )


def examined_to_send(target: str, inputs: list[InputSpec], options: Options) -> Report:
    """Returns the report on one target without the recorded graph, which other processes cannot have."""
    return replace(examine(target, inputs, options), fx_graph=None)


def audited(targets: Sequence[str], inputs: list[InputSpec], options: Options) -> Report:
    """Returns one report on all targets."""
    return join(examine(each, inputs, options) for each in steps(targets, lambda target: f"auditing {target}"))


def audited_afresh(
    targets: Sequence[str],
    inputs: list[InputSpec],
    options: Options,
    contents: Mapping[str, bytes],
    lines: Sequence[FixedLine],
) -> Report:
    """Returns the report of a fresh process in which files have these contents, and measures in these lines of them.

    Raises:
        Died: the process ended without a report.
    """
    from regcheck.engine.fresh_process import call_afresh

    (report,) = (
        call_afresh(each, audited_to_send, targets, inputs, options, lines)
        for each in steps([contents], lambda _: "measuring the fixes in a fresh process")
    )
    return report


def audited_to_send(
    targets: Sequence[str], inputs: list[InputSpec], options: Options, lines: Sequence[FixedLine]
) -> Report:
    """Returns one report on all targets without the recorded graph, which other processes cannot have."""
    from regcheck.engine.fixed_lines import measuring_again

    with measuring_again(lines):
        return replace(audited(targets, inputs, options), fx_graph=None)


def matches(target: str) -> list[str]:
    """Returns the targets that a target with a glob names; itself where that fails, as `examine` says why."""
    from regcheck.engine.targets import expanded

    try:
        with redirect_stdout(sys.stderr):
            return expanded(target)
    except CannotBuild:
        return [target]


def examine(target: str, inputs: list[InputSpec], options: Options) -> Report:
    """Returns the report on one target; a model that cannot be built is "not checked"."""
    from regcheck.engine.artifacts import is_artifact
    from regcheck.engine.audit import audit
    from regcheck.engine.onnx_audit import audit_onnx, drawn_as, is_onnx
    from regcheck.engine.targets import build
    from regcheck.suppression.apply import report_under, shown_path
    from regcheck.tracing.example_inputs import drawn_for

    try:
        with redirect_stdout(sys.stderr):
            if is_onnx(target):
                args, kwargs = build_arguments(inputs, drawn_as)
                report = audit_onnx(target, args, kwargs, options)
            else:
                model = build(target, options.seed)
                args, kwargs = build_arguments(inputs, partial(drawn_for, model))
                report = audit(model, *args, options=options, **kwargs)
    except CannotBuild as error:
        missed = NotChecked(target, str(error), error.what_to_do, shown_path(error.path), error.line)
        return asked_by_name(report_under(options, not_checked=(missed,), subjects=(target,)), target)
    if is_artifact(target):
        report = replace(report, findings=tuple(_in_file(each, target) for each in report.findings))
    return asked_by_name(replace(report, subjects=(target, *report.subjects)), target, ran=options.run)


def _in_file(finding: Finding, artifact: str) -> Finding:
    """A finding without a line names the file in which the op is."""
    if finding.path is not None:
        return finding
    return replace(finding, module=f"{artifact} at {finding.module}" if finding.module else artifact)
