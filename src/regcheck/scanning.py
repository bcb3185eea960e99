"""One scan, told top to bottom: choose the files, read them, lower models and programs, judge, silence, report."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.config.outcome import outcome, shown_path
from regcheck.core.finding import Evidence, Finding, NotChecked, Verdict
from regcheck.core.graph import Graph
from regcheck.core.report import Report, gathered
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.usage import Usage
from regcheck.plugins import catalogue
from regcheck.source import cache
from regcheck.source.files import Source
from regcheck.source.walk import python_files, read

if TYPE_CHECKING:
    from regcheck.source.reading import Reading

READ = Evidence(Verdict.UNMEASURED, because="read from the source, not run")


def scan(
    paths: Iterable[str | Path], options: Options | Mapping[str, Any] | None = None, *, cached: bool = False
) -> Report:
    """Check Python source without importing it, and without torch.

    Args:
        paths: files and folders.
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `exclude`, `fail_on`, …).
        cached: take the result of an earlier scan of the very same files where there is one, and keep this one's.

    Raises:
        UsageError: a path that does not exist, an unknown option or rule code.
    """
    chosen = Options.of(options)
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    return scanned(paths, chosen, select.chosen(catalogue(), chosen), cached)


def scanned(paths: Iterable[str | Path], options: Options, rules: Sequence[Rule], cached: bool = False) -> Report:
    """What the given rules find in the source at `paths`."""
    wanted = dict.fromkeys(map(Path, paths))
    sources: list[Source] = []
    unread: list[NotChecked] = []
    for path in python_files(wanted, options.exclude):
        content = read(path)
        if isinstance(content, NotChecked):
            unread.append(content)
        elif content is not None:
            sources.append(Source(str(path), content, path in wanted))
    findings, missed = looked_up(sources, rules) if cached else found(sources, rules)
    subjects = tuple(shown_path(each.path) or "" for each in sources)
    return gathered([outcome(findings, (*unread, *missed), options, subjects=subjects)])


def looked_up(sources: Sequence[Source], rules: Sequence[Rule]) -> cache.Result:
    """What the rules find, from an earlier scan of the same files where there is one."""
    name = cache.digest(sources, rules)
    result = cache.kept(name)
    if result is None:
        result = found(sources, rules)
        cache.keep(name, result)
    return result


def found(sources: Sequence[Source], rules: Sequence[Rule]) -> cache.Result:
    """What the rules find, and what could not be read or followed."""
    from regcheck.source.names import Project
    from regcheck.source.reading import lowered

    with uncollected():
        reading = lowered(Project(sources))
        findings = tuple(judged(rules, reading))
    return findings, (*(each.unread for each in sources if each.unread), *reading.not_checked)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collection, which would look through all the syntax trees, that live on, again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def judged(rules: Iterable[Rule], reading: Reading) -> Iterator[Finding]:
    """What the rules find in what was read."""
    subjects: Mapping[str, tuple[Graph, ...] | tuple[Usage, ...]] = {"graph": reading.graphs, "usage": reading.usages}
    for rule in rules:
        for subject in subjects[rule.about]:
            for suspicion in merged(rule.check(subject)):
                yield finding(rule, suspicion, READ)
