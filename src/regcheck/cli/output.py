"""Where a finished report goes."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from regcheck import plugins
from regcheck.cli.printing import note, show
from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.report import Report, counted
from regcheck.files.atomic_write import write_whole
from regcheck.files.escape import visible
from regcheck.report import rendered
from regcheck.report.view import View
from regcheck.suppression.apply import shown_path
from regcheck.suppression.baseline import Baseline


def finish(
    report: Report,
    arguments: Namespace,
    options: Options,
    *,
    examined: Sequence[str] = (),
    fixed: int | None = None,
    stream: TextIO | None = None,
) -> int:
    """Tell the plugins, write the report as asked, and return its exit code.

    Args:
        report: what to tell.
        arguments: the command line.
        options: what it and the configuration come to.
        examined: the files and folders that were read as source.
        fixed: how many findings were fixed, where that was asked for.
        stream: where to print instead of standard output.

    Raises:
        UsageError: a file cannot be written.
    """
    plugins.call("regcheck_report", report=report)
    if arguments.html is not None:
        write(arguments.html, "--html", rendered(report, "html"))
    if arguments.write_baseline:
        return record(report, options, examined, stream or sys.stdout)
    file: Path | None = arguments.output_file
    color = file is None and colored(stream or sys.stdout)
    view = View(arguments.show_refuted, arguments.statistics, color, arguments.verbose, fixed)
    text = rendered(report, arguments.output_format, view)
    if file is None:
        show(text, stream)
    else:
        write(file, "--output-file", text)
    tell_stale(report, options, examined)
    return report.exit_code


def write(file: Path, option: str, text: str) -> None:
    """Write a report to a file.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        write_whole(file, text.encode(errors="backslashreplace"))
    except OSError as error:
        raise UsageError(f"{option} {file}: cannot be written: {error.strerror}") from None


def record(report: Report, options: Options, examined: Sequence[str], stream: TextIO) -> int:
    """Let the baseline know what was found, and return what the report's exit code then is."""
    file = Path(options.baseline)
    baseline = Baseline.read(file) if file.is_file() else Baseline(file)
    stale = baseline.stale(report, examined, ran(options), door(examined))
    new = baseline.updated(report.findings, stale, door(examined))
    new.write()
    added = len(new.entries - baseline.entries)
    known = f"{counted(len(new.entries), 'finding')} ({added} new, {len(stale)} gone)"
    show(f"{visible(shown_path(str(file)) or '')}: {known}\n", stream)
    return replace(report, findings=()).exit_code


def tell_stale(report: Report, options: Options, examined: Sequence[str]) -> None:
    """Note, on standard error, what the baseline holds and the files examined no longer do."""
    if not options.baseline:
        return
    baseline = Baseline.read(Path(options.baseline))
    for each in baseline.stale(report, examined, ran(options), door(examined)):
        where = f"{each.path}, {each.scope}" if each.scope else each.path
        said = f"{each.code} in {where} is gone: `{each.source}`; `--write-baseline` forgets it"
        note(f"note: {shown_path(options.baseline)}: {visible(said)}")


def ran(options: Options) -> list[str]:
    """The codes of the rules that ran."""
    return [rule.code for rule in select.chosen(plugins.catalogue(), options)]


def door(examined: Sequence[str]) -> str:
    """Which door a report came through: source is read by `scan` alone."""
    return "scan" if examined else "audit"


def colored(stream: TextIO) -> bool:
    """Whether a stream wants colour: a terminal does, unless the environment says otherwise."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()
