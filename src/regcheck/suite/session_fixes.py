"""Apply fixes at the end of a test session: run the tests that show a finding again, without and with its fix.

Both run in a fresh process. A finding is not fixed if its tests alone do not show it again, or if one of them passes
without the fix only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import field

import pytest

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.finding import Finding
from regcheck.core.report import Report
from regcheck.engine.fix import CannotCompare, FixResult, may_apply
from regcheck.engine.fixed_lines import FixedLine, measuring_again
from regcheck.engine.fresh_process import Died, call_afresh
from regcheck.engine.live_fix import LiveFixes
from regcheck.lazy_dataclass import dataclass
from regcheck.plugins import catalogue
from regcheck.session.ledger import Ledger
from regcheck.suite.configured_models import PREFIX
from regcheck.suite.monitor import IMPORTS
from regcheck.suite.settings import READERS

MOST_TESTS = 3
"""So many of the tests that show a finding run again."""


@dataclass
class SecondSession:
    """The report of a session in a fresh process, and the outcome of each of its tests; a plugin of pytest there."""

    report: Report = field(default_factory=Report)
    outcomes: dict[str, str] = field(default_factory=dict)

    def refuse_other_outcomes(self, again: SecondSession) -> None:
        """Check that the tests that pass in this session also pass in another one, where all of its tests run.

        Raises:
            CannotCompare: one does not.
        """
        for test, before in self.outcomes.items():
            after = again.outcomes.get(test, "does not run")
            if after == "does not run" or (before == "passed" and after != before):
                raise CannotCompare(f"with the fix {test} {after}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reporter = session.config.pluginmanager.get_plugin("regcheck-session")
        if reporter is not None:
            self.report = reporter.report


def run_session(folder: str, arguments: list[str], lines: Sequence[FixedLine]) -> SecondSession:
    """Run pytest in a folder of this process, and measure in these lines too."""
    os.chdir(folder)
    os.environ.pop("PYTEST_ADDOPTS", None)
    session = SecondSession()
    with measuring_again(lines):
        pytest.main(arguments, plugins=[session])
    return session


def fixes_of(config: pytest.Config, options: Options) -> LiveFixes:
    """The fixes that a session can apply. The working directory is the root of the session's paths."""
    unsafe = bool(config.getoption("regcheck_unsafe_fixes"))
    return LiveFixes(select.chosen(catalogue(), options), str(config.rootpath), time.time_ns(), unsafe)


def fix_session(config: pytest.Config, options: Options, ledger: Ledger) -> FixResult:
    """Fix the findings of a session; writes nothing. The working directory is the root of the session's paths."""
    fixes = fixes_of(config, options)
    offered = fixes.offered(ledger.report())
    wanted = [each for each in offered.findings if may_apply(each, fixes.unsafe)]
    if not wanted:
        return FixResult(offered)
    tests = {test: None for each in wanted for test in [*ledger.tests.get(each.key, ())][:MOST_TESTS]}
    tests.pop(IMPORTS, None)
    if not tests:
        return FixResult(offered, refused=dict.fromkeys(map(_path, wanted), "no test shows its findings"))
    arguments = arguments_of(config, [*tests])
    folder = str(config.invocation_params.dir)

    def session(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> SecondSession:
        return call_afresh(contents, run_session, folder, arguments, lines)

    def examine(contents: Mapping[str, bytes], lines: Sequence[FixedLine]) -> Report:
        again = session(contents, lines)
        first.refuse_other_outcomes(again)
        return again.report

    try:
        first = session({}, ())
    except Died as error:
        return FixResult(offered, refused={_path(each): f"its tests cannot run again: {error}" for each in wanted})
    result = fixes.applied(fixes.offered(first.report), examine)
    shown = {each.key for each in first.report.findings}
    for each in wanted:
        if each.key not in shown:
            result.refused[_path(each)] = f"{each.code} in line {each.line}: its tests alone do not show it again"
    return result


def arguments_of(config: pytest.Config, tests: list[str]) -> list[str]:
    """The command line of a session that runs these tests under watch, and writes no files."""
    ids = [each if each.startswith(PREFIX) else str(config.rootpath / each) for each in tests]
    settings = [f"--rootdir={config.rootpath}", *(["-c", str(config.inipath)] if config.inipath else [])]
    plugins = [word for each in config.getoption("plugins") or () for word in ("-p", each)]
    plain = ["-o", "addopts=", "-p", "no:cacheprovider", "--assert=plain"]
    options = ((name.replace("_", "-"), config.getoption(f"regcheck_{name}")) for name in READERS)
    chosen = [
        f"--regcheck-{name}" if value is True else f"--regcheck-{name}={value}"
        for name, value in options
        if value is not None
    ]
    mode = f"--import-mode={config.getoption('importmode')}"
    return ["--regcheck", *settings, *plugins, *plain, mode, *chosen, *ids]


def _path(finding: Finding) -> str:
    return finding.path or ""
