"""The shared options of `scan`, `audit` and `run`, and a parser that suggests the nearest option."""

from __future__ import annotations

import argparse
import shlex
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from regcheck.cli.printing import note, show
from regcheck.config.keys import KEYS
from regcheck.config.load import load
from regcheck.config.options import Options, severity
from regcheck.core.errors import UsageError, nearest
from regcheck.report import FORMATS, checked_format
from regcheck.suppression.baseline import DEFAULT


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` and names the nearest option for an unknown one."""

    def __init__(self, prog: str, description: str) -> None:
        # Without a width each formatter asks for the terminal's, by a module that imports three compressors.
        narrow = partial(argparse.HelpFormatter, width=80)
        super().__init__(prog, description=description, allow_abbrev=False, formatter_class=narrow)

    def format_help(self) -> str:
        """The help, as wide as the terminal."""
        self.formatter_class = argparse.HelpFormatter
        return super().format_help()

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments; positional ones may stand between options. `command` is then the whole command line.

        Raises:
            UsageError: an argument is not valid.
        """
        arguments, unread = self.parse_known_intermixed_args(argv)
        for word in unread:
            name = word.partition("=")[0]
            options = [each for each in self._option_string_actions if each.startswith("--")]
            raise UsageError(f"unknown option {name!r}{nearest(name, options)}; see `{self.prog} --help`")
        arguments.command = shlex.join([*self.prog.split(), *argv])
        return arguments

    def parse_leading(self, argv: Sequence[str], ends: Sequence[str] = ()) -> tuple[argparse.Namespace, list[str]]:
        """Parse the options before the first positional word or word in `ends`; also return the remaining words.

        Raises:
            UsageError: an option is not valid.
        """
        comma_separated, first = list(argv), 0
        while first < len(comma_separated) and comma_separated[first][:1] == "-" and comma_separated[first] not in ends:
            action = self._option_string_actions.get(comma_separated[first])
            first += 1 if action is None or action.nargs == 0 else 2
        arguments = self.parse(comma_separated[:first])
        arguments.command = shlex.join([*self.prog.split(), *argv])
        return arguments, comma_separated[first:]

    def _print_message(self, message: str, file: Any = None) -> None:
        show(message, file)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def add_common_options(parser: Parser, *, measures: bool = True) -> None:
    """Add the options that `scan`, `audit` and `run` share, and those about measurements where the verb `measures`."""
    rules = parser.add_argument_group("rules")
    for key in ("select", "ignore", "extend-select"):
        rules.add_argument(
            f"--{key}",
            metavar="RULES",
            type=comma_separated,
            action="extend",
            default=SUPPRESS,
            help=KEYS[key].effect,
        )
    rules.add_argument(
        "--fail-on",
        metavar="SEVERITY",
        type=severity,
        default=SUPPRESS,
        help=f"{KEYS['fail-on'].effect} (default: warning)",
    )
    rules.add_argument(
        "--strict",
        action="store_true",
        default=SUPPRESS,
        help=KEYS["strict"].effect,
    )
    add_output_options(parser)
    baseline = parser.add_argument_group("baseline")
    baseline.add_argument(
        "--baseline",
        metavar="FILE",
        type=str,
        default=SUPPRESS,
        help=KEYS["baseline"].effect,
    )
    baseline.add_argument(
        "--write-baseline",
        action="store_true",
        help=f"write the current findings to the baseline ({DEFAULT} if none is named)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="read this file, a regcheck.toml or one with [tool.regcheck] (default: the nearest one)",
    )
    parser.set_defaults(show_refuted=False)
    if measures:
        add_measurement_options(parser)


def add_output_options(parser: Parser) -> None:
    """Add the options about the report's form, which every verb that writes a report has."""
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output-format",
        metavar="FORMAT",
        type=checked_format,
        choices=tuple(FORMATS),
        default="full",
        help=f"one of {', '.join(FORMATS)} (default: full)",
    )
    output.add_argument("--output-file", metavar="FILE", type=Path, help="write the report here instead of printing it")
    output.add_argument("--html", metavar="FILE", type=Path, help="also write the report as an HTML page")
    output.add_argument(
        "-q", "--quiet", action="store_true", help="print findings and things not checked only: no summary, no notes"
    )
    output.add_argument("--statistics", action="store_true", help="count the findings of each rule")
    output.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show repetitions, figures behind verdicts, and without a terminal every 10 s what is being done",
    )
    output.add_argument("--exit-zero", action="store_true", help="exit 0 whatever is found")


def add_measurement_options(parser: Parser) -> None:
    """Add the options about measurements, which a scan does not make."""
    proof = parser.add_argument_group("proof")
    proof.add_argument("--show-refuted", action="store_true", help="also show suspicions that measurements refuted")
    proof.add_argument("--no-confirm", dest="confirm", action="store_false", default=SUPPRESS, help="measure nothing")
    proof.add_argument(
        "--device",
        dest="devices",
        metavar="DEVICES",
        type=comma_separated,
        action="extend",
        default=SUPPRESS,
        help=f"{KEYS['devices'].effect} (default: auto)",
    )
    proof.add_argument(
        "--budget",
        metavar="SECONDS",
        type=budget_seconds,
        default=SUPPRESS,
        help=f"{KEYS['budget'].effect} (default: 60)",
    )
    proof.add_argument("--seed", type=int, default=SUPPRESS, help=f"{KEYS['seed'].effect} (default: 0)")


def add_fix_options(parser: Parser, *, also: str = "") -> argparse._ArgumentGroup:
    """Add the options about fixes; `also` names another option whose changes `--diff` shows."""
    fixes = parser.add_argument_group("fixes")
    fixes.add_argument("--fix", action="store_true", help="apply safe fixes, and report what remains")
    would = f"--fix (or {also})" if also else "--fix"
    fixes.add_argument("--diff", action="store_true", help=f"show what {would} would change; exit 1 if anything")
    fixes.add_argument("--unsafe-fixes", action="store_true", help="with --fix or --diff: also change results")
    return fixes


def refuse_fixes_alone(arguments: argparse.Namespace) -> None:
    """Refuse `--unsafe-fixes` where nothing is fixed.

    Raises:
        UsageError: it stands alone.
    """
    if arguments.unsafe_fixes and not (arguments.fix or arguments.diff):
        raise UsageError("--unsafe-fixes needs --fix or --diff")


def options_from(arguments: argparse.Namespace) -> Options:
    """Returns the configured options, overridden by the command line.

    Raises:
        UsageError: the configuration or a value is not valid.
    """
    options = load(Path.cwd(), arguments.config)
    for each in options.notes:
        note(f"note: {each}")  # also with --quiet: it asks for a change of the configuration
    values = {each.name: getattr(arguments, each.name) for each in fields(Options) if hasattr(arguments, each.name)}
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    options = replace(options, budget_named="`--budget`", **values)
    return replace(options, baseline=options.baseline or DEFAULT) if arguments.write_baseline else options


def without_new_baseline(options: Options, arguments: argparse.Namespace) -> Options:
    """Returns the options for the run: without the baseline, if it does not exist yet and the run only writes it."""
    absent = arguments.write_baseline and not Path(options.baseline).is_file()
    return replace(options, baseline="") if absent else options


def budget_seconds(text: str) -> float:
    """Parses a number of seconds, zero or more."""
    if not text.replace(".", "", 1).isdecimal():
        raise UsageError(f"--budget takes a number of seconds, not {text!r}")
    return float(text)


def comma_separated(text: str) -> list[str]:
    """Returns the items of a comma-separated list."""
    return [word.strip() for word in text.split(",") if word.strip()]
