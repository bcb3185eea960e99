"""One scan, top to bottom: choose and read the files, lower models and programs, run the rules, suppress, report."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.finding import Finding, NotChecked, RuleFindings
from regcheck.core.graph import Graph
from regcheck.core.join import join
from regcheck.core.progress import steps
from regcheck.core.report import Report
from regcheck.core.rule import Rule, finding, merged
from regcheck.core.starting_points import StartingPoints, Trait
from regcheck.core.usage import Usage
from regcheck.engine.rule_findings import READ, findings_in
from regcheck.engine.undecided import entries
from regcheck.files.text import text_of
from regcheck.plugins import catalogue
from regcheck.static.project import result_cache
from regcheck.static.project.context import with_context
from regcheck.static.project.discovery import files_around, python_files, read
from regcheck.static.project.files import Source
from regcheck.suppression.apply import report_on, shown_path
from regcheck.suppression.comments import MARK
from regcheck.suppression.unused import comment_uses

if TYPE_CHECKING:
    from regcheck.static.reading import EarlierReadings, Reading

ASK_A_RUN = "audit the model, which a scan does not run; or ignore the rule in these lines"
NO_FILES = "no Python files found"
WORTH_A_PROCESS = 400_000
"""The bytes of source for which a process is started: analyzing as much takes about a second."""


def scan(
    paths: Iterable[str | Path],
    options: Options | Mapping[str, Any] | None = None,
    *,
    cached: bool = False,
    stored: bool = True,
    jobs: int = 1,
) -> Report:
    """Check Python source without importing it, and without torch.

    Args:
        paths: files and folders.
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `exclude`, `fail_on`, …).
        cached: reuse what earlier scans have read and found in these files.
        stored: with `cached`, also store it for later scans.
        jobs: the limit on the number of processes. Few files are scanned in one.

    Raises:
        UsageError: a path that does not exist, an unknown option or rule code.
    """
    chosen = Options.of(options)
    paths = [paths] if isinstance(paths, (str, Path)) else paths
    return scan_with(paths, chosen, select.chosen(catalogue(), chosen), cached, stored, jobs)


def files_to_scan(paths: Iterable[str | Path], options: Options) -> list[Path]:
    """The files and notebooks at and below `paths`, without those that the options exclude.

    Raises:
        UsageError: a path that does not exist.
    """
    return [*python_files(paths, (*options.exclude, *options.extend_exclude), force=options.force_exclude)]


def scan_with(
    paths: Iterable[str | Path],
    options: Options,
    rules: Sequence[Rule],
    cached: bool = False,
    stored: bool = True,
    jobs: int = 1,
) -> Report:
    """Scan the source at `paths` with the given rules."""
    wanted = dict.fromkeys(map(Path, paths))
    sources: list[Source] = []
    unread: list[NotChecked] = []
    files = files_to_scan(wanted, options)
    excludes = options.exclude or options.extend_exclude
    if not files and not (excludes and any(python_files(wanted))):
        unread.append(NotChecked(" ".join(map(str, wanted)), NO_FILES, "name the files and folders to scan"))
    for path in files:
        content = read(path)
        if isinstance(content, NotChecked):
            unread.append(content)
        elif content is not None:
            sources.append(Source(str(path), content, path in wanted))
    project, not_followed = in_project(sources)
    unread += not_followed
    result = cached_result(project, rules, jobs, stored) if cached else fresh_result(project, rules, jobs)
    result = about(result, {each.path for each in sources})
    findings = [*result.findings, *unused_ignores(rules, sources, (*result.findings, *result.undecided), options)]
    findings.sort(key=lambda each: each.severity, reverse=True)  # of two findings on one line the worse is reported
    subjects = tuple(shown_path(str(each)) or "" for each in files)
    undecided = entries(result.undecided, result.findings, options, ASK_A_RUN)
    missed = (*unread, *result.not_checked, *undecided)
    report = report_on(findings, missed, options, subjects=subjects, live=False)
    report = join([replace(report, coverage=result.coverage, files=len(files))])
    if not report.findings:
        return report
    from regcheck.static.fixes.patches import with_patches

    return with_patches(report, rules, {shown_path(each.path): each for each in sources})


def in_project(sources: Sequence[Source]) -> tuple[list[Source], list[NotChecked]]:
    """The sources and the other files of their project that their findings depend on, in the order of the folders."""
    around = {path: place for place, path in enumerate(files_around([each.path for each in sources]))}
    scanned = {each.file for each in sources}
    contents = ((path, read(path)) for path in around if path not in scanned)
    others = [Source(shown_path(str(path)) or "", each) for path, each in contents if isinstance(each, bytes)]
    together, left_out = with_context(sources, others) if others else ([*sources], 0)
    together.sort(key=lambda each: around.get(each.file, len(around)))
    if not left_out:
        return together, []
    reason = f"{left_out} more files of the project use the files that are scanned"
    return together, [NotChecked("callers", reason, "scan the project's folder")]


def about(result: result_cache.Result, paths: Collection[str]) -> result_cache.Result:
    """The part of a result that is about the files with these paths."""
    shown = {shown_path(each) for each in paths}
    return result_cache.Result(
        tuple(each for each in result.findings if each.path in paths),
        tuple(each for each in result.undecided if each.path in paths),
        tuple(each for each in result.not_checked if each.path in paths),
        tuple(each for each in result.coverage if each.subject in shown),
    )


def cached_result(
    sources: Sequence[Source], rules: Sequence[Rule], jobs: int = 1, stored: bool = True
) -> result_cache.Result:
    """The result of an earlier scan of the same files with the same rules, or else a fresh one, which may be stored."""
    name = result_cache.digest(sources, rules)
    result = result_cache.load(name)
    if result is None:
        result = fresh_result(sources, rules, jobs, cached=True, stored=stored)
        if stored and result.complete:
            result_cache.store(name, result)
    return result


def fresh_result(
    sources: Sequence[Source], rules: Sequence[Rule], jobs: int = 1, cached: bool = False, stored: bool = True
) -> result_cache.Result:
    """Lower the sources, and run the rules on their models and programs; `cached`: copy the readings of files."""
    with collection_paused():
        reading = reading_of(sources, rules, jobs, cached, stored)
        findings, undecided = findings_of(rules, reading)
    unread = tuple(each.unread for each in sources if each.unread)
    not_checked = (*unread, *reading.not_checked)
    return result_cache.Result(findings, undecided, not_checked, tuple(coverage_of(reading)), reading.complete)


def reading_of(
    sources: Sequence[Source], rules: Sequence[Rule], jobs: int, cached: bool, stored: bool = True
) -> Reading:
    """The models and programs of the sources, read by up to `jobs` processes, or what the cache says that is in them.

    Few files are read in one process: each costs more than it saves. From one file alone nothing could be copied.
    """
    from regcheck.static.analyze import read_parts
    from regcheck.static.project.names import Project
    from regcheck.static.reading import Reading

    project = Project(sources, StartingPoints.of(rule.begins_at for rule in rules))
    earlier: EarlierReadings | None = None
    if cached and len(sources) > 1 and not any(rule.reads_use for rule in rules):
        from regcheck.static.reading_cache import ReadingCache

        cache = ReadingCache(project, rules)
        earlier = cache.load()
    if Trait.UNCALLED in project.starts:  # any file may call a layer: each process would parse all of them
        jobs = 1
    copied = earlier.classes if earlier is not None else {}
    size = sum(len(each.content) for each in project.relevant if each.path not in copied) if jobs > 1 else 0
    if min(jobs, size // WORTH_A_PROCESS) > 1:
        from regcheck.static.processes import read_parts_in_processes

        parts = read_parts_in_processes(project, min(jobs, size // WORTH_A_PROCESS), earlier)
    else:
        parts = read_parts(project, earlier)
    if earlier is not None:
        from regcheck.engine.check_readings import check_parts

        parts = check_parts(parts, rules)
        if stored:
            cache.store(parts)
    return Reading.of(parts)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause garbage collection, which would traverse all live syntax trees again and again.

    Afterwards all objects belong to the oldest generation, unless the program has frozen objects: nothing is traversed
    until a full collection is due.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def findings_of(rules: Iterable[Rule], reading: Reading) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """The findings of the rules about models and programs, and the questions that they leave undecided."""
    rule_findings: list[RuleFindings] = []
    for rule in steps(rules, lambda rule: f"checking {rule.code}"):
        rule_findings += [each[rule.code] for each in reading.findings if rule.code in each]
        rule_findings += [findings_in(rule, *subject) for subject in subjects_of(rule, reading)]
    findings = tuple([each for one in rule_findings for each in one.findings])
    return findings, tuple([each for one in rule_findings for each in one.undecided])


def subjects_of(rule: Rule, reading: Reading) -> Iterable[tuple[Graph | Usage, ...]]:
    """The arguments of each call of a rule's `check`."""
    match rule.about:
        case "graph":
            return [(graph,) for graph in reading.graphs]
        case "usage":
            return [(usage,) for usage in reading.usages]
        case "graph and usage":
            return reading.pairs()
    return []


def coverage_of(reading: Reading) -> Iterator[Coverage]:
    """How many of the model classes of each file were followed."""
    missed = {(each.path, each.line) for each in reading.not_checked}
    files: dict[str, list[tuple[str, bool]]] = {}
    for name, place in reading.classes:
        files.setdefault(place.path, []).append((name, (place.path, place.line) not in missed))
    for path, classes in files.items():
        unread = tuple(name for name, followed in classes if not followed)
        modes = ("train", "eval")
        yield Coverage(
            shown_path(path) or "", "source", "", modes, len(classes), len(classes) - len(unread), opaque=unread
        )


def unused_ignores(
    rules: Iterable[Rule], sources: Iterable[Source], fresh_result: Sequence[Finding], options: Options
) -> Iterator[Finding]:
    """What the rules about ignores find in the comments of the sources, given what the other rules found."""
    chosen = [rule for rule in rules if rule.about == "ignores"]
    for source in sources if chosen else ():
        if MARK.encode() not in source.content:
            continue
        there = [each for each in fresh_result if each.path == source.path]
        ignores = comment_uses(source.path, text_of(source.path), there, catalogue(), options)
        for rule in chosen:
            yield from (finding(rule, each, READ) for each in merged(rule.check(ignores)))
