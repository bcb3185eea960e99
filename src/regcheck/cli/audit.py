"""`regcheck audit TARGET…`: build models, measure them, and prove each finding."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial

from regcheck.cli.common_options import Parser, add_common_options, options_from, without_new_baseline
from regcheck.cli.inputs import FORMS, InputSpec, build_arguments, parse_input
from regcheck.cli.output import publish
from regcheck.cli.progress import shown_progress
from regcheck.config.options import Options
from regcheck.core.errors import CannotBuild, UsageError
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.join import join
from regcheck.core.progress import steps
from regcheck.core.report import Report, asked_by_name


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
    add_common_options(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Audit every target, publish one report on all of them, and return the exit code."""
    arguments = argument_parser().parse(argv)
    options = options_from(arguments)
    targets = arguments.targets or options.models
    if not targets:
        raise UsageError("name a TARGET, as in `regcheck audit file.py:Net`, or set `models` in [tool.regcheck]")
    try:
        import torch  # noqa: F401, only asked whether it is there
    except ModuleNotFoundError:
        raise UsageError("`regcheck audit` needs torch: `pip install 'regcheck[torch]'`") from None
    looking = without_new_baseline(options, arguments)
    with shown_progress(verbose=arguments.verbose, quiet=arguments.quiet):
        named = dict.fromkeys(each for target in targets for each in matches(target))
        audited = steps(named, lambda target: f"auditing {target}")
        reports = [examine(target, arguments.inputs, looking) for target in audited]
    return publish(join(reports), arguments, options)


def matches(target: str) -> list[str]:
    """Returns the targets that a target with a glob names; itself where that fails, as `examine` says why."""
    from regcheck.engine.targets import expanded

    try:
        with redirect_stdout(sys.stderr):
            return expanded(target)
    except CannotBuild:
        return [target]


def examine(target: str, given: list[InputSpec], options: Options) -> Report:
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
                args, kwargs = build_arguments(given, drawn_as)
                report = audit_onnx(target, args, kwargs, options)
            else:
                model = build(target, options.seed)
                args, kwargs = build_arguments(given, partial(drawn_for, model))
                report = audit(model, *args, options=options, **kwargs)
    except CannotBuild as error:
        missed = NotChecked(target, str(error), error.what_to_do, shown_path(error.path), error.line)
        return asked_by_name(report_under(options, not_checked=(missed,), subjects=(target,)), target)
    if is_artifact(target):
        report = replace(report, findings=tuple(_in_file(each, target) for each in report.findings))
    return asked_by_name(report, target, ran=options.run)


def _in_file(finding: Finding, artifact: str) -> Finding:
    """A finding without a line names the file in which the op is."""
    if finding.path is not None:
        return finding
    return replace(finding, module=f"{artifact} at {finding.module}" if finding.module else artifact)
