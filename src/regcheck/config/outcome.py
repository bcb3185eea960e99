"""From judged suspicions to a report: what is declared is left out, what is refuted is set apart."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from regcheck.config import select, silence
from regcheck.config.options import Options
from regcheck.core.finding import Finding, NotChecked, Verdict
from regcheck.core.report import Report
from regcheck.core.version import __version__


def outcome(
    judged: Iterable[Finding],
    not_checked: Iterable[NotChecked],
    options: Options,
    *,
    devices: tuple[str, ...] = (),
    subjects: tuple[str, ...] = (),
) -> Report:
    """The report of a run under its options, with paths as they are shown."""
    shown = [each.at(shown_path(each.path)) for each in judged if not declared(each, options)]
    return report_under(
        options,
        findings=tuple(each for each in shown if each.evidence.verdict is not Verdict.REFUTED),
        not_checked=tuple(replace(each, path=shown_path(each.path)) for each in not_checked),
        refuted=tuple(each for each in shown if each.evidence.verdict is Verdict.REFUTED),
        devices=devices,
        subjects=subjects,
    )


def report_under(options: Options, **parts: Any) -> Report:
    """A report with those parts that fails as the options say."""
    return Report(
        seed=options.seed,
        version=__version__,
        fail_on=options.fail_on,
        strict=options.strict,
        require_proof=options.require_proof,
        **parts,
    )


def declared(finding: Finding, options: Options) -> bool:
    """Whether the user has declared it to be intended: on its line, around the run, or in the configuration."""
    patterns = [code for code, _ in silence.active()]
    patterns += select.ignored_within(finding.module_path, options)
    lines: list[str] = []
    if finding.path is not None:
        patterns += select.ignored_in(shown_path(finding.path) or "", options)
        linecache.checkcache(finding.path)
        lines = linecache.getlines(finding.path)
    return select.ignores(finding.code, patterns, finding.name) or silence.silenced(
        finding, lines, options.require_reason
    )


def shown_path(path: str | None) -> str | None:
    """The path relative to the working directory where it lies below it."""
    if path is None or not os.path.isabs(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
