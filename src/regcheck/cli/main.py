"""The command `regcheck`: picks the verb, and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from regcheck.cli.printing import note, show
from regcheck.core.errors import RegcheckError, unknown
from regcheck.core.version import __version__

VERBS = {
    "scan": "examine source files without importing them (no torch needed)",
    "audit": "build models, measure them, and prove each finding",
    "run": "run a program as Python does, and check every model of it",
    "rule": "list the rules, or show one rule's page",
    "selftest": "hold torch itself to the reference implementations, on every device here",
}
"""What each verb does. A verb is the module of that name in this package, with `run(argv) -> int`."""

ELSEWHERE = {"selftest": "regcheck.selftest.command"}
"""Verbs whose module is in a package of its own, which nothing else imports."""

CLEAN, FOUND, USAGE, NOT_CHECKED = 0, 1, 2, 3
"""The exit codes: nothing found, findings that count, wrong usage, something not checked or unproven."""

HELP = f"""\
usage: regcheck VERB …

Finds dropout, regularization and train/eval mistakes in PyTorch models, and proves each one by measuring the model.

{chr(10).join(f"  regcheck {verb:<8} {does}" for verb, does in VERBS.items())}

`regcheck VERB --help` tells the options of a verb; `regcheck --version` the version.
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
        # The reader (`| head`) has seen enough; nothing is left to say, not even at exit.
        sys.stdout = None
        return FOUND
    except SystemExit as stop:  # argparse, after printing the help
        return stop.code if isinstance(stop.code, int) else USAGE


def dispatch(words: list[str]) -> int:
    """Hand the arguments to their verb."""
    verb, *rest = words or ["--help"]
    if verb in ("-h", "--help"):
        show(HELP)
        return CLEAN if words else USAGE
    if verb in ("-V", "--version"):
        show(f"regcheck {__version__}\n")
        return CLEAN
    if verb not in VERBS:
        raise unknown("option" if verb.startswith("-") else "verb", verb, [*VERBS, "--help", "--version"])
    code: int = import_module(ELSEWHERE.get(verb, f"regcheck.cli.{verb}")).run(rest)
    return code
