"""What a session shows as it runs, at its end, and to other programs."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from regcheck.session import last_run

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


FORMATS = {"full", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit", "html"}


def test_verbose_runs_tell_findings_as_they_come(project: Project) -> None:
    """With `-v` a line follows the first test that shows a finding, and outcomes stay as they are; without it, none.

    Afterwards editors can read what the session confirmed.
    """
    project.write("test_more.py", project.tests)
    told = project.run("--regcheck", "-v").stdout.splitlines()
    lines = [line for line in told if line.startswith("regcheck: REG")]
    assert [line.split()[1] for line in lines] == ["REG202", "REG201"]
    assert lines[0].endswith("(error, confirmed) in test_models.py::test_leaky")
    assert told.index(lines[0]) == next(n for n, line in enumerate(told) if "test_leaky PASSED" in line) + 1
    assert "regcheck: REG" not in project.run("--regcheck").stdout
    confirmed = {each.finding.code: each for each in last_run.load(project.folder / "models.py")}
    assert "F.dropout(" in confirmed["REG202"].line and confirmed["REG202"].is_current


def test_workers_findings_are_told_as_they_come(project: Project) -> None:
    """With `-v` under pytest-xdist the controller tells each new finding once, with the test that showed it."""
    project.write("test_more.py", project.tests)
    told = project.run("--regcheck", "-v", "-n", "2", alone=True).stdout.splitlines()
    lines = [line for line in told if line.startswith("regcheck: REG")]
    assert sorted(line.split()[1] for line in lines) == ["REG201", "REG202"]
    assert all(" in test_" in line for line in lines)
    assert told.index(lines[0]) < next(n for n, line in enumerate(told) if " regcheck ===" in line)


def test_findings_are_grouped_by_model(project: Project) -> None:
    """Under the name of each model stand its findings; one that several models share names the others too."""
    project.write(
        "shared.py",
        """
        from models import Leaky, nn

        class Outer(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = Leaky()

            def forward(self, x):
                return self.inner(x)
        """,
    )
    test = "import torch\nfrom shared import Outer\ndef test_outer():\n    Outer()(torch.ones(4, 8))\n"
    project.write("test_shared.py", test)
    shown = project.run("--regcheck").stdout
    order = [
        shown.index(part) for part in ("Leaky: 1 finding", "REG202", "also in Outer", "Sound: 1 finding", "REG201")
    ]
    assert order == sorted(order)
    assert "seen in test_models.py::test_leaky, test_shared.py::test_outer" in shown
    assert "2 findings fail the run (`--regcheck-fail-on=warning`" in shown


def test_every_format_can_be_kept_at_once(project: Project) -> None:
    """`--regcheck-report FORMAT:PATH` takes each format there is, as often as wanted, and makes the folders."""
    arguments = [f"--regcheck-report={form}:out/{form}.txt" for form in FORMATS]
    project.run("--regcheck", "-k", "leaky", *arguments)
    for form in FORMATS:
        assert "still drops activations after" in (project.folder / "out" / f"{form}.txt").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_stops_the_run(project: Project) -> None:
    """A report that cannot be kept is said before the tests run, not after."""
    done = project.run("--regcheck", "--regcheck-report", "json:models.py/report.json")
    assert done.returncode == 4
    assert "cannot be written" in done.stderr


def test_a_file_that_can_no_longer_be_written_is_said(project: Project) -> None:
    """A report that cannot be kept at the end fails a run that would have passed, and breaks nothing else."""
    project.write("test_models.py", "def test_it():\n    from pathlib import Path\n    Path('out.json').mkdir()\n")
    project.write("conftest.py", "def pytest_collection_finish():\n    import os\n    os.remove('out.json')\n")
    done = project.run("--regcheck", "--regcheck-report", "json:out.json")
    assert done.returncode == 1
    assert "1 passed" in done.stdout
    assert "out.json: cannot be written" in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_findings_reach_junit_xml(project: Project, workers: tuple[str, ...]) -> None:
    """Each finding is a property of the suite and of every test case that showed it, and of no other."""
    project.write("test_more.py", project.tests)
    project.run("--regcheck", "--junit-xml", "junit.xml", *workers, alone=bool(workers))
    suite = ElementTree.parse(project.folder / "junit.xml").find("testsuite")
    assert suite is not None
    top = [each.attrib for each in suite.findall("properties/property")]
    assert sorted(each["name"] for each in top) == ["regcheck.REG201", "regcheck.REG202"]
    assert all(each["value"].endswith("(confirmed)") for each in top)
    cases = {
        (case.attrib["classname"], case.attrib["name"]): [each.attrib["name"] for each in case.iter("property")]
        for case in suite.findall("testcase")
    }
    expected = {"test_leaky": ["regcheck.REG202"], "test_predict": ["regcheck.REG201"], "test_sound": []}
    assert cases == {(file, name): names for file in ("test_models", "test_more") for name, names in expected.items()}
    assert all(case.find("properties") is None or case[0].tag == "properties" for case in suite.findall("testcase"))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_github_is_told(project: Project, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]) -> None:
    """In GitHub Actions each finding is printed once as a workflow command, its path as the checkout has it."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.folder.parent))
    shown = project.run("--regcheck", *workers, alone=bool(workers)).stdout
    commands = [line for line in shown.splitlines() if line.startswith("::")]
    assert [line.partition(",")[0] for line in commands] == [f"::error file={project.folder.name}/models.py"] * 2
    assert "title=REG202 dropout-ignores-mode" in shown
    assert "::error" not in project.run().stdout


def test_nothing_is_printed_without_a_terminal(project: Project) -> None:
    """`-p no:terminal` is heeded: files are written, the exit code stands, nothing is printed."""
    done, document = project.report("-p", "no:terminal", "-p", "no:junitxml", alone=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(document["findings"]) == 2


def test_the_budget_of_a_model_can_be_set(project: Project) -> None:
    """`--regcheck-budget` bounds what is spent on a model: beyond it nothing is run again, and the reason is told."""
    _, document = project.report("--regcheck-budget", "0")
    assert "REG202" not in {each["code"] for each in document["findings"]}
    missed = [each["what_to_do"] for each in document["not_checked"] if "budget" in each["reason"]]
    assert set(missed) == {"raise `--regcheck-budget`"}
    done = project.run("--regcheck", "--regcheck-budget", "soon")
    assert done.returncode == 4
    assert "--regcheck-budget takes a number of seconds, zero or more, not 'soon'" in done.stderr


def test_ini_keys(project: Project) -> None:
    """`regcheck = true` in pytest's own configuration is the flag, `regcheck_fail_on` its threshold."""
    ini = "[pytest]\npythonpath = .\nregcheck = true\nregcheck_fail_on = never\n"
    (project.folder / "pytest.ini").write_text(ini, encoding="utf-8")
    done = project.run("--strict-config")
    assert "2 findings, 2 models examined" in done.stdout
    assert done.returncode == 0
    assert project.run("--regcheck-fail-on", "error").returncode == 1
    assert "findings" not in project.run("-o", "regcheck=false").stdout
    done = project.run("-o", "regcheck_fail_on=eror")
    assert done.returncode == 4
    assert "did you mean 'error'?" in done.stderr
