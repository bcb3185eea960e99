"""A test session under watch: every test is watched while it runs and judged after it is over."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
from _pytest.outcomes import OutcomeException

from regcheck.auditing import judge
from regcheck.config import select
from regcheck.core.errors import RegcheckError
from regcheck.core.finding import Severity
from regcheck.core.report import Report, counted
from regcheck.core.usage import Called, Event, Stepped
from regcheck.core.version import __version__
from regcheck.plugins import catalogue
from regcheck.probe import devices
from regcheck.report import rendered
from regcheck.suite.findings import Findings
from regcheck.suite.models import model_items
from regcheck.suite.settings import ignored_by, options_of, report_files_of
from regcheck.suite.summary import summary
from regcheck.watcher.sessions import Seen, Watch

OUTPUT = "regcheck"
"""The name under which a worker of pytest-xdist hands its findings to the controller."""


class SuiteSession:
    """The hooks of a session that runs under `--regcheck`."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._options = options_of(config)
        self._files = report_files_of(config)
        try:
            self._devices = devices.chosen(self._options.devices)
        except RegcheckError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
        self._findings = Findings(self._options, config.rootpath)
        self._ignored: dict[str, tuple[str, ...]] = {}
        self._known: set[object] = set()
        self._test_files: set[str] = set()
        self._watch = Watch(str(config.rootpath), self._test_files)
        self._watch.start()

    def pytest_unconfigure(self) -> None:
        self._watch.stop()

    def pytest_report_header(self) -> str:
        rules = counted(len(select.chosen(catalogue(), self._options)), "rule")
        return f"regcheck: {__version__}, {rules}, devices: {', '.join(self._devices)}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        try:
            self._ignored = {item.nodeid: ignored_by(item, self._options) for item in items}
        except RegcheckError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None
        self._test_files.update(str(item.path) for item in items)
        if not any("::" in each for each in self._config.args):
            items.extend(model_items(session, self._options, self._findings))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._watch.take()
        result = yield
        self._judge(item)
        return result

    def _judge(self, item: pytest.Item) -> None:
        """Judge what a test did, now that it is over; whatever goes wrong here stays here."""
        try:
            seen = self._lighter(self._watch.take(item.nodeid))
            if seen.usage.events or seen.captures or seen.skipped:
                with contextlib.redirect_stderr(io.StringIO()):
                    report = judge(seen, self._options, self._known)
                self._findings.add(self._lowered(report), item.nodeid, self._ignored.get(item.nodeid, ()))
                self._findings.models.update(dict.fromkeys(each.model_key for each in seen.captures))
        except (Exception, OutcomeException) as error:
            self._findings.miss(item.nodeid, f"judging it failed: {type(error).__name__}: {error}")

    def _lowered(self, report: Report) -> Report:
        """With what stands in test code lowered to advice: it is about stand-ins, not about the code under test."""
        findings = (
            replace(each, severity=Severity.INFO)
            if each.path is not None and self._watch.is_test_file(os.path.abspath(each.path))
            else each
            for each in report.findings
        )
        return replace(report, findings=tuple(findings))

    def _lighter(self, seen: Seen) -> Seen:
        """Without the means to measure once more what an earlier test has confirmed."""
        confirmed = self._findings.confirmed_at
        events: list[Event] = []
        optimizers = dict(seen.optimizers)
        for event in seen.usage.events:
            place = event.place and (self._findings.shown(event.place.path), event.place.line)
            if place in confirmed and isinstance(event, Called):
                event = replace(event, capture=None)
            elif place in confirmed and isinstance(event, Stepped):
                optimizers.pop(event.optimizer.key, None)
            events.append(event)
        return replace(seen, usage=replace(seen.usage, events=tuple(events)), optimizers=optimizers)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist is done: take in what it found."""
        document = getattr(node, "workeroutput", {}).get(OUTPUT)
        if document is not None:
            self._findings.merge(json.loads(document))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output[OUTPUT] = json.dumps(self._findings.to_dict())
            return
        report = self._findings.report()
        for form, path in self._files:
            path.write_text(rendered(report, form), encoding="utf-8")
        self._record_in_junit_xml(report)
        if not report.ok and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _record_in_junit_xml(self, report: Report) -> None:
        from _pytest.junitxml import xml_key

        document = self._config.stash.get(xml_key, None)
        if document is not None:
            for each in report.findings:
                proof = each.evidence.verdict.value
                document.add_global_property(f"regcheck.{each.code}", f"{each.where}: {each.message} ({proof})")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        report = self._findings.report()
        terminalreporter.section("regcheck")
        color = terminalreporter.hasmarkup
        terminalreporter.write(summary(report, self._findings, self._config.rootpath, color))
