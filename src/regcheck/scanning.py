"""One scan, told top to bottom: choose the files, read them, lower models and programs, judge, silence, report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from regcheck.config import select, silence
from regcheck.config.options import Options
from regcheck.core.finding import Evidence, Finding, NotChecked, Verdict
from regcheck.core.graph import Graph
from regcheck.core.report import Report, gathered
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.usage import Usage
from regcheck.core.version import __version__
from regcheck.plugins import catalogue
from regcheck.source.names import Project, Source
from regcheck.source.reading import Reading, lowered
from regcheck.source.walk import python_files, read

READ = Evidence(Verdict.UNMEASURED, because="read from the source, not run")


def scan(paths: Iterable[str | Path], options: Options | Mapping[str, Any] | None = None) -> Report:
    """Check Python source without importing it, and without torch.

    Args:
        paths: files and folders.
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `exclude`, `fail_on`, …).

    Raises:
        UsageError: a path that does not exist, an unknown option or rule code.
    """
    chosen = Options.of(options)
    rules = select.chosen(catalogue(), chosen)
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    sources: list[Source] = []
    unread: list[NotChecked] = []
    for path in python_files(paths, chosen.exclude):
        found = read(path)
        if isinstance(found, NotChecked):
            unread.append(found)
        elif found is not None:
            sources.append(Source(str(path), *found))
    reading = lowered(Project(sources))
    findings = [each for each in judged(rules, reading) if not silenced(each, sources, chosen)]
    report = Report(
        findings=tuple(each.at(shown_path(each.path)) for each in findings),
        not_checked=tuple(replace(each, path=shown_path(each.path)) for each in (*unread, *reading.not_checked)),
        seed=chosen.seed,
        version=__version__,
        fail_on=chosen.fail_on,
        strict=chosen.strict,
        require_proof=chosen.require_proof,
        subjects=tuple(shown_path(each.path) or "" for each in sources),
    )
    return gathered([report])


def judged(rules: Iterable[Rule], reading: Reading) -> Iterator[Finding]:
    """What the rules find in what was read."""
    subjects: Mapping[str, tuple[Graph, ...] | tuple[Usage, ...]] = {"graph": reading.graphs, "usage": reading.usages}
    for rule in rules:
        for subject in subjects[rule.about]:
            for suspicion in merged(rule.check(subject)):
                yield finding(rule, suspicion, READ)


def silenced(finding: Finding, sources: Iterable[Source], options: Options) -> bool:
    """Whether the user has declared the finding to be intended, on its line or in the configuration."""
    patterns = [code for code, _ in silence.active()]
    patterns += select.ignored_within(finding.module.split(" (")[0], options)
    patterns += select.ignored_in(shown_path(finding.path) or "", options)
    lines = next((each.lines for each in sources if each.path == finding.path), [])
    named = select.ignores(finding.code, patterns, finding.name)
    return named or silence.silenced(finding, lines, options.require_reason)


def shown_path(path: str | None) -> str | None:
    """The path relative to the working directory where it lies below it."""
    if path is None:
        return None
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
