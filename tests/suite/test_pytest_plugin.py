"""`pytest --regcheck` on small projects, and in a process of its own wherever imports or processes matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from regcheck.core.version import __version__

pytest_plugins = ["pytester"]

PROJECTS = Path(__file__).parents[2] / "fixtures" / "projects"
Project = Any  # what the fixture `project` of conftest.py is


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
    assert "23 passed" in done.stdout
    for code, path, line in planted():
        assert done.stdout.count(f"{path}:{line}:") == 1
        assert code in done.stdout


def test_a_stand_in_in_a_test_file_is_advice(project: Project) -> None:
    """A model that a test file defines for its own ends is shown as `info` and does not fail the run."""
    test = "def test_it():\n    assert Leaky()(torch.ones(4, 8)).shape == (4, 2)\n"
    project.write("test_models.py", project.models + test)
    done, document = project.report()
    assert [(each["code"], each["severity"]) for each in document["findings"]] == [("REG202", "info")]
    assert done.returncode == 0


METHODS = """
import torch
from torch import nn


class Recogniser(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16))
        self.head = nn.Linear(16, 2)

    def features(self, x):
        return self.body(x)

    def normalized(self, x):
        return self.features(x) / 2

    def predict(self, x):
        return self.head(self.body(x)).argmax(1)

    def forward(self, x):
        return self.head(self.features(x))


def search(model, x):
    with torch.no_grad():
        return model.normalized(x).sort()
"""


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("Recogniser().features(x)", None),
        ("Recogniser().normalized(x)", None),
        ("Recogniser().predict(x)", "return self.head(self.body(x)).argmax(1)"),
        ("search(Recogniser(), x)", "return self.body(x)"),
    ],
)
def test_a_test_that_calls_a_method_of_a_model_chooses_its_mode(
    project: Project, asked: str, found: str | None
) -> None:
    """Nothing is said of the model's own line, unless the method predicts by its name, or code under test calls it."""
    project.write("recognition.py", METHODS)
    project.write(
        "test_models.py",
        f"import torch\nfrom recognition import *\n\ndef test_it():\n    x = torch.ones(4, 8)\n"
        f"    with torch.no_grad():\n        assert {asked} is not None\n",
    )
    _, document = project.report("--regcheck-select", "REG201")
    lines = [project.folder.joinpath(each["path"]).read_text().splitlines() for each in document["findings"]]
    told = [text[each["line"] - 1].strip() for text, each in zip(lines, document["findings"], strict=True)]
    assert told == ([] if found is None else [found])


def test_findings_are_shown_with_the_tests_that_showed_them(project: Project) -> None:
    """The section names file, line, fault and test, and the header says what runs."""
    done, document = project.report()
    leak, predicts = line_of(project.models, "F.dropout("), line_of(project.models, "return model(x)")
    assert lines(document) == [("REG201", "models.py", predicts), ("REG202", "models.py", leak)]
    assert f"models.py:{leak}:26 error REG202" in done.stdout
    assert "seen in test_models.py::test_leaky" in done.stdout
    assert "seen in test_models.py::test_predict" in done.stdout
    assert f"regcheck: {__version__}, devices: auto" in done.stdout
    assert "2 findings, 2 models examined, 7 of 7 modules traced" in done.stdout


def test_a_fault_seen_twice_is_reported_once_with_both_tests(project: Project) -> None:
    """Every test that shows a fault is named, and what was confirmed once stays confirmed."""
    project.write("test_more.py", project.tests)
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


def test_wrong_configuration_stops_the_run(project: Project) -> None:
    """An unknown key names its nearest neighbour."""
    project.write("pyproject.toml", '[tool.regcheck]\nselct = ["REG1"]\n')
    done = project.run("--regcheck")
    assert done.returncode == 4
    assert "did you mean 'select'?" in done.stderr
    assert project.run().returncode == 0


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

NAMES = "torch", "rich", "regcheck.suite", "regcheck.config.load", "regcheck.core.finding", "regcheck.engine.audit"

def pytest_unconfigure(config):
    print("loaded:", [name for name in NAMES if name in sys.modules])
"""


def test_without_the_flag_nothing_is_imported(project: Project) -> None:
    """Installed and not asked for, the plugin imports neither torch nor rich, and of regcheck only its options."""
    project.write("conftest.py", IMPORTED)
    project.write("test_models.py", "def test_nothing():\n    pass\n")
    for options in ((), ("--regcheck-report", "json:out.json")):
        assert "loaded: []" in project.run("-s", *options, alone=True).stdout


WATCHED = """
import sys

def pytest_unconfigure(config):
    ours = {name: module for name, module in sys.modules.items() if name.startswith("regcheck.")}
    print("parts:", sorted({name.split(".")[1] for name in ours} & {"engine", "probe", "rules", "static", "tracing"}))
    rewritten = [name for name, module in ours.items() if "Rewrit" in type(module.__loader__).__name__]
    print("rewritten:", [name for name in rewritten if name.startswith(("regcheck.session", "regcheck.runtime"))])
"""


def test_a_session_that_calls_no_model_starts_fast(project: Project) -> None:
    """It imports nothing that examines a model, and pytest rewrites none of the modules that `--regcheck` imports."""
    project.write("conftest.py", WATCHED)
    project.write("test_models.py", "import torch\n\ndef test_nothing():\n    pass\n")
    printed = project.run("-s", "--regcheck", alone=True).stdout
    assert "parts: ['rules']" in printed
    assert "rewritten: []" in printed
    finders = [*sys.meta_path]
    project.run("--regcheck")
    assert sys.meta_path == finders


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
    assert any("runtime/calls.py" in line for line in project.run("-s", "--regcheck", alone=True).stdout.splitlines())


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
    """Without torch `--regcheck` stops with what to do, the fixture fails its test with it, and the others run."""
    project.write(
        "test_models.py", "def test_nothing():\n    pass\n\ndef test_a_model(regcheck):\n    regcheck(None)\n"
    )
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
    plain = project.run("-p", "hide", alone=True).stdout
    assert "1 passed, 1 error" in plain and "needs torch: `pip install 'regcheck[torch]'`" in plain
    assert "Traceback" not in plain and "ModuleNotFoundError" not in plain


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_baseline_silences_what_it_knows(project: Project, workers: tuple[str, ...]) -> None:
    """`--regcheck-baseline` leaves known findings out, whichever door noted them, and fails for new ones only."""
    scan = [sys.executable, "-m", "regcheck", "scan", "models.py", "--write-baseline"]
    subprocess.run(scan, cwd=project.folder, check=True, capture_output=True)
    command = ("--regcheck", "--regcheck-baseline", "regcheck-baseline.json", "-k", "leaky", *workers)
    project.write("models.py", f"# moved\n{project.models}")
    done = project.run(*command, alone=True)
    assert "0 findings, 1 known from the baseline" in done.stdout
    assert done.returncode == 0
    project.write("models.py", project.models.replace("self.hidden(x)), 0.5)", "self.hidden(x)), 0.25)"))
    assert project.run(*command, alone=True).returncode == 1
    (project.folder / "regcheck-baseline.json").unlink()
    done = project.run(*command)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "regcheck-baseline.json: cannot be read" in done.stderr


def test_a_failing_suite_keeps_its_exit_code(project: Project) -> None:
    """A run that ends otherwise than well keeps its own exit code; no tests is still no tests."""
    assert project.run("--regcheck", "-k", "nothing").returncode == 5


@pytest.mark.parametrize("strict", [False, True])
def test_a_failure_in_judging_breaks_nothing(project: Project, monkeypatch: pytest.MonkeyPatch, strict: bool) -> None:
    """When judging a test goes wrong the run goes on and says what was not checked; `--regcheck-strict` fails then."""

    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr("regcheck.session.session.Session.examine", broken)
    done, document = project.report(*(["--regcheck-strict"] if strict else []))
    assert "3 passed" in done.stdout
    assert done.returncode == int(strict)
    reasons = {each["subject"]: each["reason"] for each in document["not_checked"]}
    assert "ZeroDivisionError: by accident" in reasons["test_models.py::test_leaky"]


SHARED = """
import torch, torch.nn as nn, torch.nn.functional as F

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(width, width)

    def forward(self, x):
        return F.dropout(self.out(x), 0.5)

class Net(nn.Module):
    def __init__(self, name, width):
        super().__init__()
        self.name, self.block, self.head = name, Block(width), nn.Linear(width, 2)

    def forward(self, x):
        with open("calls.txt", "a") as file:
            file.write(f"{self.name}\\n")
        return self.head(self.block(x))
"""
RUN_BOTH = """
import pytest, torch
import shared

def test_first():
    shared.Net("first", 4).eval()(torch.ones(3, 4))

@pytest.mark.parametrize("width", [5, 6])
def test_second(width):
    shared.Net("second", width).eval()(torch.ones(3, width))
"""


def test_what_is_confirmed_in_one_model_is_not_measured_in_the_next(project: Project) -> None:
    """Models that share a faulty line share the proof of it; each of them is named."""
    project.write("shared.py", SHARED)
    project.write("test_models.py", RUN_BOTH)
    done, document = project.report("-p", "no:randomly")
    (finding,) = document["findings"]
    assert (finding["code"], finding["evidence"]["verdict"]) == ("REG202", "confirmed")
    assert "test_first" in done.stdout and "test_second[6]" in done.stdout
    called = (project.folder / "calls.txt").read_text().split()
    assert called.count("first") > 12 and called.count("second") <= 6


def test_a_proof_that_a_marker_hides_is_no_proof_for_others(project: Project) -> None:
    """Where the first test declares what it shows, the next model is measured."""
    project.write("shared.py", SHARED)
    marked = RUN_BOTH.replace(
        "def test_first", "@pytest.mark.regcheck(ignore=['REG202'], reason='meant')\ndef test_first"
    )
    project.write("test_models.py", marked)
    _, document = project.report("-p", "no:randomly")
    (finding,) = document["findings"]
    assert finding["evidence"]["verdict"] == "confirmed"
