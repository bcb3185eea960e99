"""`pytest --regcheck` under pytest-xdist, and when processes die."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


CRASHES = """
import os
import signal

def test_z_kills_its_worker():
    os.kill(os.getpid(), signal.SIGKILL)

def test_z_exits():
    os._exit(3)
"""


def codes(document: dict[str, Any]) -> list[str]:
    return sorted(each["code"] for each in document["findings"])


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(how, marks=() if how == "loadgroup" else pytest.mark.slow)
        for how in ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each", "no")
    ],
)
def test_each_finding_is_reported_once(project: Project, how: str) -> None:
    """However tests are distributed, a finding is reported once, with every test that showed it; markers count."""
    group = '@pytest.mark.xdist_group("together")\n'
    mark = '@pytest.mark.regcheck(ignore=["REG201"], reason="on purpose")\n'
    tests = "import pytest\n" + project.tests.replace("def test_", f"{group}def test_")
    for number in range(3):
        project.write(f"test_{number}.py", tests)
    project.write("test_models.py", tests.replace(f"{group}def test_predict", f"{mark}{group}def test_predict"))
    done, document = project.report("-n", "2", "--dist", how, "-p", "xdist", alone=True)
    assert codes(document) == ["REG201", "REG202"]
    assert done.stdout.count("error REG202 dropout-ignores-mode") == 1
    predicts = next(line for line in done.stdout.splitlines() if "seen in" in line and "predict" in line)
    seen = predicts.strip().removeprefix("seen in ").replace("@together", "")  # a suffix of `--dist loadgroup`
    assert sorted(seen.split(", ")) == [f"test_{number}.py::test_predict" for number in range(3)]
    leaky = next(line for line in done.stdout.splitlines() if "seen in" in line and "leaky" in line)
    assert leaky.endswith("and 1 more")
    assert done.returncode == 1


@pytest.mark.parametrize("test", ["test_z_kills_its_worker", pytest.param("test_z_exits", marks=pytest.mark.slow)])
def test_a_lost_worker_loses_one_test(project: Project, test: str) -> None:
    """What a killed worker's earlier tests showed is reported, and the test that was lost is named as not checked."""
    project.write("test_z.py", CRASHES)
    done, document = project.report("-n", "1", "-k", f"leaky or predict or {test}", alone=True)
    assert codes(document) == ["REG201", "REG202"]
    assert [each["subject"] for each in document["not_checked"]] == [f"test_z.py::{test}"]
    assert "its worker crashed while it ran" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
    assert done.returncode == 1


def test_a_process_that_dies_leaves_its_report(project: Project) -> None:
    """Without workers `os._exit` ends everything: the report file holds what was found and says that it is not all."""
    project.write("test_z.py", CRASHES)
    done, document = project.report("-v", "-k", "leaky or exits", alone=True)
    assert done.returncode == 3
    assert codes(document) == ["REG202"]
    assert [each["subject"] for each in document["not_checked"]] == ["the test session"]
    assert "did not come to its end" in document["not_checked"][0]["reason"]
    assert "regcheck: REG202 models.py:" in done.stdout


ENDINGS = {
    "an interrupt": ("raise KeyboardInterrupt", (), 2, "it was interrupted"),
    "the first failure": ("assert False", ("-x",), 1, "stopping after 1 failures"),
    "too many failures": ("assert False", ("--maxfail=1",), 1, "stopping after 1 failures"),
    "pytest.exit": ("pytest.exit('enough', returncode=7)", (), 7, "it was ended with exit code 7"),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_session_that_ends_early_reports(project: Project, ending: str) -> None:
    """What was found is shown and written, the exit code stays pytest's, and the report says it is not all."""
    statement, options, code, reason = ENDINGS[ending]
    project.write("test_z.py", f"import pytest\ndef test_stop():\n    {statement}\ndef test_never():\n    pass\n")
    done, document = project.report(*options, alone=ending == "an interrupt")
    assert done.returncode == code
    assert codes(document) == ["REG201", "REG202"]
    assert "seen in test_models.py::test_leaky" in done.stdout
    assert [each["subject"] for each in document["not_checked"]] == ["the test session"]
    assert reason in document["not_checked"][0]["reason"]


def test_an_internal_error_of_pytest_reports(project: Project) -> None:
    """When another plugin breaks the run, what was found is shown and written all the same."""
    project.write(
        "conftest.py",
        """
        def pytest_runtest_logstart(nodeid):
            if "predict" in nodeid:
                raise ZeroDivisionError("another plugin")
        """,
    )
    done, document = project.report()
    assert done.returncode == 3
    assert codes(document) == ["REG202"]
    assert "seen in test_models.py::test_leaky" in done.stdout
    assert "pytest failed" in document["not_checked"][0]["reason"]


def test_a_test_file_that_cannot_be_read_is_no_clean_report(project: Project) -> None:
    """Where collecting fails nothing runs, and the report does not look as if all were well."""
    project.write("test_broken.py", "import nothing_of_that_name\n")
    done, document = project.report()
    assert done.returncode == 2
    assert [each["subject"] for each in document["not_checked"]] == ["the test session"]


@pytest.mark.slow
def test_every_worker_that_is_replaced_reports(project: Project) -> None:
    """The worker that takes the place of a lost one hands its findings over as well."""
    project.write("test_a.py", CRASHES)
    done, document = project.report("-n", "1", alone=True)
    assert codes(document) == ["REG201", "REG202"]
    assert json.dumps(document["not_checked"]).count("its worker crashed while it ran") == 2
    assert "2 failed, 3 passed" in done.stdout
