"""From findings to a report: decide about each, and show positions and paths as users know them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from regcheck.config.options import Options
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.report import Report
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.core.version import __version__
from regcheck.files.text import character_column, line_in_cell, lines_of, text_of
from regcheck.suppression.baseline import Baseline
from regcheck.suppression.comments import FileComments, comments_in
from regcheck.suppression.decide import Context, Outcome, decide


def report_on(
    findings: Iterable[Finding],
    not_checked: Iterable[NotChecked],
    options: Options,
    *,
    declared: Callable[[Finding], tuple[CodeSuppression, ...]] = lambda finding: (),
    devices: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
    live: bool = True,
) -> Report:
    """The report on findings under the options.

    Args:
        findings: every finding of a run, refuted ones among them.
        not_checked: the subjects that the run could not check.
        options: the options of the run.
        declared: gives the declarations that classes make about a finding.
        devices: where the run measured.
        subjects: the names of the models, programs or files.
        live: whether models ran, so that a measurement was possible.

    Raises:
        UsageError: the baseline cannot be read.
    """
    baseline = baseline_of(options)
    places: dict[Outcome, list[Finding]] = {each: [] for each in Outcome}
    used: dict[CodeSuppression, None] = {}
    for finding in findings:
        shown = as_shown(finding)
        context = context_of(finding, options, declared(finding), live=live)
        if baseline is not None:
            context = replace(context, entry=baseline.entry(shown), baseline=baseline.entries_of_any_command)
        decision = decide(finding, context)
        places[decision.outcome].append(shown)
        used.update(dict.fromkeys(decision.by_code))
    return report_under(
        options,
        findings=tuple(places[Outcome.REPORTED]),
        not_checked=tuple(map(as_shown_missed, not_checked)),
        refuted=tuple(places[Outcome.REFUTED]),
        devices=devices,
        subjects=subjects,
        known=tuple(places[Outcome.IN_BASELINE]),
        advice=tuple(places[Outcome.ADVICE]),
        suppressed_by=tuple(used),
        live=live,
    )


def context_of(
    finding: Finding, options: Options, declared: tuple[CodeSuppression, ...] = (), *, live: bool = True
) -> Context:
    """The context of a finding here and now: the blocks around the caller, `declared`, its file and the options."""
    comments, path = FileComments(), ""
    if finding.path is not None:
        comments, path = comments_in(finding.path, text_of(finding.path)), shown_path(finding.path) or ""
    return Context(options, (*BLOCKS.get(), *declared), comments, path, live=live)


def baseline_of(options: Options) -> Baseline | None:
    """The baseline that the options name; the file is read again when it has changed.

    Raises:
        UsageError: it cannot be read.
    """
    if not options.baseline:
        return None
    file = Path(options.baseline)
    return _read_baseline(file, file.stat().st_mtime_ns) if file.is_file() else Baseline.read(file)


@lru_cache(maxsize=1)
def _read_baseline(file: Path, changed: int) -> Baseline:
    return Baseline.read(file)


def as_shown(finding: Finding) -> Finding:
    """The finding as a report shows it: in the notebook's cell, its column in characters, its path from here."""
    if finding.path is None or finding.line is None:
        return finding.at(shown_path(finding.path))
    cell, line = line_in_cell(finding.path, finding.line)
    source = (lines_of(finding.path)[finding.line - 1 :] or [""])[0]
    column = character_column(source, finding.column) if finding.column and source else finding.column
    return replace(finding, path=shown_path(finding.path), line=line, column=column, cell=cell)


def as_shown_missed(each: NotChecked) -> NotChecked:
    """The entry as a report shows it; for a notebook the subject names the cell and its line."""
    cell, line = line_in_cell(each.path, each.line) if each.path and each.line else (None, each.line)
    subject = f"{each.subject} (cell {cell}, line {line})" if cell else each.subject
    return replace(each, subject=subject, path=shown_path(each.path), line=None if cell else line)


def report_under(options: Options, *, live: bool = True, **parts: Any) -> Report:
    """A report with these parts that fails as the options say; `live` says that models were there to be measured."""
    return Report(
        seed=options.seed,
        version=__version__,
        fail_on=options.fail_on,
        strict=options.strict,
        live=live,
        fail_on_unproven=options.fail_on_unproven,
        **parts,
    )


def shown_path(path: str | None, root: str | os.PathLike[str] = os.curdir) -> str | None:
    """The path relative to `root`, the working directory by default, where it lies below it."""
    if path is None or not os.path.isabs(path):
        return path
    relative = os.path.relpath(path, root)
    return path if relative.startswith("..") else relative
