"""`regcheck scan [PATH…]`: source only, without torch."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack

from regcheck.cli.common_options import Parser, add_common, options_from, to_examine
from regcheck.cli.output import finish
from regcheck.cli.printing import note, show
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.report import Report
from regcheck.engine.scan import NO_FILES, scan
from regcheck.files.escape import visible
from regcheck.files.text import STDIN, content_of, handed_in


def run(argv: Sequence[str]) -> int:
    """Scan and report; return the exit code."""
    parser = Parser("regcheck scan", "Examine Python source for the same faults, without importing it or torch.")
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        default=[],
        help="files, notebooks and folders, or - for standard input (default: here)",
    )
    parser.add_argument("--no-cache", action="store_true", help="scan anew, and keep no result for the next time")
    fixes = parser.add_argument_group("fixes")
    fixes.add_argument("--fix", action="store_true", help="mend what can safely be mended, and report what remains")
    fixes.add_argument("--diff", action="store_true", help="show what --fix would change; exit 1 if anything")
    fixes.add_argument("--unsafe-fixes", action="store_true", help="with --fix or --diff: also what changes results")
    add_common(parser)
    parser.add_argument("--stdin-filename", metavar="FILE", help="the name of what is read from standard input")
    arguments = parser.parse(argv)
    paths = arguments.paths or ["."]
    if arguments.unsafe_fixes and not (arguments.fix or arguments.diff):
        raise UsageError("--unsafe-fixes says which fixes: add --fix or --diff")
    if STDIN in paths and len(paths) > 1:
        raise UsageError("- stands alone: standard input is one file")
    with ExitStack() as stack:
        if paths == [STDIN]:
            paths = [arguments.stdin_filename or STDIN]
            stack.enter_context(handed_in({paths[0]: sys.stdin.buffer.read()}))
            return examine(paths, arguments, options_from(arguments), named=True, piped=True)
        if arguments.stdin_filename:
            raise UsageError("--stdin-filename names standard input: add -")
        return examine(paths, arguments, options_from(arguments), named=bool(arguments.paths), piped=False)


def examine(paths: list[str], arguments: Namespace, options: Options, *, named: bool, piped: bool) -> int:
    """Scan, mend if that was asked for, and report; `named` says that the paths were named.

    Raises:
        UsageError: there is nothing to read where paths were named.
    """
    looking = to_examine(options, arguments)
    if not (arguments.fix or arguments.diff):
        report = scan(paths, looking, cached=not arguments.no_cache)
        tell_empty(report, named)
        return finish(report, arguments, options, examined=paths)
    from regcheck.engine.fix import mended

    result = mended(paths, looking, unsafe=arguments.unsafe_fixes)
    tell_empty(result.report, named)
    for path, why in result.refused.items():
        note(f"note: {visible(path)}: not fixed: {why}")
    if arguments.diff:
        show("".join(result.diff()))
        note(f"{result.fixed} would be fixed, {result.report.headline} would remain")
        return 1 if result.after else 3 if options.strict and result.report.not_checked else 0
    result.write()
    with handed_in(result.after):
        if piped:
            sys.stdout.flush()
            sys.stdout.buffer.write(content_of(paths[0]))
            sys.stdout.buffer.flush()
        stream = sys.stderr if piped else None
        return finish(result.report, arguments, options, examined=paths, fixed=result.fixed, stream=stream)


def tell_empty(report: Report, named: bool) -> None:
    """Say that a scan had nothing to read: as an error where paths were `named` and the configuration excludes none.

    Raises:
        UsageError: there is nothing to read.
    """
    if report.files:
        return
    if not report.not_checked:
        note(f"note: {NO_FILES}: the configuration excludes all there are")
    elif named:
        (empty,) = report.not_checked
        raise UsageError(f"{empty.subject}: {empty.reason}")
