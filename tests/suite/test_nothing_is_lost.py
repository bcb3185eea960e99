"""What the fixture and configured models show is in every report; what could not be checked is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is

FORMATS = ("full", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit", "html")

ASKING = """
import os

import pytest
import torch
from models import Leaky, NeedsSize, Sound


def test_leaky(regcheck):
    regcheck(Leaky(), torch.ones(4, 8))


def test_leaky_again(regcheck, monkeypatch):
    monkeypatch.chdir("..")
    regcheck(Leaky())


def test_sound(regcheck):
    regcheck(Sound())
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_what_the_fixture_finds_is_in_every_report(project: Project, workers: tuple[str, ...]) -> None:
    """A finding of the fixture fails its test, and stands in each report file once, with the tests that showed it."""
    project.write("test_models.py", ASKING)
    files = [f"--regcheck-report={form}:out/{form}.txt" for form in FORMATS]
    done, document = project.report(*files, *workers, alone=bool(workers))
    assert done.returncode == 1
    assert "2 failed, 1 passed" in done.stdout
    (finding,) = document["findings"]
    assert (finding["code"], finding["path"], finding["severity"]) == ("REG202", "models.py", "error")
    (seen,) = [line for line in done.stdout.splitlines() if "seen in" in line]
    assert {"test_models.py::test_leaky", "test_models.py::test_leaky_again"} == set(
        seen.split("seen in ")[1].split(", ")
    )
    assert "1 finding, 2 models examined" in done.stdout
    for form in FORMATS:
        text = (project.folder / "out" / f"{form}.txt").read_text(encoding="utf-8")
        text = text.replace("<code>", "`").replace("</code>", "`")
        assert text.count("still drops activations after `eval()`") == 1 + (form == "junit") * 1


def test_what_a_test_expects_fails_nothing(project: Project) -> None:
    """A test that passes although the fixture found something knew of it: the finding is shown as advice."""
    project.write(
        "test_models.py",
        """
        import pytest
        from models import Leaky

        def test_shown(regcheck):
            assert not regcheck(Leaky(), options={"fail-on": "never"}).failures

        def test_raises(regcheck):
            with pytest.raises(pytest.fail.Exception, match="REG202"):
                regcheck(Leaky())

        @pytest.mark.xfail(strict=True)
        def test_known(regcheck):
            regcheck(Leaky())
        """,
    )
    done, document = project.report()
    assert done.returncode == 0
    assert [(each["code"], each["severity"]) for each in document["findings"]] == [("REG202", "info")]


CANNOT = {
    "needs": "models:NeedsSize",
    "raises": "broken:Raises",
    "runs": "broken:Picky",
    "missing": "nowhere:Net",
    "import": "syntax:Net",
}
BROKEN = """
from torch import nn


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError("no such\\nweights")


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, batch):
        if float(batch.field.sum()) > 0:
            return self.layer(batch.field)
"""


@pytest.mark.parametrize("options", [(), ("--regcheck-strict",), ("-n", "2")], ids=["alone", "strict", "two workers"])
def test_a_configured_model_that_cannot_be_checked_is_an_error(project: Project, options: tuple[str, ...]) -> None:
    """What cannot be built, imported, traced or run is an error with one message, and "not checked" in the report."""
    targets = ", ".join(f'"{each}"' for each in CANNOT.values())
    project.write("pyproject.toml", f"[tool.regcheck]\nmodels = [{targets}]\n")
    project.write("broken.py", BROKEN)
    project.write("syntax.py", "import torch\ndef (:\n")
    done, document = project.report("-k", "regcheck", *options, alone="-n" in options)
    assert done.returncode == 1
    assert f"{len(CANNOT)} errors" in done.stdout
    missed = {each["subject"] for each in document["not_checked"]}
    assert {target for target in CANNOT.values() if target != CANNOT["runs"]} | {"Picky"} == missed
    assert f"{len(CANNOT)} not checked" in done.stdout
    assert "not checked: models:NeedsSize: takes arguments: size" in done.stdout
    assert "site-packages" not in done.stdout and "regcheck/targets.py" not in done.stdout
    errors = done.stdout[done.stdout.index("= ERRORS =") : done.stdout.index("= regcheck =")]
    assert len(errors.splitlines()) <= 3 * len(CANNOT) + 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--regcheck-report", "json:out.json"), "--regcheck-report needs --regcheck"),
        (("--regcheck-strict", "--regcheck-select", "REG2"), "--regcheck-select, --regcheck-strict need --regcheck"),
    ],
)
def test_options_without_the_flag_are_refused(project: Project, options: tuple[str, ...], told: str) -> None:
    """The other options watch nothing by themselves: on the command line they are wrong usage, and nothing runs."""
    done = project.run(*options)
    assert (done.returncode, "passed" in done.stdout) == (4, False)
    assert f"regcheck: no test was watched and no report written: {told}" in done.stderr
    assert not (project.folder / "out.json").exists()
    assert "need" not in project.run("--regcheck", *options).stdout


def test_options_of_the_project_without_the_flag_say_so(project: Project) -> None:
    """Options in `addopts` wait for runs with the flag: without it a line says what has no effect."""
    project.write("pytest.ini", "[pytest]\npythonpath = .\naddopts = --regcheck-seed 0 --regcheck-report json:a.json\n")
    done = project.run("-q")
    assert done.returncode == 0
    assert "and no report written: --regcheck-seed, --regcheck-report need --regcheck" in done.stdout


def test_options_have_an_effect_on_the_fixture(project: Project) -> None:
    """Without the flag the fixture follows the options, except those about the session's report."""
    project.write(
        "test_models.py", "from models import Leaky\ndef test_it(regcheck):\n    assert regcheck(Leaky()).seed == 7\n"
    )
    done = project.run("--regcheck-ignore", "REG202", "--regcheck-seed", "7")
    assert (done.returncode, "need" in done.stdout) == (0, False)
    assert project.run("--regcheck-seed", "7").returncode == 1
    refused = project.run("--regcheck-seed", "7", "--regcheck-show-refuted")
    assert refused.returncode == 4
    assert "written: --regcheck-show-refuted needs --regcheck" in refused.stderr


REFUTED = """
import torch
import torch.nn.functional as F
from models import Sound


class Masked(Sound):
    def forward(self, x):
        return self.head(self.drop(F.selu(self.hidden(x)))) + torch.zeros(()) * F.dropout(x).sum()
"""


def test_refuted_suspicions_advice_and_seeds_on_request(project: Project) -> None:
    """The options show refuted suspicions, also in files, select further rules, and seed the measurements."""
    project.write("masked.py", REFUTED)
    project.write(
        "test_models.py",
        "import torch\nfrom masked import Masked\ndef test_it():\n    Masked()(torch.ones(4, 8))\n",
    )
    report = ("--regcheck", "--regcheck-report", "json:report.json", "--regcheck-report", "full:report.txt")
    plain = project.run(*report).stdout
    assert "1 suspicion refuted by measurement" in plain
    assert "refuted on cpu" not in plain
    more = ("--regcheck-show-refuted", "--regcheck-extend-select=REG107", "--regcheck-seed=5")
    asked = project.run(*report, *more).stdout
    for text in (asked, (project.folder / "report.txt").read_text(encoding="utf-8")):
        assert "refuted on cpu" in text
        assert "REG107 dropout-with-self-normalizing-units" in text
    assert json.loads((project.folder / "report.json").read_text(encoding="utf-8"))["seed"] == 5


def test_a_seed_is_a_number(project: Project) -> None:
    """A seed that is no number stops the session before its first test."""
    done = project.run("--regcheck", "--regcheck-seed", "seven")
    assert done.returncode == 4
    assert "--regcheck-seed takes a number, zero or more, not 'seven'" in done.stderr


def test_unproven_findings_stand_apart(project: Project) -> None:
    """What could not be measured fails a strict run, and one whose configuration says so, and no other."""
    project.write("pyproject.toml", "[tool.regcheck]\nconfirm = false\n")
    done, document = project.report()
    assert done.returncode == 0
    assert document["unproven"] == document["findings"] != []
    assert "unproven (suspected, and could not be measured):" in done.stdout
    assert "0 findings, 2 unproven" in done.stdout
    done = project.run("--regcheck", "--regcheck-strict")
    assert done.returncode == 1
    assert "what is unproven fails the run (strict)" in done.stdout
    project.write("pyproject.toml", "[tool.regcheck]\nconfirm = false\nfail-on-unproven = true\n")
    assert project.run("--regcheck").returncode == 1


def test_a_deprecated_key_is_told_once(project: Project) -> None:
    """`require-proof` still works, and the header says what to write in its place; no test sees a warning."""
    project.write("pyproject.toml", "[tool.regcheck]\nrequire-proof = true\n")
    project.write("test_models.py", ASKING)
    done = project.run("--regcheck", "-W", "error", "-k", "sound")
    assert done.returncode == 0
    assert done.stdout.count("option 'require-proof' is deprecated: only confirmed findings fail now") == 1
