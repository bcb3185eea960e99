"""The process that runs tests: record each test, and examine it when it is over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest

from regcheck.core.errors import RegcheckError, format_error
from regcheck.core.finding import Finding, NotChecked, Severity
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.session.ledger import Ledger
from regcheck.session.recording import DeferredRecorder
from regcheck.session.session import Session
from regcheck.suite.auditor import REQUESTED
from regcheck.suite.declarations import DeclarationStatus, DeclarationUse
from regcheck.suite.settings import declared_by, options_of
from regcheck.suite.worker_transfer import Message
from regcheck.suppression.declare import SuppressionLog, class_declarations, open_log

IMPORTS = "imports"
"""The name of what runs while test files are imported."""

_DECLARED: pytest.StashKey[tuple[CodeSuppression, ...]] = pytest.StashKey()


class TestMonitor:
    """The hooks around each test."""

    def __init__(self, config: pytest.Config, send: Callable[[Message], None]) -> None:
        self._root = config.rootpath
        self._send = send
        self._options = options_of(config, watched=True)
        self._outcomes: set[str] = set()
        self._test_files: set[str] = set()
        self._session = Session(self._options, self._root)
        self._recording = DeferredRecorder(str(self._root), self._test_files)
        self._recording.start()

    def pytest_unconfigure(self) -> None:
        self._recording.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        try:
            for item in items:
                item.stash[_DECLARED] = declared_by(item, self._options)
        except RegcheckError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
        self._test_files.update(str(item.path) for item in items)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Examine what ran as test files were imported: a script without a guard trains when it is imported."""
        ledger = Ledger(self._options, self._root)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not session.config.option.collectonly:
                self._examine_recorded(IMPORTS, (), ledger)
        if ledger:
            self._send(Message(IMPORTS, ledger))

    def pytest_deselected(self) -> None:
        self._send(Message("", Ledger(self._options, self._root)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes.add(report.outcome)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._recording.drain()
        self._outcomes.clear()
        with open_log(SuppressionLog()) as log:
            result = yield
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._examine(item, log)
        return result

    def _examine(self, item: pytest.Item, log: SuppressionLog) -> None:
        """Examine a test that is over, and send the result; an error here never reaches the test."""
        ledger, is_conclusive = Ledger(self._options, self._root), self._outcomes == {"passed"}
        declared = (*item.stash.get(_DECLARED, ()), *(each for each in log.entered if self._is_test(each.place.path)))
        concerned = dict.fromkeys((*declared, *log.entered))
        ends_clear, of_classes = self._examine_recorded(item.nodeid, declared, ledger)
        is_conclusive = is_conclusive and ends_clear
        concerned.update(of_classes)
        for requested in item.stash.get(REQUESTED, ()):
            is_conclusive = is_conclusive and not requested.report.not_checked
            ledger.add_report(self._lower_in_passed(requested.report), item.nodeid, declared)
            ledger.structures.update(dict.fromkeys(filter(None, [requested.model_key])))
        uses = []
        for each in dict.fromkeys((*concerned, *log.used)):
            is_idle = is_conclusive and not (each in log.entered and ledger.has_kind(each))
            status = DeclarationStatus.IDLE if is_idle else DeclarationStatus.OPEN
            if each in log.used:
                status = DeclarationStatus.USED
            uses.append(DeclarationUse(each, status, self._is_test(each.place.path)))
        if ledger or uses:
            self._send(Message(item.nodeid, ledger, tuple(uses)))

    def _examine_recorded(
        self, subject: str, declared: tuple[CodeSuppression, ...], ledger: Ledger
    ) -> tuple[bool, dict[CodeSuppression, None]]:
        """Examine what was recorded since the last time, and add what it shows to the ledger.

        Returns whether nothing is left open, and the declarations of the classes of models that ran.
        """
        is_conclusive, of_classes = True, dict[CodeSuppression, None]()
        try:
            observation = self._recording.drain(subject)
            if observation is not None:
                piece = self._session.examine(observation, subject, declared, self._lower_in_tests)
                ledger.merge(piece.ledger)
                self._recording.capture_again(piece.due)
                is_conclusive = piece.is_conclusive
                modules = (module for capture in observation.captures for module in capture.model.modules())
                of_classes.update(dict.fromkeys(each for module in modules for each in class_declarations(module)))
            ledger.add_missed(self._recording.missed(subject))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            reason = f"judging it failed: {format_error(error)}"
            ledger.add_missed([NotChecked(subject, reason, "please report this")])
            is_conclusive = False
        return is_conclusive, of_classes

    def _lower_in_passed(self, report: Report) -> Report:
        """A report that a test requested; if the test passed all the same, with advice in place of failures."""
        if "failed" in self._outcomes:
            return report
        options = self._options
        failing = replace(report, fail_on=options.fail_on, fail_on_unproven=options.fail_on_unproven).failures
        lowered = (replace(each, severity=Severity.INFO) if each in failing else each for each in report.findings)
        return replace(report, findings=tuple(lowered))

    def _lower_in_tests(self, finding: Finding) -> Finding:
        """A finding in test code as advice: it is about stand-ins, not about the code under test."""
        in_test = finding.path is not None and self._is_test(finding.path)
        return replace(finding, severity=Severity.INFO) if in_test else finding

    def _is_test(self, path: str) -> bool:
        return path.startswith("<doctest ") or self._recording.is_test_file(os.path.abspath(path))
