"""Publish a finished report: plugins, files, the terminal, the baseline."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from regcheck import plugins
from regcheck.cli.printing import note, show
from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.report import Report, counted
from regcheck.files.atomic_write import write_atomically
from regcheck.files.escape import visible
from regcheck.files.text import content_of, overlay
from regcheck.report import rendered
from regcheck.report.view import View, fixed_line, text_width
from regcheck.suppression.apply import shown_path
from regcheck.suppression.baseline import Baseline

if TYPE_CHECKING:
    from regcheck.engine.fix import FixResult


def publish(
    report: Report,
    arguments: Namespace,
    options: Options,
    *,
    examined: Sequence[str] = (),
    fixed: int | None = None,
    ignored: int | None = None,
    stream: TextIO | None = None,
) -> int:
    """Pass the report to the plugins, write or print it, and return its exit code.

    Args:
        report: the report.
        arguments: the command line.
        options: the options of the command line and the configuration together.
        examined: the files and folders that were scanned; empty for other doors.
        fixed: the number of fixed findings, with `--fix`.
        ignored: the number of suppressed findings, with `--add-ignores`.
        stream: where to print; standard output by default.

    Raises:
        UsageError: a file cannot be written.
    """
    plugins.call("regcheck_report", report=report)
    if arguments.html is not None:
        page = View(show_refuted=arguments.show_refuted, command=arguments.command)
        write_report(arguments.html, "--html", rendered(report, "html", page))
    if arguments.write_baseline:
        code = update_baseline(report, options, examined, stream or sys.stdout)
        return 0 if arguments.exit_zero else code
    file: Path | None = arguments.output_file
    view = View(
        show_refuted=arguments.show_refuted,
        statistics=arguments.statistics,
        color=file is None and wants_color(stream or sys.stdout),
        width=text_width(stream or sys.stdout) if file is None else None,
        verbose=arguments.verbose,
        fixed=fixed,
        ignored=ignored,
        quiet=arguments.quiet,
        command=arguments.command,
    )
    text = rendered(report, arguments.output_format, view)
    if file is None:
        show(text, stream)
    else:
        write_report(file, "--output-file", text)
    if not arguments.quiet:
        note_stale_entries(report, options, examined)
    return 0 if arguments.exit_zero else report.exit_code


def publish_diff(result: FixResult, arguments: Namespace, options: Options, *, done: str = "fixed") -> int:
    """Print the changes in place of a report, and return the exit code of `--diff`."""
    note_refused(result, done)
    show("".join(result.diff()))
    note(f"{result.fixed} would be {done}, {result.report.headline} would remain")
    code = 1 if result.after else 3 if options.strict and result.report.not_checked else 0
    return 0 if arguments.exit_zero else code


def publish_changes(
    result: FixResult,
    arguments: Namespace,
    options: Options,
    *,
    done: str = "fixed",
    examined: Sequence[str] = (),
    piped: bool = False,
) -> int:
    """Write the changes, publish the report on what remains, and return its exit code.

    Args:
        result: the changes and the report.
        arguments: the command line.
        options: the options of the command line and the configuration together.
        done: what the changes do to findings: they are `fixed` or `ignored`.
        examined: the files and folders that were scanned; empty for other doors.
        piped: whether to print the changed file, and the report on standard error.

    Raises:
        UsageError: a file cannot be written.
    """
    note_refused(result, done)
    result.write()
    for each in result.removed:
        if each.is_confirmed:
            note(fixed_line(each, result.again.get(each.key)))
    with overlay(result.after):
        if piped:
            sys.stdout.flush()
            sys.stdout.buffer.write(content_of(examined[0]))
            sys.stdout.buffer.flush()
        stream = sys.stderr if piped else None
        return publish(result.report, arguments, options, examined=examined, stream=stream, **{done: result.fixed})


def note_refused(result: FixResult, done: str) -> None:
    """Print a note on standard error for each file in which a change was not made."""
    for path, why in result.refused.items():
        note(f"note: {visible(path)}: not {done}: {why}")


def write_report(file: Path, option: str, text: str) -> None:
    """Write a report to a file, in one step.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        write_atomically(file, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise UsageError(f"{option} {file}: cannot be written: {error.strerror}") from None


def update_baseline(report: Report, options: Options, examined: Sequence[str], stream: TextIO) -> int:
    """Write the findings to the baseline, and return the exit code of the report without them."""
    file = Path(options.baseline)
    baseline = Baseline.read(file) if file.is_file() else Baseline(file)
    stale = baseline.stale(report, examined, rule_codes(options), door_name(examined))
    new = baseline.updated(report.findings, stale, door_name(examined))
    new.write()
    added = len(new.entries - baseline.entries)
    size = f"{counted(len(new.entries), 'finding')} ({added} new, {len(stale)} gone)"
    show(f"{visible(shown_path(str(file)) or '')}: {size}\n", stream)
    return replace(report, findings=()).exit_code


def note_stale_entries(report: Report, options: Options, examined: Sequence[str]) -> None:
    """Print a note on standard error for each baseline entry whose finding is gone from the examined files."""
    if not options.baseline:
        return
    baseline = Baseline.read(Path(options.baseline))
    for each in baseline.stale(report, examined, rule_codes(options), door_name(examined)):
        where = f"{each.path}, {each.scope}" if each.scope else each.path
        said = f"{each.code} in {where} is gone: `{each.source}`; `--write-baseline` removes it"
        note(f"note: {shown_path(options.baseline)}: {visible(said)}")


def rule_codes(options: Options) -> list[str]:
    """Returns the codes of the rules that ran."""
    return [rule.code for rule in select.chosen(plugins.catalogue(), options)]


def door_name(examined: Sequence[str]) -> str:
    """Returns the name of the report's door for baseline entries."""
    return "scan" if examined else "audit"


def wants_color(stream: TextIO) -> bool:
    """Whether to print colour: on a terminal that has it, unless `NO_COLOR` or `FORCE_COLOR` overrides it."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
