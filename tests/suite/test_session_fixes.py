"""`pytest --regcheck --regcheck-fix`: what changes at the end of a session, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from regcheck.engine.fix import CannotCompare
from regcheck.suite.report_plugin import ReportPlugin
from regcheck.suite.session_fixes import SecondSession

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


def test_safe_fixes_are_applied_and_measured_again(project: Project) -> None:
    """The safe fix is written once its tests no longer show the finding; the others stay, and fail the run."""
    models = project.folder / "models.py"
    done, report = project.report()
    assert "\n1 fixable with --regcheck-fix (1 more with --regcheck-unsafe-fixes)\n" in done.stdout
    assert [each["patch"]["safe"] for each in report["findings"]] == [True, False]
    done, report = project.report("--regcheck-fix")
    assert models.read_text(encoding="utf-8") == project.models.replace("0.5))\n", "0.5, training=self.training))\n", 1)
    assert [each["code"] for each in report["findings"]] == ["REG201"]
    assert done.returncode == 1
    assert "regcheck: fixed: models.py:14:26 REG202 dropout-ignores-mode: standard deviation" in done.stdout
    assert " % → 0 % of the prediction's spread" in done.stdout
    assert "regcheck: 1 fixed, as some of its tests confirm: run the whole suite again" in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({"a": "passed"}, {"a": "failed"}, "a failed"),
        ({"a": "passed", "b": "failed"}, {"a": "passed"}, "b does not run"),
        ({"a": "failed", "b": "passed"}, {"a": "passed", "b": "passed"}, ""),
        ({"a": "skipped"}, {"a": "skipped"}, ""),
    ],
)
def test_a_fix_with_which_a_test_fails_is_refused(before: dict[str, str], after: dict[str, str], why: str) -> None:
    """Each test that passes without the fix passes with it, and each that runs, runs."""
    one, other = (SecondSession(outcomes=each) for each in (before, after))
    if not why:
        one.refuse_other_outcomes(other)
        return
    with pytest.raises(CannotCompare, match=why):
        one.refuse_other_outcomes(other)


def test_unsafe_fixes_need_fixes(pytester: pytest.Pytester) -> None:
    """`--regcheck-unsafe-fixes` alone would do nothing, and is refused."""
    config = pytester.parseconfig("--regcheck-unsafe-fixes")
    with pytest.raises(pytest.UsageError, match="needs --regcheck-fix"):
        ReportPlugin(config)
