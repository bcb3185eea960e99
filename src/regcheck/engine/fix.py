"""Fix findings: apply patches in memory, examine the subject again, and keep the changes that this confirms."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.finding import Evidence, Finding, Key
from regcheck.core.patch import Patch
from regcheck.core.report import Report
from regcheck.engine.fixed_lines import FixedLine
from regcheck.engine.moved_lines import LineMap, in_moved_lines
from regcheck.engine.scan import scan
from regcheck.files.atomic_write import write_atomically
from regcheck.files.escape import visible
from regcheck.files.text import content_of, is_overlaid, overlay
from regcheck.lazy_dataclass import dataclass
from regcheck.static.fixes.patches import CannotFix, apply_patches

PASSES = 50
"""Limit on passes: overlapping patches need one pass each."""


@dataclass
class FixResult:
    """The report on the remaining findings, and the contents of the files that change.

    `removed` are the findings that the changes remove; `again` holds by their keys what a second measurement in their
    lines says, where one could be made; `refused` maps a file in which a change was not made to the reason.
    """

    report: Report
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)
    removed: list[Finding] = field(default_factory=list)
    again: dict[Key, Evidence] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def fixed(self) -> int:
        """The number of findings that the changes remove."""
        return len(self.removed)

    def diff(self) -> Iterator[str]:
        """Yields the lines of a unified diff of all changes."""
        for path, content in sorted(self.after.items()):
            old, new = map(_lines, (self.before[path], content))
            for line in difflib.unified_diff(old, new, visible(path), visible(path)):
                text, ended, _ = line.partition("\n")
                end = "\r\n" if text.endswith("\r") else "\n"
                shown = text[:1] + visible(text[1:].removesuffix("\r"), "\t\f") + end
                yield shown if ended else f"{shown}\\ No newline at end of file\n"

    def moved(self, report: Report) -> Report:
        """A report on the files before the changes, with its lines where they stand after them."""
        lines = {path: LineMap(self.before[path], content) for path, content in self.after.items()}
        return in_moved_lines(report, lines)

    def write(self) -> None:
        """Write the files that change, each in one step.

        Raises:
            UsageError: a file cannot be written, or has changed since it was examined.
        """
        for path, content in self.after.items():
            if not is_overlaid(path):
                _replace(Path(path), self.before[path], content)


def _lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))


class CannotCompare(Exception):
    """With the changes the subject could not be examined as it was without them; the message says why."""


Examine = Callable[[Mapping[str, bytes], Sequence[FixedLine]], Report]
"""Examines the subject as if files had these contents, and measures in these lines; may raise `CannotCompare`."""


def fix_paths(paths: Iterable[str | Path], options: Options, *, unsafe: bool = False) -> FixResult:
    """Scan, and apply safe patches (with `unsafe`, all) in as many passes as needed; writes nothing."""
    paths = list(paths)

    def examine(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
        with overlay(contents):
            return scan(paths, options)

    return fix_findings(scan(paths, options), examine, unsafe=unsafe)


def fix_findings(report: Report, examine: Examine, *, unsafe: bool = False) -> FixResult:
    """Apply the safe patches (with `unsafe`, all) of a report in as many passes as needed; writes nothing.

    Args:
        report: the findings, and their patches.
        examine: makes such a report of the subject with changed files.
        unsafe: whether to apply unsafe patches too.
    """
    result = FixResult(report)
    trial = _Trial()
    for _ in range(PASSES):
        changed, done = _pass(result, trial, unsafe)
        if not changed:
            break
        try:
            lines = _lines_after(done)
            report = examine({**result.after, **changed}, [*lines.values()])
            every = ((path, _objection(path, done[path], result.report, report)) for path in changed)
            objections = {path: why for path, why in every if why}
        except CannotCompare as error:
            if len(changed) > 1:
                trial.by_file = True
                continue
            objections = dict.fromkeys(changed, str(error))
        for path, why in objections.items():
            trial.note(path, done[path])
            if len(done[path]) == 1:
                result.refused[path] = f"{done[path][0].code}: {why}"
        if objections:
            # The next pass applies the other patches alone, and examines the subject again.
            continue
        result.after |= changed
        result.removed += (each for some in done.values() for each in some)
        again = {key: each for key, line in lines.items() for each in report.refuted if line.is_of(each)}
        result.again |= {key: each.evidence for key, each in again.items()}
        result.report = replace(report, refuted=tuple(each for each in report.refuted if each not in again.values()))
    return result


@dataclass
class _Trial:
    """The files whose patches do not help together, which are tried one at a time, and the patches that do not help.

    `by_file`: the changes of several files do not allow a comparison, so that one file changes at a time.
    """

    by_file: bool = False
    alone: set[str] = field(default_factory=set)
    useless: set[tuple[str, Patch]] = field(default_factory=set)

    def note(self, path: str, done: list[Finding]) -> None:
        """Remember patches of a file after which findings remain."""
        self.alone.add(path)
        if len(done) == 1 and done[0].patch is not None:
            self.useless.add((path, done[0].patch))

    def chosen(self, path: str, findings: list[Finding]) -> list[Finding]:
        """The findings of a file to fix together; the last one where they are tried alone, so that no line moves."""
        helpful = [each for each in findings if each.patch and (path, each.patch) not in self.useless]
        return helpful[-1:] if path in self.alone else helpful


def _pass(result: FixResult, trial: _Trial, unsafe: bool) -> tuple[dict[str, bytes], dict[str, list[Finding]]]:
    """Returns the new contents after one round of patches, by file, and the findings that they fix."""
    changed: dict[str, bytes] = {}
    done: dict[str, list[Finding]] = {}
    by_path: dict[str, list[Finding]] = {}
    for each in result.report.findings:
        if each.path and may_apply(each, unsafe):
            by_path.setdefault(each.path, []).append(each)
    for path, candidates in by_path.items():
        findings = trial.chosen(path, candidates)
        if not findings or (trial.by_file and changed):
            continue
        try:
            content = result.after[path] if path in result.after else content_of(path)
            result.before.setdefault(path, content)
            patches: dict[int | None, list[Patch]] = {}
            for each in findings:
                if each.patch is not None:
                    patches.setdefault(each.cell, []).append(each.patch)
            changed[path], applied_patches = apply_patches(content, patches, path)
            done[path] = [each for each in findings if any(each.patch is patch for patch in applied_patches)]
        except (CannotFix, OSError) as error:
            trial.useless |= {(path, each.patch) for each in candidates if each.patch}
            result.refused[path] = str(error)
    return changed, done


def _lines_after(done: Mapping[str, Sequence[Finding]]) -> dict[Key, FixedLine]:
    """The lines of findings by their keys, after the patches of all findings in their file."""
    lines: dict[Key, FixedLine] = {}
    for findings in done.values():
        edits = [edit for each in findings if each.patch for edit in each.patch.edits]
        lines |= {each.key: line for each in findings if (line := FixedLine.of(each, edits))}
    return lines


def may_apply(finding: Finding, unsafe: bool) -> bool:
    """Whether a finding has a patch that is safe, or any with `unsafe`."""
    return finding.patch is not None and (finding.patch.safe or unsafe)


def objection_to(finding: Finding, before: Report, options: Options) -> str:
    """Why to refuse the patch of a finding in a report on its file; empty if a scan confirms that it helps."""
    path = finding.path
    if path is None or finding.patch is None:
        return "there is no patch"
    try:
        changed, _ = apply_patches(content_of(path), {finding.cell: [finding.patch]}, path)
    except (CannotFix, OSError) as error:
        return str(error)
    with overlay({path: changed}):
        return _objection(path, [finding], before, scan([path], options))


def _objection(path: str, done: Iterable[Finding], before: Report, after: Report) -> str:
    """Returns why to refuse the change of a file; empty if its findings are gone and no others appeared."""
    if path in {each.path for each in after.not_checked} - {each.path for each in before.not_checked}:
        return "with the fix it could not be read"
    were, are = (Counter(each.code for each in report.findings if each.path == path) for report in (before, after))
    were.subtract(each.code for each in done)
    if any(are[code] > were[code] for code in are):
        return "with the fix the finding remains, or another appears"
    return ""


def _replace(path: Path, before: bytes, after: bytes) -> None:
    """Replace a file's content in one step; the file keeps its permissions, and a symbolic link stays one."""
    file = path.resolve()
    try:
        if file.read_bytes() != before:
            raise UsageError(f"{path}: has changed since it was examined; it was not written")
        write_atomically(file, after)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
