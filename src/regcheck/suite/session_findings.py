"""The findings of a session: each once, with the tests that showed it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.coverage import Coverage
from regcheck.core.finding import Finding, Key, NotChecked
from regcheck.core.inspections import Inspection, best, left_open
from regcheck.core.report import Report, gathered, rank
from regcheck.core.suppressions import CodeSuppression
from regcheck.engine.verdict_store import Around, declared_around
from regcheck.plugins import catalogue
from regcheck.suppression.apply import report_under, shown_path
from regcheck.suppression.decide import Context, decide
from regcheck.suppression.declare import log_used


class Findings:
    """What the tests of a session showed so far. Paths are relative to `root` where they lie below it.

    `tests` names the tests that showed each finding, `where` the models that it is in, `models` the distinct models
    that were examined, `looks` the best look at each.
    """

    def __init__(self, options: Options, root: Path) -> None:
        self._options = options
        self._root = root
        self._found: dict[Key, Finding] = {}
        self._refuted: dict[Key, Finding] = {}
        self._baselined: dict[Key, Finding] = {}
        self._missed: dict[NotChecked, None] = {}
        self._subjects: dict[str, None] = {}
        self._devices: dict[str, None] = {}
        self._coverage: dict[Coverage, None] = {}
        self.tests: dict[Key, dict[str, None]] = {}
        self.where: dict[Key, dict[str, None]] = {}
        self.models: dict[str, None] = {}
        self.looks: dict[str, Inspection] = {}

    def __bool__(self) -> bool:
        shown = self._found or self._refuted or self._baselined or self._missed or self._coverage
        return bool(shown or self.models or self.looks)

    def add(
        self,
        report: Report,
        test: str = "",
        declared: Collection[CodeSuppression] = (),
        around: Around = MappingProxyType({}),
    ) -> None:
        """Take in what one test showed, but for what is declared to be intended, there or `around` its models."""
        log_used(report.suppressed_by)
        for finding in (*report.findings, *report.advice):
            context = Context(self._options, (*declared, *declared_around(finding, report, around)))
            decision = decide(finding, context)
            log_used(decision.by_code)
            if not decision.is_suppressed and finding in report.findings:
                self._add(self._at_root(finding), [test] if test else [], models_of(finding, report))
        for finding in report.refuted:
            self._refuted.setdefault(self._at_root(finding).key, self._at_root(finding))
        for finding in report.known:
            self._baselined.setdefault(self._at_root(finding).key, self._at_root(finding))
        self._missed.update(dict.fromkeys(map(self._missed_at_root, report.not_checked)))
        opened = {
            key: replace(each, open=(*map(self._missed_at_root, each.open),)) for key, each in report.looks.items()
        }
        self.looks = best([self.looks, opened])
        self._subjects.update(dict.fromkeys(report.subjects))
        self._devices.update(dict.fromkeys(report.devices))
        self._coverage.update(dict.fromkeys(report.coverage))

    def miss(self, subject: str, reason: str, what_to_do: str = "") -> None:
        """Note something that could not be judged."""
        self._missed[NotChecked(subject, reason, what_to_do)] = None

    def has(self, declared: CodeSuppression) -> bool:
        """Whether there is a finding of the kind that something declares to be intended."""
        return any(select.ignores(each.code, (declared.pattern,), each.name) for each in self._found.values())

    def shows(self, finding: Finding) -> bool:
        """Whether a finding is among these."""
        return self._at_root(finding).key in self._found

    def report(self) -> Report:
        """Everything as one report."""
        return self._report((*self._missed, *left_open(self.looks)))

    def _report(self, missed: tuple[NotChecked, ...]) -> Report:
        whole = report_under(
            self._options,
            findings=tuple(self._found.values()),
            not_checked=missed,
            refuted=tuple(self._refuted.values()),
            devices=tuple(self._devices),
            subjects=tuple(self._subjects),
            coverage=tuple(self._coverage),
            known=tuple(self._baselined.values()),
        )
        return gathered([whole])

    def to_dict(self) -> dict[str, Any]:
        """What another process needs to take it all in with `merge`."""
        report = self._report(tuple(self._missed))
        return {
            **report.to_dict(),
            "subjects": list(self._subjects),
            "known": [each.to_dict() for each in self._baselined.values()],
            "models": list(self.models),
            "looks": {structure: each.to_dict() for structure, each in self.looks.items()},
            "tests": [list(self.tests.get(each.key, ())) for each in report.findings],
            "where": [list(self.where.get(each.key, ())) for each in report.findings],
        }

    def merge(self, document: dict[str, Any]) -> tuple[Finding, ...]:
        """Take in what another process found, as its `to_dict` says it, and tell which findings are new."""
        before = set(self._found)
        shown = [Finding.from_dict(each) for each in document["findings"]]
        for finding, tests, where in zip(shown, document["tests"], document["where"], strict=True):
            self._add(finding, tests, where)
        for each in map(Finding.from_dict, document["refuted"]):
            self._refuted.setdefault(each.key, each)
        for each in map(Finding.from_dict, document["known"]):
            self._baselined.setdefault(each.key, each)
        self._missed.update(dict.fromkeys(NotChecked(**each) for each in document["not_checked"]))
        self._subjects.update(dict.fromkeys(document["subjects"]))
        self.models.update(dict.fromkeys(document["models"]))
        self.looks = best([self.looks, {key: Inspection.from_dict(each) for key, each in document["looks"].items()}])
        self._devices.update(dict.fromkeys(document["devices"]))
        self._coverage.update(dict.fromkeys(map(Coverage.from_dict, document["coverage"])))
        return tuple(each for each in shown if each.key not in before)

    def _add(self, finding: Finding, tests: Iterable[str], where: Iterable[str]) -> None:
        known = self._found.get(finding.key)
        if known is None or rank(finding) > rank(known):
            self._found[finding.key] = finding
        self.tests.setdefault(finding.key, {}).update(dict.fromkeys(tests))
        self.where.setdefault(finding.key, {}).update(dict.fromkeys(where))

    def _missed_at_root(self, each: NotChecked) -> NotChecked:
        return replace(each, path=self.shown(each.path))

    def _at_root(self, finding: Finding) -> Finding:
        return finding.at(self.shown(finding.path))

    def shown(self, path: str | None) -> str | None:
        """The path as findings show it: relative to the root where it lies below it."""
        if path is None or path.startswith("<"):
            return path
        return shown_path(os.path.abspath(path), self._root)


def models_of(finding: Finding, report: Report) -> tuple[str, ...]:
    """The names of the models that a finding of a report is about: its own word for it where it is about a usage."""
    by_usage = any(rule.code == finding.code and rule.about != "graph" for rule in catalogue())
    return (finding.module,) if by_usage else tuple(each.subject for each in report.origins_of(finding))
