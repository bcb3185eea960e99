"""A test session under `--regcheck`: gather what its tests showed, print it, write it, and set the exit code."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from regcheck.core.errors import RegcheckError, UsageError
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.report import Report
from regcheck.core.version import __version__
from regcheck.files.escape import escape_unencodable
from regcheck.report.view import View, text_width
from regcheck.session import last_run
from regcheck.session.ledger import Ledger
from regcheck.suite.configured_models import PREFIX
from regcheck.suite.declarations import Declarations
from regcheck.suite.exports import Cases, commands, in_github_actions, write_report
from regcheck.suite.monitor import TestMonitor
from regcheck.suite.progress_line import ProgressLine, StepAnnouncer
from regcheck.suite.settings import options_of, report_files_of
from regcheck.suite.worker_transfer import Inbox, Message, StepChannel, is_worker, sender
from regcheck.suppression.apply import report_on

if TYPE_CHECKING:
    from regcheck.engine.fix import FixResult

_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
_EARLY: dict[int, str] = {
    pytest.ExitCode.INTERRUPTED: "it was interrupted",
    pytest.ExitCode.INTERNAL_ERROR: "pytest failed",
    pytest.ExitCode.USAGE_ERROR: "pytest was used wrongly",
}
"""How a session ends early; a test or a plugin asks for any other exit code."""

_SUMMED_UP = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.USAGE_ERROR)
"""After these exit codes pytest itself prints the summary, as after those of a whole session."""

_CUT_OFF = "it did not come to its end"
"""A report file says so until the session ends, and for ever where the process dies."""


def begin(config: pytest.Config) -> None:
    """Register what this process does: run tests under watch, gather what they show, or both."""
    manager = config.pluginmanager
    if is_worker(config):
        manager.register(TestMonitor(config, sender(config)), "regcheck-watching")
        manager.register(StepAnnouncer(StepChannel(config)), "regcheck-steps")
        return
    plugin = ReportPlugin(config)
    manager.register(plugin, "regcheck-session")
    line = ProgressLine()
    manager.register(line, "regcheck-progress")
    if config.getoption("dist", "no") == "no":
        manager.register(TestMonitor(config, plugin.receive), "regcheck-watching")
        manager.register(StepAnnouncer(line), "regcheck-steps")
    else:
        inbox = Inbox(options_of(config, watched=True), config.rootpath, line)
        manager.register(Workers(plugin, inbox), "regcheck-workers")


class ReportPlugin:
    """The hooks of the process that reports: the only one, or the controller of pytest-xdist."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._options = options_of(config, watched=True)
        self._files = report_files_of(config)
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        self._view = View(show_refuted=bool(config.getoption("regcheck_show_refuted")), command=command)
        refuse_unusable(self._options.devices)
        self._ledger = Ledger(self._options, config.rootpath)
        self._declarations = Declarations(self._options)
        self._cases = Cases(config)
        self._partial, self._is_complete = False, False
        self._unwritten = ""
        self._fixes: FixResult | None = None
        if config.getoption("regcheck_unsafe_fixes") and not config.getoption("regcheck_fix"):
            raise pytest.UsageError("regcheck: --regcheck-unsafe-fixes needs --regcheck-fix")
        self._write(_CUT_OFF)
        if self._unwritten:
            raise pytest.UsageError(f"regcheck: {self._unwritten}")

    @property
    def report(self) -> Report:
        """The report on the tests so far; after fixes, on what remains, in the lines of the changed files."""
        report = self._ledger.report(self._declarations.in_use, self._declarations.idle(self._is_complete))
        return self._fixes.moved(report) if self._fixes else report

    def receive(self, message: Message) -> None:
        """Add what a test showed. New findings are printed at once, and written for the case of a crash."""
        self._partial = self._partial or not message.test
        new = self._ledger.merge(message.ledger)
        self._declarations.add(message.declarations)
        if new:
            self._print_new(new, message.test)
            self._write(_CUT_OFF)

    def note_crash(self, test: str) -> None:
        """Note that what a test did is lost with the worker that ran it."""
        self._partial = True
        self._ledger.add_missed([NotChecked(test, "its worker crashed while it ran")])

    def pytest_report_header(self) -> list[str]:
        first = f"{__version__}, devices: {', '.join(self._options.devices)}"
        return [f"regcheck: {line}" for line in (first, *self._options.notes)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._cases.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._partial = self._partial or report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        early = str(session.shouldfail or session.shouldstop or "")
        if not early and exitstatus not in _WHOLE:
            early = _EARLY.get(exitstatus, f"it was ended with exit code {exitstatus:d}")
        self._is_complete = not early and not self._partial and self._is_whole()
        self._ledger.add_report(report_on(self._declarations.unused(self._is_complete), (), self._options))
        if self._config.getoption("regcheck_fix") and not early:
            self._fix()
        report = self._write(early)
        last_run.store(report, self._config.rootpath, whole=self._is_complete)
        self._cases.add(report, self._ledger)
        terminal = self._terminal
        if terminal is not None and exitstatus not in (*_WHOLE, *_SUMMED_UP):
            self.pytest_terminal_summary(terminal, exitstatus)
        if (not report.ok or self._unwritten) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.USAGE_ERROR and not self._ledger:
            return
        from regcheck.suite.summary import fix_lines, inside, summary

        report = replace(self._with_patches(), examined=len(self._ledger.structures))
        root = self._config.rootpath
        terminalreporter.section("regcheck")
        view = replace(
            self._view,
            prefix="--regcheck-",
            color=terminalreporter.hasmarkup,
            width=text_width(sys.stdout),
            verbose=self._config.get_verbosity() > 0,
        )
        with inside(root):
            # Pytest would write the whole section as one escaped line where the stream lacks one character.
            terminalreporter.write(escape_unencodable(summary(report, view), sys.stdout.encoding))
        for line in fix_lines(self._fixes) if self._fixes else ():
            terminalreporter.write_line(escape_unencodable(f"regcheck: {line}", sys.stdout.encoding))
        if self._unwritten:
            terminalreporter.write_line(f"regcheck: {self._unwritten}", red=True)
        if in_github_actions():
            for line in commands(report, root):
                terminalreporter.write_line(line)

    @property
    def _terminal(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def _print_new(self, findings: tuple[Finding, ...], test: str) -> None:
        """Under `-v`, a line for each new finding."""
        terminal = self._terminal
        if terminal is None or self._config.getoption("verbose") < 1:
            return
        for each in findings:
            verdict = "confirmed" if each.is_confirmed else "unproven"
            serious = self._options.fail_on is not None and each.severity >= self._options.fail_on
            line = f"regcheck: {each.code} {each.where} ({each.severity.value}, {verdict}) in {test}"
            terminal.write_line(line, yellow=serious)

    def _fix(self) -> None:
        """Apply fixes; the report is then on what remains."""
        from regcheck.suite.session_fixes import fix_session
        from regcheck.suite.summary import inside

        if self._terminal is not None:
            self._terminal.line("")
            self._terminal.write_line("regcheck: measuring fixes in a fresh process …")
        with inside(self._config.rootpath):
            fixes = fix_session(self._config, self._options, self._ledger)
            try:
                fixes.write()
            except UsageError as error:
                self._unwritten = str(error)
                return
        self._fixes = fixes
        self._ledger.discard(fixes.removed)

    def _with_patches(self) -> Report:
        """The report, with the patches of its findings unless fixes were applied."""
        report = self.report
        if not report.findings or self._fixes is not None:
            return report
        from regcheck.suite.session_fixes import fixes_of
        from regcheck.suite.summary import inside

        with inside(self._config.rootpath):
            return fixes_of(self._config, self._options).offered(report)

    def _write(self, early: str) -> Report:
        """Write every report file; `early` says how the session ended before all tests ran, if it did."""
        report = self.report if early == _CUT_OFF else self._with_patches()
        if early:
            cut = NotChecked("the test session", f"{early}; what the remaining tests would have shown is missing")
            report = replace(report, not_checked=(*report.not_checked, cut))
        try:
            for form, path in self._files:
                write_report(report, form, path, self._view)
        except UsageError as error:
            self._unwritten = str(error)
        return report

    def _is_whole(self) -> bool:
        """Whether the session was asked for everything: no single test, no single file, nothing of an earlier run."""
        args = [each for each in self._config.args if not each.startswith(PREFIX)]
        earlier = any(self._config.getoption(each, False) for each in ("lf", "stepwise"))
        return not earlier and not any("::" in each or each.endswith(".py") for each in args)


def refuse_unusable(devices: Sequence[str]) -> None:
    """Check the devices by name. Only an accelerator needs torch here; otherwise the suite imports it.

    Raises:
        pytest.UsageError: one of them cannot be used.
    """
    if set(devices) <= {"auto", "cpu"}:
        return
    with warnings.catch_warnings():
        from regcheck.probe.devices import chosen

        try:
            chosen(devices)
        except RegcheckError as error:
            raise pytest.UsageError(f"regcheck: {error}") from None


class Workers:
    """The hooks of pytest-xdist's controller: they hand the messages of its workers to the report."""

    def __init__(self, plugin: ReportPlugin, inbox: Inbox) -> None:
        self._plugin, self._inbox = plugin, inbox

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        self._inbox.open_for(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._inbox.close_for(node)
        self._receive_all()

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str) -> None:
        self._plugin.note_crash(crashitem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self) -> None:
        self._receive_all()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._receive_all()

    def _receive_all(self) -> None:
        for message in self._inbox.messages():
            self._plugin.receive(message)
