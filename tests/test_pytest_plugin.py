"""`pytest --regcheck` on small projects, and in a process of its own wherever imports or processes matter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import torch._dynamo  # noqa: F401, it can be loaded once only: before pytester notes which modules there are

from regcheck.report.json import schema

pytest_plugins = ["pytester"]

PROJECTS = Path(__file__).parent.parent / "fixtures" / "projects"

MODELS = """
import torch
from torch import nn
import torch.nn.functional as F


class Leaky(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(8, 16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 2)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.hidden(x))))


class NeedsSize(nn.Module):
    def __init__(self, size):
        super().__init__()


def predict(model, x):
    with torch.no_grad():
        return model(x)
"""

TESTS = """
import torch
from models import Leaky, Sound, predict


def test_leaky():
    assert Leaky()(torch.ones(4, 8)).shape == (4, 2)


def test_sound():
    assert Sound()(torch.ones(4, 8)).shape == (4, 2)


def test_predict():
    assert predict(Sound(), torch.ones(4, 8)).shape == (4, 2)
"""

BASE = ("-p", "no:cacheprovider", "-p", "no:randomly")


@dataclass
class Done:
    """How a run of pytest ended."""

    returncode: int
    stdout: str
    stderr: str


class Project:
    """A project in a folder of its own, and pytest to run in it."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.folder = pytester.path
        self._pytester = pytester

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(self, *arguments: str, alone: bool = False) -> Done:
        """Run pytest here; `alone` in a process of its own."""
        method = self._pytester.runpytest_subprocess if alone else self._pytester.runpytest_inprocess
        done = method(*BASE, *arguments)
        return Done(int(done.ret), done.stdout.str(), done.stderr.str())

    def report(self, *arguments: str, alone: bool = False) -> tuple[Done, dict[str, Any]]:
        """Run pytest under `--regcheck`, and read the JSON report."""
        done = self.run("--regcheck", "--regcheck-report", "json:report.json", *arguments, alone=alone)
        path = self.folder / "report.json"
        assert path.exists(), done.stdout + done.stderr
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.validate(document, schema())
        return done, document


@pytest.fixture
def project(pytester: pytest.Pytester) -> Project:
    made = Project(pytester)
    made.write("pytest.ini", "[pytest]\npythonpath = .\n")
    made.write("models.py", MODELS)
    made.write("test_models.py", TESTS)
    return made


@pytest.fixture
def quickstart(pytester: pytest.Pytester) -> Project:
    shutil.copytree(PROJECTS / "quickstart", pytester.path, dirs_exist_ok=True)
    return Project(pytester)


def lines(document: dict[str, Any], part: str = "findings") -> list[tuple[str, str, int]]:
    return sorted((each["code"], each["path"], each["line"]) for each in document[part])


def planted() -> list[tuple[str, str, int]]:
    return lines(json.loads((PROJECTS / "quickstart.json").read_text(encoding="utf-8")))


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_quickstart_shows_exactly_its_planted_faults(quickstart: Project, workers: tuple[str, ...]) -> None:
    """The planted faults are found, each once and confirmed with figures; the sound models stay silent; exit code 1."""
    done, document = quickstart.report(*workers, alone=True)
    assert lines(document) == planted()
    assert {each["evidence"]["verdict"] for each in document["findings"]} == {"confirmed"}
    assert all(each["evidence"]["measured"] is not None for each in document["findings"])
    assert document["not_checked"] == []
    assert done.returncode == 1
    assert "22 passed" in done.stdout
    for code, path, line in planted():
        assert done.stdout.count(f"{path}:{line}:") == 1
        assert code in done.stdout


def test_a_stand_in_in_a_test_file_is_advice(project: Project) -> None:
    """A model that a test file defines for its own ends is shown as `info` and does not fail the run."""
    project.write("test_models.py", MODELS + "def test_it():\n    assert Leaky()(torch.ones(4, 8)).shape == (4, 2)\n")
    done, document = project.report()
    assert [(each["code"], each["severity"]) for each in document["findings"]] == [("REG202", "info")]
    assert done.returncode == 0


def test_findings_are_shown_with_the_tests_that_showed_them(project: Project) -> None:
    """The section names file, line, fault and test, and the header says what runs."""
    done, document = project.report()
    leak, predicts = line_of(MODELS, "F.dropout("), line_of(MODELS, "return model(x)")
    assert lines(document) == [("REG201", "models.py", predicts), ("REG202", "models.py", leak)]
    assert f"models.py:{leak}:26 REG202" in done.stdout
    assert "seen in test_models.py::test_leaky" in done.stdout
    assert "seen in test_models.py::test_predict" in done.stdout
    assert "regcheck: 0." in done.stdout
    assert "2 findings, 2 models examined, 7 of 7 modules traced" in done.stdout
    assert "devices: cpu" in done.stdout


def test_a_fault_seen_twice_is_reported_once_with_both_tests(project: Project) -> None:
    """Every test that shows a fault is named, and what was confirmed once stays confirmed."""
    project.write("test_more.py", TESTS)
    done, document = project.report("--regcheck-select", "REG201")
    assert [each["evidence"]["verdict"] for each in document["findings"]] == ["confirmed"]
    assert "seen in test_models.py::test_predict, test_more.py::test_predict" in done.stdout


def test_fail_on_never_leaves_the_exit_code_alone(project: Project) -> None:
    """With `--regcheck-fail-on never` the findings are shown and the run passes."""
    done, document = project.report("--regcheck-fail-on", "never")
    assert len(document["findings"]) == 2
    assert done.returncode == 0


def test_selection(project: Project) -> None:
    """`--regcheck-select` and `--regcheck-ignore` choose the rules."""
    _, document = project.report("--regcheck-select", "REG2", "--regcheck-ignore", "REG201")
    assert [each["code"] for each in document["findings"]] == ["REG202"]
    done, document = project.report("--regcheck-select", "coupled-l2-adaptive")
    assert document["findings"] == []
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--regcheck-select", "REG999"), "unknown rule 'REG999'"),
        (("--regcheck-fail-on", "warnin"), "did you mean 'warning'?"),
        (("--regcheck-report", "jsn:x"), "did you mean 'json'?"),
        (("--regcheck-report", "json"), "FORMAT:PATH"),
        (("--regcheck-device", "tpu9"), "device 'tpu9' cannot be used"),
    ],
)
def test_wrong_options_stop_the_run(project: Project, arguments: tuple[str, ...], message: str) -> None:
    """An option that cannot be understood ends the run with exit code 4, pytest's own for wrong usage."""
    done = project.run("--regcheck", *arguments)
    assert done.returncode == 4
    assert message in done.stderr


def test_configured_rules_and_models(project: Project) -> None:
    """`[tool.regcheck]` chooses rules, and its models become items that fail when their check fails."""
    (project.folder / "pytest.ini").unlink()
    project.write(
        "pyproject.toml",
        """
        [tool.pytest.ini_options]
        pythonpath = ["."]
        [tool.regcheck]
        ignore = ["REG201"]
        models = ["models:Leaky", "models.py:Sound", "models:NeedsSize"]
        """,
    )
    done, document = project.report("-k", "regcheck", "-rs", "-v")
    assert done.returncode == 1
    assert "regcheck::models:Leaky FAILED" in done.stdout
    assert "regcheck::models.py:Sound PASSED" in done.stdout
    assert "regcheck::models:NeedsSize SKIPPED" in done.stdout
    assert "takes arguments: size" in done.stdout
    assert "3 deselected" in done.stdout
    assert [each["code"] for each in document["findings"]] == ["REG202"]
    assert "seen in regcheck::models:Leaky" in done.stdout
    assert project.run("--regcheck", "-k", "Sound", "-q").returncode == 0
    assert "models:Leaky" not in project.run("--regcheck", "test_models.py::test_sound", "-v").stdout
    assert "models:Leaky" not in project.run("-v").stdout


def test_wrong_configuration_stops_the_run(project: Project) -> None:
    """An unknown key names its nearest neighbour."""
    project.write("pyproject.toml", '[tool.regcheck]\nselct = ["REG1"]\n')
    done = project.run("--regcheck")
    assert done.returncode == 4
    assert "did you mean 'select'?" in done.stderr
    assert project.run().returncode == 0


def test_marker_ignores_what_a_test_shows(project: Project) -> None:
    """The marker silences its rules for the test that carries it, and only there."""
    marked = TESTS.replace(
        "def test_leaky", '@pytest.mark.regcheck(ignore=["REG202"], reason="Monte-Carlo dropout")\ndef test_leaky'
    )
    project.write("test_models.py", "import pytest\n" + marked)
    done, document = project.report("--strict-markers")
    assert [each["code"] for each in document["findings"]] == ["REG201"]
    assert done.returncode == 1
    assert "@pytest.mark.regcheck(ignore=[CODE" in project.run("--markers").stdout


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('ignore=["REG2O2"], reason="x"', "unknown rule 'REG2O2'"),
        ('"REG202"', "write the marker as"),
        ('ignore=["REG202"]', "without a reason"),
    ],
)
def test_wrong_marker_stops_the_run(project: Project, marker: str, message: str) -> None:
    """A marker that names no rule, is written wrongly, or lacks a required reason names its test."""
    project.write("pyproject.toml", "[tool.regcheck]\nrequire-reason = true\n")
    project.write("test_marked.py", f"import pytest\n@pytest.mark.regcheck({marker})\ndef test_marked():\n    pass\n")
    done = project.run("--regcheck")
    assert done.returncode == 4
    assert message in done.stderr
    assert "test_marked.py::test_marked" in done.stderr


@pytest.mark.parametrize("flag", [(), ("--regcheck",)], ids=["without", "with --regcheck"])
def test_fixture_fails_the_test_with_the_report(project: Project, flag: tuple[str, ...]) -> None:
    """The fixture audits a model, with inputs given or not, and fails with the report's text."""
    project.write(
        "test_models.py",
        """
        import pytest
        import torch
        from models import Leaky, Sound

        def test_sound(regcheck):
            assert regcheck(Sound()).ok
            assert regcheck(Sound(), torch.ones(4, 8)).findings == ()

        def test_leaky(regcheck):
            regcheck(Leaky())

        def test_options(regcheck):
            report = regcheck(Leaky(), torch.ones(4, 8), options={"fail-on": "never"})
            assert [each.code for each in report.findings] == ["REG202"]

        @pytest.mark.regcheck(ignore=["REG202"], reason="known")
        def test_known(regcheck):
            regcheck(Leaky())
        """,
    )
    done = project.run(*flag)
    assert "1 failed, 3 passed" in done.stdout
    assert "still drops activations after `eval()`" in done.stdout
    assert "pytest_plugin" not in done.stdout


IMPORTED = """
import sys

NAMES = "torch", "rich", "regcheck.suite", "regcheck.config", "regcheck.core.finding", "regcheck.auditing"

def pytest_unconfigure(config):
    print("loaded:", [name for name in NAMES if name in sys.modules])
"""


def test_without_the_flag_nothing_is_imported(project: Project) -> None:
    """Installed and not asked for, the plugin imports neither torch nor rich nor any other part of regcheck."""
    project.write("conftest.py", IMPORTED)
    project.write("test_models.py", "def test_nothing():\n    pass\n")
    assert "loaded: []" in project.run("-s", alone=True).stdout


def test_without_the_flag_nothing_is_patched(project: Project) -> None:
    """Installed and not asked for, the plugin leaves torch as it is; `--collect-only` does, too."""
    project.write(
        "conftest.py",
        """
        def pytest_unconfigure(config):
            from torch import nn
            print("call:", nn.Module.__call__.__code__.co_filename.replace("\\\\", "/"))

        def pytest_collection_finish():
            pytest_unconfigure(None)
        """,
    )
    for arguments in ((), ("--regcheck", "--collect-only"), ("-p", "no:regcheck")):
        done = project.run("-s", *arguments, alone=True)
        calls = [line for line in done.stdout.splitlines() if "call:" in line]
        assert len(calls) == 2
        assert all(line.endswith("torch/nn/modules/module.py") for line in calls)
    assert any("watcher/calls.py" in line for line in project.run("-s", "--regcheck", alone=True).stdout.splitlines())


def test_plugin_can_be_removed(project: Project) -> None:
    """`-p no:regcheck` removes options, marker and fixture."""
    assert project.run("-p", "no:regcheck", alone=True).returncode == 0
    assert "unrecognized arguments: --regcheck" in project.run("-p", "no:regcheck", "--regcheck", alone=True).stderr


def test_collect_only_is_untouched(project: Project) -> None:
    """`--collect-only` prints what it always printed."""
    plain, flagged = (project.run("--collect-only", "-q", *flag).stdout for flag in ((), ("--regcheck",)))
    assert [line for line in plain.splitlines() if "::" in line] == [
        line for line in flagged.splitlines() if "::" in line
    ]
    assert "REG" not in flagged


def test_missing_torch_is_said(project: Project) -> None:
    """`--regcheck` without torch stops with what to do; without the flag the suite runs."""
    project.write("test_models.py", "def test_nothing():\n    pass\n")
    project.write(
        "hide.py",
        """
        import sys

        class Hidden:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "torch":
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Hidden())
        """,
    )
    done = project.run("-p", "hide", "--regcheck", alone=True)
    assert done.returncode == 4
    assert "pip install 'regcheck[torch]'" in done.stderr
    assert project.run("-p", "hide", alone=True).returncode == 0


def test_outcomes_are_the_same_bit_for_bit(project: Project) -> None:
    """Under a fixed seed a suite draws the same numbers, passes and fails the same, with and without the flag."""
    project.write(
        "test_models.py",
        """
        import random
        import warnings

        import pytest
        import torch
        from models import Leaky, Sound, predict

        torch.manual_seed(0)
        random.seed(0)

        def log(*drawn):
            with open("drawn.txt", "a") as file:
                print(*drawn, file=file)

        @pytest.mark.parametrize("model", [Leaky, Sound, Leaky])
        def test_train(model):
            net = model()
            optimizer = torch.optim.Adam(net.parameters(), weight_decay=0.1)
            for _ in range(3):
                net(torch.randn(4, 8)).sum().backward()
                optimizer.step()
            log(predict(net, torch.randn(4, 8)).flatten().tolist(), random.random())
            assert random.random() < 0.8

        def test_error():
            Leaky()(torch.ones(4, 9))

        def test_warns():
            with pytest.warns(UserWarning, match="shallow"):
                warnings.warn("shallow")

        def test_output(capsys):
            predict(Sound(), torch.ones(4, 8))
            assert capsys.readouterr() == ("", "")
        """,
    )
    seen = []
    for flags in ((), ("--regcheck", "--regcheck-fail-on", "never")):
        done = project.run("-rA", "--tb=no", *flags)
        outcomes = [line for line in done.stdout.splitlines() if line.startswith(("PASSED ", "FAILED ", "ERROR "))]
        drawn = project.folder / "drawn.txt"
        seen.append((done.returncode, outcomes, drawn.read_text(encoding="utf-8")))
        drawn.unlink()
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == 6


def test_findings_reach_junit_xml(project: Project) -> None:
    """The JUnit document carries each finding as a property of the suite."""
    project.run("--regcheck", "--junit-xml", "junit.xml")
    found = [each.attrib for each in ElementTree.parse(project.folder / "junit.xml").iter("property")]
    assert sorted(each["name"] for each in found) == ["regcheck.REG201", "regcheck.REG202"]
    assert all(each["value"].endswith("(confirmed)") for each in found)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_baseline_silences_what_it_knows(project: Project, workers: tuple[str, ...]) -> None:
    """`--regcheck-baseline` leaves known findings out, whichever door noted them, and fails for new ones only."""
    scan = [sys.executable, "-m", "regcheck", "scan", "models.py", "--write-baseline"]
    subprocess.run(scan, cwd=project.folder, check=True, capture_output=True)
    command = ("--regcheck", "--regcheck-baseline", "regcheck-baseline.json", "-k", "leaky", *workers)
    project.write("models.py", f"# moved\n{MODELS}")
    done = project.run(*command, alone=True)
    assert "0 findings, 1 known from the baseline" in done.stdout
    assert done.returncode == 0
    project.write("models.py", MODELS.replace("self.hidden(x)), 0.5)", "self.hidden(x)), 0.25)"))
    assert project.run(*command, alone=True).returncode == 1
    (project.folder / "regcheck-baseline.json").unlink()
    done = project.run(*command)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "regcheck-baseline.json: cannot be read" in done.stderr


@pytest.mark.parametrize("form", ["sarif", "github", "gitlab", "junit", "html"])
def test_every_format_can_be_kept(project: Project, form: str) -> None:
    """`--regcheck-report FORMAT:PATH` takes each format there is."""
    project.run("--regcheck", "--regcheck-report", f"{form}:out", "-k", "leaky")
    assert "still drops activations after" in (project.folder / "out").read_text(encoding="utf-8")


def test_a_failing_suite_keeps_its_exit_code(project: Project) -> None:
    """A run that ends otherwise than well keeps its own exit code; no tests is still no tests."""
    assert project.run("--regcheck", "-k", "nothing").returncode == 5


@pytest.mark.parametrize("strict", [False, True])
def test_a_failure_in_judging_breaks_nothing(project: Project, strict: bool) -> None:
    """When judging a test goes wrong the run goes on and says what was not checked; `--regcheck-strict` fails then."""
    project.write(
        "conftest.py",
        """
        def pytest_configure(config):
            import regcheck.suite.sessions as sessions

            def broken(*arguments):
                raise ZeroDivisionError("by accident")

            sessions.judge = broken
        """,
    )
    done, document = project.report(*(["--regcheck-strict"] if strict else []))
    assert "3 passed" in done.stdout
    assert done.returncode == int(strict)
    assert document["not_checked"][0]["subject"] == "test_models.py::test_leaky"
    assert "ZeroDivisionError: by accident" in document["not_checked"][0]["reason"]


def test_large_suites_pass_through_workers(project: Project) -> None:
    """Under pytest-xdist workers hand over what they found, with every test that showed it."""
    for number in range(4):
        project.write(f"test_{number}.py", TESTS)
    done, document = project.report("-n", "2", alone=True)
    assert [each["code"] for each in document["findings"]] == ["REG202", "REG201"]
    assert "15 passed" in done.stdout
    assert "and 2 more" in done.stdout
