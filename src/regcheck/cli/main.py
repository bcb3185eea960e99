"""The command `regcheck`: dispatch to a verb, and turn errors into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from regcheck.cli.printing import note, show
from regcheck.core.errors import ProgramInterrupted, RegcheckError, unknown
from regcheck.core.version import __version__

if TYPE_CHECKING:
    from argparse import ArgumentParser

VERBS = {
    "scan": "check source files without importing them (needs no torch)",
    "audit": "build models, measure them, and prove each finding",
    "run": "run a program as Python does, and check all its models and optimizers",
    "merge": "join the reports of shards, machines or ranks into one",
    "rule": "list the rules, or show one rule's page",
    "server": "show findings in an editor, by the Language Server Protocol on standard input and output",
    "selftest": "compare torch with the reference implementations, on every device present",
    "completion": "print the script that completes words in bash, zsh or fish",
}
"""The verbs and their help. A verb is a module of this package by that name, with `run(argv) -> int`."""

ELSEWHERE = {"selftest": "regcheck.selftest.command", "server": "regcheck.editor.serve"}
"""Verbs in a package of their own, which nothing else imports."""

CLEAN, FOUND, USAGE, NOT_CHECKED = 0, 1, 2, 3
"""The exit codes: clean, findings that fail the run, wrong usage, something not checked or unproven."""

HELP = f"""\
usage: regcheck VERB …

Finds dropout, regularization and train/eval mistakes in PyTorch models, and proves each one by measuring the model.

{chr(10).join(f"  regcheck {verb:<11} {does}" for verb, does in VERBS.items())}

`regcheck VERB --help` lists the options of a verb; `regcheck --version` prints the version.
exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong usage,
            3 a named target not checked, or (with --strict) anything not checked or unproven
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = dispatch(words)
        sys.stdout.flush()
        return code
    except RegcheckError as error:
        note(f"regcheck: error: {error}")
        return USAGE
    except BrokenPipeError:
        # The reader (`| head`) closed the pipe; Python must not flush to it at exit either.
        sys.stdout = None
        return FOUND
    except KeyboardInterrupt as interrupt:
        if not isinstance(interrupt, ProgramInterrupted):
            note("regcheck: interrupted: there is no report")
        sys.excepthook = lambda *error: None
        raise KeyboardInterrupt from None  # Python ends as interrupted by this very type
    except SystemExit as stop:  # argparse, after printing the help
        return stop.code if isinstance(stop.code, int) else USAGE


def dispatch(words: list[str]) -> int:
    """Call the verb with its arguments."""
    verb, *rest = words or ["--help"]
    if verb in ("-h", "--help"):
        show(HELP)
        return CLEAN if words else USAGE
    if verb in ("-V", "--version"):
        show(f"regcheck {__version__}\n")
        return CLEAN
    if verb not in VERBS:
        raise unknown("option" if verb.startswith("-") else "verb", verb, [*VERBS, "--help", "--version"])
    code: int = module_of(verb).run(rest)
    return code


def parser_of(verb: str) -> ArgumentParser:
    """Returns the parser of a verb's arguments."""
    parser: ArgumentParser = module_of(verb).argument_parser()
    return parser


def module_of(verb: str) -> ModuleType:
    """Returns the module of a verb."""
    return import_module(ELSEWHERE.get(verb, f"regcheck.cli.{verb}"))
