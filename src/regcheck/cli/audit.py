"""`regcheck audit TARGET…`: build models, measure them, and prove each finding."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from regcheck import plugins
from regcheck.cli.arguments import Parser, add_common, options_from
from regcheck.cli.output import finish
from regcheck.config.options import Options
from regcheck.core.errors import CannotBuild, UsageError
from regcheck.core.finding import NotChecked
from regcheck.core.report import Report, gathered

if TYPE_CHECKING:
    import torch


def run(argv: Sequence[str]) -> int:
    """Audit every target and report on all of them together; return the exit code."""
    parser = Parser("regcheck audit", "Build models, run them under control, and prove each finding by measuring it.")
    parser.add_argument(
        "targets",
        metavar="TARGET",
        nargs="*",
        help="pkg.mod:Name, file.py:Name, torchvision:NAME or timm:NAME; a Name is a model, or a class or a factory "
        "that takes no arguments (default: the configured `models`)",
    )
    parser.add_argument(
        "--input",
        dest="inputs",
        metavar="SHAPE",
        type=shape,
        action="append",
        default=[],
        help="the shape of an input, as in 1x3x224x224; once for each argument of forward (default: inferred)",
    )
    parser.add_argument(
        "--no-run",
        dest="run",
        action="store_false",
        default=argparse.SUPPRESS,
        help="run nothing with the model's weights: follow it on fake tensors, and measure nothing",
    )
    add_common(parser)
    arguments = parser.parse(argv)
    options = options_from(arguments)
    targets = arguments.targets or options.models
    if not targets:
        raise UsageError("name a TARGET, as in `regcheck audit file.py:Net`, or set `models` in [tool.regcheck]")
    try:
        import torch  # noqa: F401, only asked whether it is there
    except ModuleNotFoundError:
        raise UsageError("`regcheck audit` needs torch: `pip install 'regcheck[torch]'`") from None
    reports = [examine(target, arguments.inputs, options) for target in targets]
    return finish(gathered(reports), arguments)


def examine(target: str, shapes: list[tuple[int, ...]], options: Options) -> Report:
    """The report on one target; a model that cannot be built is not checked."""
    import torch

    from regcheck.auditing import audit
    from regcheck.config.outcome import report_under, shown_path
    from regcheck.targets import build

    torch.manual_seed(options.seed)
    try:
        with redirect_stdout(sys.stderr):
            model = build(target)
    except CannotBuild as error:
        missed = NotChecked(target, str(error), error.what_to_do, shown_path(error.path), error.line)
        return report_under(options, not_checked=(missed,), subjects=(target,))
    args: tuple[Any, ...] = tuple(drawn(shape, options.seed) for shape in shapes)
    kwargs: dict[str, Any] = {}
    if not args:
        args, kwargs = plugins.call("regcheck_inputs", model=model) or (args, kwargs)
    return audit(model, *args, options=options, **kwargs)


def shape(text: str) -> tuple[int, ...]:
    """The sizes in `1x3x224x224`."""
    if not re.fullmatch(r"[1-9][0-9]*(x[1-9][0-9]*)*", text):
        raise UsageError(f"a shape is written as in 1x3x224x224, not {text!r}")
    return tuple(int(size) for size in text.split("x"))


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A standard normal input of that shape."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
