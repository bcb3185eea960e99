"""`regcheck run PROGRAM`: watch a program while it runs, and check every model and optimizer of it afterwards."""

from __future__ import annotations

import contextlib
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TextIO

from regcheck.cli import notebook_program
from regcheck.cli.common_options import Parser, add_common_options, options_from, without_new_baseline
from regcheck.cli.output import publish
from regcheck.cli.printing import show
from regcheck.cli.progress import shown_progress
from regcheck.cli.script_runner import Ended, Script, run_to_its_end
from regcheck.config.options import Options
from regcheck.core.errors import ProgramInterrupted, RegcheckError
from regcheck.core.finding import NotChecked
from regcheck.core.usage import Called, Event
from regcheck.files.escape import visible_lines
from regcheck.session.block import WatchSession
from regcheck.session.rank_reports import Launch, report_of_all_ranks


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck run", "Run a program as Python does, and check every model and optimizer of it.")
    parser.usage = (
        "regcheck run [OPTION…] script.py [ARG…]\n"
        "       regcheck run [OPTION…] notebook.ipynb [ARG…]\n"
        "       regcheck run [OPTION…] -m package.module [ARG…]"
    )
    add_common_options(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the program and report on standard error; return its exit code if it failed, and else the report's."""
    arguments, words = argument_parser().parse_leading(argv, ends=("-m",))
    options = with_absolute_paths(arguments, options_from(arguments))
    program = Script.of(words)
    skipped = notebook_program.skipped_syntax(program.name) if program.is_notebook else None
    launch = Launch.of(os.environ)
    watch = WatchSession(without_new_baseline(options, arguments), program.name, not_test_code)
    folder, process, stream = os.getcwd(), os.getpid(), sys.stderr
    execute = program.become()
    watch.start()
    ended = run_to_its_end(execute)
    code = 0
    if os.getpid() == process:  # a forked process reports nothing: its parent goes on
        with inside(folder):
            missed = [*([skipped] if skipped else []), *cut_short(program, ended)]
            failed = ended.status != 0
            code = report_exit(watch, missed, launch, arguments, options, stream, failed=failed)
    if ended.interrupted:
        raise ProgramInterrupted
    return ended.status or code


def cut_short(program: Script, ended: Ended) -> Iterator[NotChecked]:
    """The entry for what a program did not come to, because it raised or was interrupted."""
    if ended.raised:
        reason = "it was interrupted" if ended.interrupted else f"it raised {ended.raised}"
        yield NotChecked(program.name, f"{reason}; what it would have run after that is missing")


def report_exit(
    watch: WatchSession,
    missed: Sequence[NotChecked],
    launch: Launch | None,
    arguments: Namespace,
    options: Options,
    stream: TextIO,
    *,
    failed: bool,
) -> int:
    """Examine the run and write the report, below the program's output; return the report's exit code.

    Of several ranks the first one writes the report of all, and the others return 0.

    Args:
        watch: the watched run.
        missed: what did not run of the program.
        launch: this process among the ranks of one launch, if it is one.
        arguments: the command line.
        options: the options of the command line and the configuration together.
        stream: where to print.
        failed: whether the program failed.

    Raises:
        UsageError: a device is unusable, or a file cannot be written; where the program failed, this is only printed.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    try:
        with shown_progress(verbose=arguments.verbose, quiet=arguments.quiet):
            watch.stop(whole=not failed)
            own = watch.report
        own = replace(own, not_checked=(*own.not_checked, *missed))
        with report_of_all_ranks(launch, own) as report:
            return publish(report, arguments, options, stream=stream) if report is not None else 0
    except RegcheckError as error:
        if not failed:
            raise
        show(f"regcheck: error: {visible_lines(str(error))}\n", stream)
        return 0


def not_test_code(event: Event) -> Event:
    """The event; a call in the program's own file is no test code, whatever the file is called."""
    path = event.place.path if event.place else ""
    own = notebook_program.is_notebook(path) or path == getattr(sys.modules["__main__"], "__file__", None)
    return replace(event, test_code=False) if own and isinstance(event, Called) else event


def with_absolute_paths(arguments: Namespace, options: Options) -> Options:
    """Make the paths absolute, as the program may change its folder."""
    for name in ("output_file", "html"):
        if getattr(arguments, name) is not None:
            setattr(arguments, name, getattr(arguments, name).absolute())
    return replace(options, baseline=os.path.abspath(options.baseline)) if options.baseline else options


@contextlib.contextmanager
def inside(folder: str) -> Iterator[None]:
    """Work in that folder for a while."""
    before = ""
    with contextlib.suppress(OSError):  # a program may have removed the folder that it is in
        before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before or folder)
