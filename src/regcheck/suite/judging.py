"""The process that runs tests: every test is watched while it runs and judged after it is over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from regcheck.core.errors import RegcheckError, format_error
from regcheck.core.finding import Severity
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.engine.verdict_store import VerdictStore
from regcheck.import_hook import ImportHook
from regcheck.suite.auditor import CHECKED
from regcheck.suite.declarations import DeclarationStatus, noted_as
from regcheck.suite.session_findings import Findings
from regcheck.suite.settings import declared_by, options_of
from regcheck.suite.worker_transfer import Message
from regcheck.suppression.declare import SuppressionLog, class_declarations, open_log

if TYPE_CHECKING:
    from regcheck.engine.audit import Run
    from regcheck.runtime.recorder import EventRecorder, Observation

_DECLARED: pytest.StashKey[tuple[CodeSuppression, ...]] = pytest.StashKey()


class TestMonitor:
    """The hooks around each test. What a test showed is handed over as a message (see `message`)."""

    def __init__(self, config: pytest.Config, hand_over: Callable[[Message], None]) -> None:
        self._config = config
        self._hand_over = hand_over
        self._options = options_of(config, watched=True)
        self._memory = VerdictStore()
        self._outcomes: set[str] = set()
        self._test_files: set[str] = set()
        self._watch: EventRecorder | None = None
        self._trouble = ""
        self._torch = ImportHook("torch", self._begin)
        self._torch.install()

    def _begin(self) -> None:
        """Begin to watch, now that the suite has imported torch: where, and under which filters, is its choice."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from regcheck.runtime.recorder import EventRecorder

                self._watch = EventRecorder(str(self._config.rootpath), self._test_files)
                self._watch.start()
        except Exception as error:
            self._trouble = f"watching could not begin: {format_error(error)}"

    def pytest_unconfigure(self) -> None:
        self._torch.remove()
        if self._watch is not None:
            self._watch.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        try:
            for item in items:
                item.stash[_DECLARED] = declared_by(item, self._options)
        except RegcheckError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
        self._test_files.update(str(item.path) for item in items)

    def pytest_deselected(self) -> None:
        self._hand_over({"partial": True})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes.add(report.outcome)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        if self._watch is not None:
            self._watch.drain()
        self._outcomes.clear()
        with open_log(SuppressionLog()) as notes:
            result = yield
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._judge(item, notes)
        return result

    @cached_property
    def _run(self) -> Run:
        from regcheck.engine.audit import Run

        return replace(Run.of(self._options, watched=True), memory=self._memory)

    def _judge(self, item: pytest.Item, notes: SuppressionLog) -> None:
        """Judge what a test did, now that it is over, and hand it over; whatever goes wrong here stays here."""
        shown = Findings(self._options, self._config.rootpath)
        blocks = [each for each in notes.entered if self._is_test(each.place.path)]
        intended = (*item.stash.get(_DECLARED, ()), *blocks)
        met: set[CodeSuppression] = {*intended, *notes.entered}
        conclusive = self._outcomes == {"passed"}
        try:
            if self._watch is not None:
                seen = self._watch.drain(item.nodeid)
                for measured, report in self._reports(seen):
                    conclusive = conclusive and not report.not_checked
                    self._memory.remember(report)
                    shown.add(report, item.nodeid, intended, seen.structures)
                    self._memory.note(filter(shown.shows, measured.findings))
                for report in self._memory.shown_again(seen.structures):
                    shown.add(report, item.nodeid, intended, seen.structures)
                captured = dict.fromkeys(each.model_key for each in seen.captures)
                shown.models.update(dict.fromkeys(each for each in captured if not self._memory.is_unseen(each)))
                for structure in filter(self._memory.is_due, captured):
                    self._watch.capture_again(structure)
                met |= {each for capture in seen.captures for each in declared_in(capture.model)}
                conclusive = conclusive and not self._memory.unclear(seen.structures)
            if self._trouble:
                shown.miss(item.nodeid, self._trouble, "please report this")
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            shown.miss(item.nodeid, f"judging it failed: {format_error(error)}", "please report this")
            conclusive = False
        for asked in item.stash.get(CHECKED, ()):
            conclusive = conclusive and not asked.report.not_checked
            shown.add(self._expected(asked.report), item.nodeid, intended)
            shown.models.update(dict.fromkeys(filter(None, [asked.model_key])))
        unheard = {each for each in notes.entered if shown.has(each)}
        fates = {
            each: DeclarationStatus.IDLE if conclusive and each not in unheard else DeclarationStatus.OPEN
            for each in met
        }
        fates.update(dict.fromkeys(notes.used, DeclarationStatus.USED))
        if shown or fates:
            ignores = noted_as(fates, self._is_test)
            self._hand_over({"test": item.nodeid, "shown": shown.to_dict(), "ignores": ignores})

    def _expected(self, report: Report) -> Report:
        """What a test asked for; in one that passed all the same, what would fail the run is lowered to advice."""
        if "failed" in self._outcomes:
            return report
        options = self._options
        failing = replace(report, fail_on=options.fail_on, fail_on_unproven=options.fail_on_unproven).failures
        lowered = (replace(each, severity=Severity.INFO) if each in failing else each for each in report.findings)
        return replace(report, findings=tuple(lowered))

    def _reports(self, seen: Observation) -> Iterator[tuple[Report, Report]]:
        """What a test's watched calls show: as it was measured, and as it is shown."""
        if seen.usage.events or seen.captures or seen.skipped or seen.uncaptured:
            report = self._run.seen(seen)
            yield report, self._lowered(report)

    def _lowered(self, report: Report) -> Report:
        """With what stands in test code lowered to advice: it is about stand-ins, not about the code under test."""
        findings = (
            replace(each, severity=Severity.INFO) if each.path is not None and self._is_test(each.path) else each
            for each in report.findings
        )
        return replace(report, findings=tuple(findings))

    def _is_test(self, path: str) -> bool:
        path = path if path.startswith("<doctest ") else os.path.abspath(path)
        known = path in self._test_files if self._watch is None else self._watch.is_test_file(path)
        return known or path.startswith("<doctest ")


def declared_in(model: Any) -> set[CodeSuppression]:
    """What the classes ignore that a model is made of."""
    return {each for module in model.modules() for each in class_declarations(module)}
