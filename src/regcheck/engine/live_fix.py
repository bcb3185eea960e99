"""Fix findings that measurements confirmed: apply patches in memory, measure again, and keep what removes a finding.

A fresh process measures again, with the changed source. A patch is offered where the finding's line is in the user's
project. It is applied where the file is as the measured program imported it, and where it conflicts with no other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from regcheck.core.coverage import Coverage
from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.core.rule import Rule
from regcheck.engine.fix import CannotCompare, Examine, FixResult, fix_findings, may_apply
from regcheck.engine.fixed_lines import FixedLine
from regcheck.engine.fresh_process import Died
from regcheck.files.text import content_of, overlay
from regcheck.lazy_dataclass import dataclass
from regcheck.runtime.project_files import ProjectFiles
from regcheck.static.fixes.patches import conflict, with_patches
from regcheck.static.project.files import Source


@dataclass(frozen=True)
class LiveFixes:
    """Offers and applies patches for the findings of a run of models.

    Args:
        rules: the rules of the run.
        root: the project's folder; relative paths of findings are relative to the working directory.
        since: the time before the run imported anything, in nanoseconds since the epoch.
        unsafe: whether to apply unsafe patches too.
    """

    rules: Collection[Rule]
    root: str
    since: int
    unsafe: bool = False

    def offered(self, report: Report) -> Report:
        """The report with patches for its confirmed findings in the project's files."""
        files = ProjectFiles(self.root)
        sources: dict[str | None, Source] = {}
        confirmed = set()
        for each in report.findings:
            if each.path is None or not each.is_confirmed:
                continue
            if each.path in files and os.path.isfile(each.path):
                confirmed.add(each.key)
                sources.setdefault(each.path, Source(each.path, content_of(each.path)))
        report = with_patches(report, self.rules, sources)
        return _without_patches(report, lambda each: each.key not in confirmed)

    def applied(self, report: Report, examine: Examine) -> FixResult:
        """Apply the patches that a report offers; writes nothing.

        Args:
            report: the findings with their patches.
            examine: examines the same subject in a fresh process; may raise `Died`.
        """
        refused: dict[str, str] = {}

        def applicable(offered: Report) -> Report:
            refused.update(self._refused(offered))
            return _without_patches(offered, lambda each: each.path in refused)

        def examined(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
            try:
                again = examine(contents, lines)
            except Died as error:
                raise CannotCompare(f"with the fix it could not be run: {error}") from None
            refuse_incomparable(report, again, contents)
            with overlay(contents):
                return applicable(self.offered(again))

        result = fix_findings(applicable(report), examined, unsafe=self.unsafe)
        result.refused = {**refused, **result.refused}
        return result

    def _refused(self, report: Report) -> dict[str, str]:
        """The files that no patch may change, and why."""
        by_path: dict[str, list[Finding]] = {}
        for each in report.findings:
            if each.path and may_apply(each, self.unsafe):
                by_path.setdefault(each.path, []).append(each)
        refused = {path: why for path, fixes in by_path.items() if (why := _conflicting(fixes))}
        changed = (path for path in by_path if os.stat(path).st_mtime_ns > self.since)
        return refused | dict.fromkeys(changed, "it has changed since it was imported")


def _without_patches(report: Report, where: Callable[[Finding], bool]) -> Report:
    return replace(
        report, findings=tuple(replace(each, patch=None) if where(each) else each for each in report.findings)
    )


def _conflicting(findings: Iterable[Finding]) -> str:
    """The findings of a file whose patches conflict, in words; empty if none do."""
    for one, other in combinations(findings, 2):
        if one.patch and other.patch and one.cell == other.cell and conflict(one.patch, other.patch):
            return f"the fixes of {one.code} in line {one.line} and {other.code} in line {other.line} conflict"
    return ""


def refuse_incomparable(before: Report, after: Report, changed: Collection[str]) -> None:
    """Check that a report on changed files covers what the report before covers, and finds nothing new elsewhere.

    Raises:
        CannotCompare: it does not, and why.
    """
    missed = {each.subject for each in before.not_checked}
    for each in after.not_checked:
        if each.subject not in missed:
            raise CannotCompare(f"with the fix {each.subject} is not checked: {each.reason}")
    covered = {each.subject: each for each in after.coverage}
    for coverage in before.coverage:
        if not _covers(covered.get(coverage.subject), coverage):
            raise CannotCompare(f"with the fix less of {coverage.subject} is checked")
    were, are = (Counter((each.code, each.path) for each in report.findings) for report in (before, after))
    for code, path in are - were:
        if path not in changed:
            raise CannotCompare(f"with the fix {code} appears in {path or 'the model'}")


def _covers(after: Coverage | None, before: Coverage) -> bool:
    return after is not None and after.how == before.how and after.traced >= before.traced
