"""What the commands have in common: parsing that names nearest neighbours, and the shared options."""

from __future__ import annotations

import argparse
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from regcheck.cli.printing import note, show
from regcheck.config.load import load
from regcheck.config.options import Options, severity
from regcheck.core.errors import UsageError, nearest
from regcheck.core.finding import Severity
from regcheck.report import FORMATS, known
from regcheck.suppression.baseline import DEFAULT


class Parser(argparse.ArgumentParser):
    """An argument parser that raises `UsageError` and names the nearest option for an unknown one."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, allow_abbrev=False)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Read the arguments; positional ones may stand between options.

        Raises:
            UsageError: they cannot be understood.
        """
        arguments, unread = self.parse_known_intermixed_args(argv)
        for word in unread:
            name = word.partition("=")[0]
            options = [each for each in self._option_string_actions if each.startswith("--")]
            raise UsageError(f"unknown option {name!r}{nearest(name, options)}; see `{self.prog} --help`")
        return arguments

    def parse_leading(self, argv: Sequence[str], ends: Sequence[str] = ()) -> tuple[argparse.Namespace, list[str]]:
        """Read the options up to the first word that is none, or that is one of `ends`; also return the words left.

        Raises:
            UsageError: they cannot be understood.
        """
        words, first = list(argv), 0
        while first < len(words) and words[first][:1] == "-" and words[first] not in ends:
            action = self._option_string_actions.get(words[first])
            first += 1 if action is None or action.nargs == 0 else 2
        return self.parse(words[:first]), words[first:]

    def _print_message(self, message: str, file: Any = None) -> None:
        show(message, file)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def add_common(parser: Parser) -> None:
    """Add the options that every examining command takes."""
    rules = parser.add_argument_group("rules")
    for option, text in (
        ("--select", "run only these: codes, names, prefixes"),
        ("--ignore", "leave these out"),
        ("--extend-select", "run these too"),
    ):
        rules.add_argument(
            option,
            metavar="RULES",
            type=words,
            action="extend",
            default=SUPPRESS,
            help=text,
        )
    rules.add_argument(
        "--fail-on",
        metavar="SEVERITY",
        type=severity,
        default=SUPPRESS,
        help=f"exit 1 from this severity on: {', '.join(each.value for each in Severity)}, never",
    )
    rules.add_argument(
        "--strict",
        action="store_true",
        default=SUPPRESS,
        help="exit 3 when something was not checked, or could not be proved",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output-format",
        metavar="FORMAT",
        type=known,
        default="full",
        help=f"one of {', '.join(FORMATS)} (default: full)",
    )
    output.add_argument("--output-file", metavar="FILE", type=Path, help="write the report there")
    output.add_argument("--html", metavar="FILE", type=Path, help="write the report there as a page, too")
    output.add_argument("-v", "--verbose", action="store_true", help="show the figures behind each verdict")
    output.add_argument("--statistics", action="store_true", help="count the findings of each rule")
    output.add_argument("--show-refuted", action="store_true", help="show what measurements refuted, too")
    baseline = parser.add_argument_group("baseline")
    baseline.add_argument(
        "--baseline",
        metavar="FILE",
        type=str,
        default=SUPPRESS,
        help="report no findings that this file knows",
    )
    baseline.add_argument(
        "--write-baseline",
        action="store_true",
        help=f"let that file ({DEFAULT} if none is named) know all findings there are now",
    )
    proof = parser.add_argument_group("proof")
    proof.add_argument("--no-confirm", dest="confirm", action="store_false", default=SUPPRESS, help="measure nothing")
    proof.add_argument(
        "--device",
        dest="devices",
        metavar="DEVICES",
        type=words,
        action="extend",
        default=SUPPRESS,
        help="measure on these devices (default: auto, the CPU and every accelerator present)",
    )
    proof.add_argument(
        "--budget",
        metavar="SECONDS",
        type=seconds,
        default=SUPPRESS,
        help="the most work, in seconds of one ordinary core, to prove the findings of one model with (default: 60)",
    )
    proof.add_argument("--seed", type=int, default=SUPPRESS, help="start every measurement from this seed (default: 0)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="read this file's [tool.regcheck] (default: the nearest pyproject.toml that has one)",
    )


def options_from(arguments: argparse.Namespace) -> Options:
    """The configured options, with what the command line says in their place.

    Raises:
        UsageError: the configuration is wrong, or a value is.
    """
    options = load(Path.cwd(), arguments.config)
    for each in options.notes:
        note(f"note: {each}")
    given = {each.name: getattr(arguments, each.name) for each in fields(Options) if hasattr(arguments, each.name)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    options = replace(options, budget_named="`--budget`", **given)
    return replace(options, baseline=options.baseline or DEFAULT) if arguments.write_baseline else options


def to_examine(options: Options, arguments: argparse.Namespace) -> Options:
    """The options to examine with: a baseline that is only going to be written is not there to be read."""
    absent = arguments.write_baseline and not Path(options.baseline).is_file()
    return replace(options, baseline="") if absent else options


def seconds(text: str) -> float:
    """A time in seconds, zero or more."""
    if not text.replace(".", "", 1).isdecimal():
        raise UsageError(f"--budget takes a number of seconds, not {text!r}")
    return float(text)


def words(text: str) -> list[str]:
    """The items of a comma-separated list."""
    return [word.strip() for word in text.split(",") if word.strip()]
