"""`regcheck selftest`: compare torch with the reference implementations."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from regcheck.cli.common_options import Parser, comma_separated
from regcheck.cli.output import wants_color, write_report
from regcheck.cli.printing import show
from regcheck.core.errors import UsageError, unknown
from regcheck.selftest.results import MODES

FORMATS = ("full", "json")


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck selftest", "Compare torch's layers, norms and optimizers with reference implementations.")
    parser.add_argument(
        "--device",
        dest="devices",
        metavar="DEVICES",
        type=comma_separated,
        default=["auto"],
        help="run on these devices (default: auto, the CPU and every accelerator present)",
    )
    parser.add_argument(
        "--mode",
        dest="modes",
        metavar="MODES",
        type=comma_separated,
        default=list(MODES),
        help="eager, compiled, or both (the default); compiling takes a minute or two",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: 0)")
    parser.add_argument("--strict", action="store_true", help="exit 3 if a check was not run")
    parser.add_argument(
        "--output-format",
        metavar="FORMAT",
        type=known_format,
        choices=FORMATS,
        default="full",
        help="full (default) or json",
    )
    parser.add_argument("--output-file", metavar="FILE", type=Path, help="write the table here instead of printing it")
    return parser


def known_format(name: str) -> str:
    """Returns the name of a format.

    Raises:
        UsageError: there is no such format, with its nearest neighbour.
    """
    if name not in FORMATS:
        raise unknown("output format", name, FORMATS)
    return name


def run(argv: Sequence[str]) -> int:
    """Run the selftest, print its table, and return the exit code."""
    arguments = argument_parser().parse(argv)
    for word in arguments.modes or [""]:
        if word not in MODES:
            raise unknown("mode", word, MODES)
    if not arguments.devices:
        raise UsageError("--device: name a device, or omit the option")
    try:
        from regcheck.selftest.checks import selftest
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError("`regcheck selftest` needs torch: `pip install 'regcheck[torch]'`") from None
    from rich.console import Console

    from regcheck.probe.devices import chosen
    from regcheck.selftest.table import WIDTH, render_table

    devices = chosen(arguments.devices)
    with ExitStack() as stack:
        status = stack.enter_context(Console(stderr=True).status("selftest")) if sys.stderr.isatty() else None

        def show_progress(description: str) -> None:
            if status is not None:
                status.update(description)

        result = selftest(devices, tuple(dict.fromkeys(arguments.modes)), arguments.seed, on_progress=show_progress)
    color = arguments.output_file is None and wants_color(sys.stdout)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and not arguments.output_file else WIDTH
    text = render_table(result, arguments.output_format, color=color, width=width)
    if arguments.output_file is None:
        show(text)
    else:
        write_report(arguments.output_file, "--output-file", text)
    if not result.ok:
        return 1
    return 3 if arguments.strict and result.missed else 0
