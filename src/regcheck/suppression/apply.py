"""From judged suspicions to a report: what is declared is left out, what is refuted is set apart."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.finding import Finding, NotChecked, Severity, Verdict
from regcheck.core.report import Report
from regcheck.core.version import __version__
from regcheck.files.text import characters, in_cell, lines_of, text_of
from regcheck.suppression import matching
from regcheck.suppression.baseline import Baseline


def outcome(
    judged: Iterable[Finding],
    not_checked: Iterable[NotChecked],
    options: Options,
    *,
    devices: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
    live: bool = True,
) -> Report:
    """The report of a run under its options, with positions and paths as they are shown; `live` says models ran."""
    shown = [located(each) for each in judged if not declared(each, options)]
    baseline = recorded(options)
    standing = [each for each in shown if each.evidence.verdict is not Verdict.REFUTED]
    known = [each for each in standing if baseline is not None and baseline.knows(each)]
    new = [each for each in standing if each not in known]
    advice = [each for each in new if is_unwanted_advice(each, options)]
    return report_under(
        options,
        findings=tuple(each for each in new if each not in advice),
        not_checked=tuple(missed(each) for each in not_checked),
        refuted=tuple(each for each in shown if each.evidence.verdict is Verdict.REFUTED),
        devices=devices,
        subjects=subjects,
        known=tuple(known),
        advice=tuple(advice),
        live=live,
    )


def is_unwanted_advice(finding: Finding, options: Options) -> bool:
    """Whether evidence made a finding mere advice, by an effect that is not material, and nobody selects its rule."""
    lowered = finding.evidence.lowers_to is Severity.INFO
    return lowered and not select.asks_for(finding.code, finding.name, options)


def recorded(options: Options) -> Baseline | None:
    """The baseline that the options name, read again when it has changed.

    Raises:
        UsageError: it cannot be read.
    """
    if not options.baseline:
        return None
    file = Path(options.baseline)
    return _recorded(file, file.stat().st_mtime_ns) if file.is_file() else Baseline.read(file)


@lru_cache(maxsize=1)
def _recorded(file: Path, changed: int) -> Baseline:
    return Baseline.read(file)


def located(finding: Finding) -> Finding:
    """The finding as it is shown: in the notebook's cell, its column in characters, its path from here."""
    if finding.path is None or finding.line is None:
        return finding.at(shown_path(finding.path))
    cell, line = in_cell(finding.path, finding.line)
    source = (lines_of(finding.path)[finding.line - 1 :] or [""])[0]
    column = characters(source, finding.column) if finding.column and source else finding.column
    return replace(finding, path=shown_path(finding.path), line=line, column=column, cell=cell)


def missed(each: NotChecked) -> NotChecked:
    """The entry as it is shown; the line in a notebook is told with its cell."""
    cell, line = in_cell(each.path, each.line) if each.path and each.line else (None, each.line)
    subject = f"{each.subject} (cell {cell}, line {line})" if cell else each.subject
    return replace(each, subject=subject, path=shown_path(each.path), line=None if cell else line)


def report_under(options: Options, *, live: bool = True, **parts: Any) -> Report:
    """A report with those parts that fails as the options say; `live` says that models were there to be measured."""
    return Report(
        seed=options.seed,
        version=__version__,
        fail_on=options.fail_on,
        strict=options.strict,
        live=live,
        fail_on_unproven=options.fail_on_unproven,
        **parts,
    )


def declared(finding: Finding, options: Options) -> bool:
    """Whether the user has declared it to be intended: in its file, around the run, or in the configuration."""
    if matching.intended(finding, matching.active(), options.require_reason):
        return True
    patterns = [*select.ignored_within(finding.module_path, options)]
    text = ""
    if finding.path is not None:
        patterns += select.ignored_in(shown_path(finding.path) or "", options)
        text = text_of(finding.path)
    return select.ignores(finding.code, patterns, finding.name) or matching.silenced(
        finding, text, options.require_reason
    )


def shown_path(path: str | None, root: str | os.PathLike[str] = os.curdir) -> str | None:
    """The path relative to `root`, the working directory by default, where it lies below it."""
    if path is None or not os.path.isabs(path):
        return path
    relative = os.path.relpath(path, root)
    return path if relative.startswith("..") else relative
