"""`regcheck scan [PATH…]`: check source only, without torch."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from regcheck.cli.common_options import (
    Parser,
    add_common_options,
    add_fix_options,
    comma_separated,
    options_from,
    refuse_fixes_alone,
    without_new_baseline,
)
from regcheck.cli.output import publish, publish_changes, publish_diff
from regcheck.cli.printing import note, show
from regcheck.cli.progress import shown_progress
from regcheck.config.keys import KEYS
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.engine.scan import NO_FILES, files_to_scan, scan
from regcheck.files.escape import dump_json, visible
from regcheck.files.text import STDIN, overlay
from regcheck.suppression.baseline import DEFAULT as BASELINE
from regcheck.suppression.new_comments import checked_reason

if TYPE_CHECKING:
    from regcheck.engine.fix import FixResult


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck scan", "Check Python source without importing it, and without torch.")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=[],
        help="files, notebooks and folders, or - for standard input (default: the working directory)",
    )
    parser.add_argument("--no-cache", action="store_true", help="neither read nor write the result cache")
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=process_count,
        default=0,
        help="scan in up to N processes (default: one for each core; few files are scanned in one)",
    )
    parser.add_argument(
        "--watch", action="store_true", help="scan again whenever a file of the project changes, until Ctrl-C"
    )
    chosen = parser.add_argument_group("files")
    for key, more in (("exclude", ", instead of the configured ones"), ("extend-exclude", "")):
        chosen.add_argument(
            f"--{key}",
            metavar="GLOBS",
            type=comma_separated,
            action="extend",
            default=argparse.SUPPRESS,
            help=KEYS[key].effect + more,
        )
    chosen.add_argument("--show-files", action="store_true", help="list the files that would be scanned, and stop")
    chosen.add_argument("--show-settings", action="store_true", help="print the options in effect as JSON, and stop")
    chosen.add_argument(
        "--no-force-exclude",
        dest="force_exclude",
        action="store_false",
        default=argparse.SUPPRESS,
        help="scan excluded files that are named",
    )
    fixes = add_fix_options(parser, also="--add-ignores")
    fixes.add_argument(
        "--add-ignores",
        metavar="REASON",
        type=checked_reason,
        help="suppress all findings by comments with this reason, and report what remains; with --diff only show them",
    )
    add_common_options(parser, measures=False)
    parser.add_argument("--stdin-filename", metavar="FILE", help="file name of standard input")
    return parser


def run(argv: Sequence[str]) -> int:
    """Scan, publish the report, and return the exit code."""
    arguments = argument_parser().parse(argv)
    paths = arguments.paths or ["."]
    refuse_fixes_alone(arguments)
    if arguments.add_ignores and (arguments.fix or arguments.unsafe_fixes or arguments.write_baseline):
        raise UsageError("--add-ignores suppresses findings: apply fixes or write the baseline in another run")
    if STDIN in paths and len(paths) > 1:
        raise UsageError("- must be the only PATH: standard input is one file")
    if arguments.watch:
        return watch(paths, arguments)
    atexit.register(gc.freeze)  # an ending process need not search the scan's objects for garbage
    with ExitStack() as stack:
        if paths == [STDIN]:
            paths = [arguments.stdin_filename or STDIN]
            stack.enter_context(overlay({paths[0]: sys.stdin.buffer.read()}))
            return examine(paths, arguments, options_from(arguments), named=True, piped=True)
        if arguments.stdin_filename:
            raise UsageError("--stdin-filename needs the PATH -")
        return examine(paths, arguments, options_from(arguments), named=bool(arguments.paths), piped=False)


def watch(paths: list[str], arguments: Namespace) -> int:
    """Scan again whenever a file changes, with the options that are configured then; return the last exit code.

    Raises:
        UsageError: the first scan is not possible, or does not only report.
    """
    from regcheck.cli.rescan import rescan, states_of

    for name in ("fix", "diff", "add_ignores", "write_baseline", "show_files", "show_settings"):
        if getattr(arguments, name):
            raise UsageError(f"--watch only reports: omit --{name.replace('_', '-')}")
    if paths == [STDIN]:
        raise UsageError("--watch needs files: standard input does not change")
    named = [Path(file) for file in (arguments.config, getattr(arguments, "baseline", BASELINE)) if file]
    return rescan(
        lambda: examine(paths, arguments, options_from(arguments), named=bool(arguments.paths), piped=False),
        lambda: states_of(paths, named),
        quiet=arguments.quiet,
    )


def process_count(text: str) -> int:
    """A number of processes from the command line.

    Raises:
        ArgumentTypeError: not a whole number from one on.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("the number of processes is a whole number from 1 on")
    return int(text)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def examine(paths: list[str], arguments: Namespace, options: Options, *, named: bool, piped: bool) -> int:
    """Scan, apply fixes with `--fix`, and publish the report.

    Args:
        paths: the files and folders to scan.
        arguments: the command line.
        options: its options.
        named: whether the user named the paths.
        piped: whether the source comes from standard input.

    Raises:
        UsageError: the named paths hold no Python file.
    """
    if arguments.show_settings:
        show(dump_json(options.to_dict()))
        return 0
    if arguments.show_files:
        show("".join(f"{visible(str(each))}\n" for each in files_to_scan(paths, options)))
        return 0
    looking = without_new_baseline(options, arguments)
    if not (arguments.fix or arguments.diff or arguments.add_ignores):
        with shown_progress(verbose=arguments.verbose, quiet=arguments.quiet):
            report = scan(paths, looking, cached=not arguments.no_cache, jobs=arguments.jobs or cores())
        refuse_empty(report, named)
        return publish(report, arguments, options, examined=paths)
    with shown_progress(verbose=arguments.verbose, quiet=arguments.quiet):
        result = changed(paths, arguments, looking)
    done = "ignored" if arguments.add_ignores else "fixed"
    refuse_empty(result.report, named)
    if arguments.diff:
        return publish_diff(result, arguments, options, done=done)
    return publish_changes(result, arguments, options, done=done, examined=paths, piped=piped)


def changed(paths: list[str], arguments: Namespace, options: Options) -> FixResult:
    """Apply fixes, or add suppressions, in memory."""
    if arguments.add_ignores:
        from regcheck.engine.add_ignores import add_ignores

        return add_ignores(paths, options, arguments.add_ignores)
    from regcheck.engine.fix import fix_paths

    return fix_paths(paths, options, unsafe=arguments.unsafe_fixes)


def refuse_empty(report: Report, named: bool) -> None:
    """Refuse a scan without files if the user named the paths; print a note if all files are excluded.

    Raises:
        UsageError: the named paths hold no Python file.
    """
    if report.files:
        return
    if not report.not_checked:
        note(f"note: {NO_FILES}: all of them are excluded")
    elif named:
        (empty,) = report.not_checked
        raise UsageError(f"{empty.subject}: {empty.reason}")
