"""What a suite declares to be intended, by markers, on classes, around blocks; and what of it has become idle."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

pytest_plugins = ["pytester"]

Project = Any  # what the fixture `project` of conftest.py is


def test_marker_ignores_what_a_test_shows(project: Project) -> None:
    """The marker silences its rules for the test that carries it, and only there."""
    marked = project.tests.replace(
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
    assert "examined" not in done.stdout


MARK = '@pytest.mark.regcheck(ignore=["{}"], reason="on purpose")\n'


def marked(project: Project, **codes: str) -> str:
    """The project's tests, some of them with a marker."""
    text = "import pytest\n" + project.tests
    for test, code in codes.items():
        text = text.replace(f"def {test}", f"{MARK.format(code)}def {test}")
    return text


def shown(document: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted((each["code"], each["severity"]) for each in document["findings"])


def idle(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in document["findings"] if each["code"] == "REG900"]


@pytest.mark.parametrize("marked_first", [True, False])
def test_a_marker_speaks_for_its_own_test_whatever_the_order(project: Project, marked_first: bool) -> None:
    """A structure is checked once, yet each test that runs it shows what it showed: none silences another."""
    (project.folder / "test_models.py").unlink()
    plain, quiet = ("test_b.py", "test_a.py") if marked_first else ("test_a.py", "test_b.py")
    project.write(plain, project.tests)
    project.write(quiet, marked(project, test_leaky="REG202", test_predict="REG201"))
    done, document = project.report()
    assert shown(document) == [("REG201", "error"), ("REG202", "error")]
    assert f"seen in {plain}::test_leaky" in done.stdout
    assert f"{quiet}::" not in done.stdout


def test_an_idle_marker_is_reported(project: Project) -> None:
    """A marker whose test shows no such finding is REG900, at its own line; one that silences something is not."""
    text = marked(project, test_leaky="REG202", test_sound="REG202", test_predict="REG2")
    path = project.write("test_models.py", text)
    done, document = project.report()
    (found,) = idle(document)
    source = path.read_text(encoding="utf-8").splitlines()
    assert source[found["line"] - 1] == MARK.format("REG202").strip()
    assert source[found["line"]].startswith("def test_sound")
    assert "suppresses nothing: its test showed no such finding" in found["message"]
    assert done.returncode == 1
    assert shown(document) == [("REG900", "warning")]


def test_a_marker_speaks_for_what_the_fixture_finds(project: Project) -> None:
    """A marker suppresses what its test's own audit finds, and is then in use; one for another rule does neither."""
    audits = "import pytest, torch\nfrom models import Leaky\n\n{}def test_audit(regcheck):\n    regcheck(Leaky())\n"
    for code, expected in (("REG202", []), ("REG203", [("REG202", "error")])):
        project.write("test_models.py", audits.format(MARK.format(code)))
        done, document = project.report()
        assert done.returncode == len(expected)
        assert shown(document) == expected


@pytest.mark.parametrize("level", ["module", "class"])
def test_a_marker_on_many_tests_needs_one_finding(project: Project, level: str) -> None:
    """A marker on a class or a module speaks for all its tests: it is idle only if none of them shows the finding."""
    call = 'pytest.mark.regcheck(ignore=["{}"], reason="on purpose")'
    for code in ("REG202", "REG101"):
        text = "import pytest\n" + project.tests
        if level == "module":
            text += f"\npytestmark = {call.format(code)}\n"
        else:
            imports, _, tests = text.partition("\n\n\n")
            tests = textwrap.indent(tests.replace("():", "(self):"), "    ")
            text = f"{imports}\n\n\n@{call.format(code)}\nclass TestIt:\n{tests}"
        project.write("test_models.py", text)
        _, document = project.report()
        assert [each["message"].partition(":")[2].strip() for each in idle(document)] == (
            ["none of the 3 tests concerned showed such a finding"] if code == "REG101" else []
        )


PARTIAL = {
    "-k": ("-k", "sound"),
    "one file": ("test_models.py",),
    "one test": ("test_models.py::test_sound",),
    "--deselect": ("--deselect", "test_models.py::test_predict"),
    "the rule is off": ("--regcheck-select", "REG1,REG900"),
    "REG900 is off": ("--regcheck-ignore", "REG900"),
}


@pytest.mark.parametrize("how", PARTIAL)
def test_only_a_whole_session_can_tell(project: Project, how: str) -> None:
    """Where not everything ran that could have shown the finding, no marker is called idle."""
    project.write("test_models.py", marked(project, test_sound="REG202"))
    assert len(idle(project.report()[1])) == 1
    assert idle(project.report(*PARTIAL[how])[1]) == []


@pytest.mark.parametrize(
    "body",
    [
        "pytest.skip()",
        "assert False",
        "pytest.xfail()",
        "Sound()(torch.ones(4, 9))",
    ],
)
def test_a_test_that_did_not_pass_proves_nothing(project: Project, body: str) -> None:
    """A marked test that was skipped or failed may have shown the finding, had it run on."""
    text = marked(project, test_sound="REG202").replace("    assert Sound()", f"    {body}\n    assert Sound()")
    project.write("test_models.py", text)
    assert idle(project.report()[1]) == []


def test_a_stopped_session_proves_nothing(project: Project) -> None:
    """After `-x` has stopped the run, and with `--lf`, no marker is called idle."""
    project.write("test_models.py", marked(project, test_sound="REG202"))
    project.write("test_z.py", "def test_fails():\n    assert False\n")
    assert idle(project.report("-x")[1]) == []
    assert len(idle(project.report("-p", "cacheprovider")[1])) == 1
    assert idle(project.report("-p", "cacheprovider", "--lf")[1]) == []


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_idle_ignores_are_found_by_workers(project: Project, workers: tuple[str, ...]) -> None:
    """Whoever runs the tests, an ignore is idle only if it silenced nothing anywhere."""
    for number in range(2):
        project.write(f"test_{number}.py", project.tests)
    ignore = '@regcheck.ignore("{}", reason="Monte-Carlo dropout")\nclass {}'
    models = project.models.replace("class Leaky", ignore.format("REG202", "Leaky"))
    models = models.replace("class Sound", ignore.format("REG202", "Sound"))
    project.write("models.py", f"import regcheck\n{models}")
    _, document = project.report(*workers, alone=bool(workers))
    assert shown(document) == [("REG201", "error"), ("REG900", "info")]
    (found,) = idle(document)
    source = (project.folder / "models.py").read_text(encoding="utf-8").splitlines()
    assert source[found["line"]] == "class Sound(nn.Module):"
    assert found["path"] == "models.py"
    assert '@regcheck.ignore("REG202")` suppresses nothing: none of the' in found["message"]


def test_an_unknown_code_on_a_class_is_named(project: Project) -> None:
    """A misspelt code on a class is reported with the rule that is meant, even in part of a session."""
    models = project.models.replace("class Sound", '@regcheck.ignore("REG2O2", reason="x")\nclass Sound')
    project.write("models.py", f"import regcheck\n{models}")
    _, document = project.report("-k", "sound")
    (found,) = idle(document)
    assert found["severity"] == "warning"
    assert "there is no such rule (did you mean 'REG202'?)" in found["message"]


def test_a_required_reason_is_required_everywhere(project: Project) -> None:
    """With `require-reason` a class that gives none suppresses nothing, and that is said."""
    project.write("pyproject.toml", "[tool.regcheck]\nrequire-reason = true\n")
    models = project.models.replace("class Leaky", '@regcheck.ignore("REG202")\nclass Leaky')
    project.write("models.py", f"import regcheck\n{models}")
    _, document = project.report("-k", "leaky")
    assert shown(document) == [("REG202", "error"), ("REG900", "warning")]
    assert "`require-reason` asks for a reason" in idle(document)[0]["message"]


def test_a_block_around_an_audit_is_followed(project: Project) -> None:
    """A block that silences something in its test is fine; one that does not is reported at its line."""
    path = project.write(
        "test_models.py",
        """
        import regcheck
        from models import Leaky, Sound

        def test_leaky():
            with regcheck.ignore("REG202", reason="on purpose"):
                assert regcheck.audit(Leaky()).ok

        def test_sound():
            with regcheck.ignore("REG203", reason="on purpose"):
                assert regcheck.audit(Sound()).ok
        """,
    )
    _, document = project.report()
    (found,) = idle(document)
    assert shown(document) == [("REG900", "warning")]
    assert "REG203" in path.read_text(encoding="utf-8").splitlines()[found["line"] - 1]


def test_a_block_in_a_test_speaks_for_the_test(project: Project) -> None:
    """What is declared around a block of a test is intended in that test, and in no other."""
    text = project.tests.replace("import torch", "import regcheck, torch").replace(
        "    assert predict(", '    with regcheck.ignore("REG201", reason="on purpose"):\n        assert predict('
    )
    project.write("test_models.py", text)
    assert shown(project.report()[1]) == [("REG202", "error")]
    project.write("test_more.py", project.tests)
    done, document = project.report()
    assert shown(document) == [("REG201", "error"), ("REG202", "error")]
    assert "seen in test_more.py::test_predict" in done.stdout


INSIDE = """

def sample(model, x):
    with regcheck.ignore("{}", reason="why"), torch.no_grad():
        return model(x)
"""


def sampled(project: Project, code: str, *tests: str) -> tuple[Any, dict[str, Any]]:
    """The report on tests of a function of the code under test that calls a model within a block."""
    project.write("models.py", f"import regcheck\n{project.models}{INSIDE.format(code)}")
    imports = "import torch\nfrom models import Leaky, Sound, predict, sample\n"
    bodies = (f"def test_{number}():\n    {body}\n" for number, body in enumerate(tests))
    project.write("test_models.py", "\n\n".join((imports, *bodies)))
    done, document = project.report()
    return done, document


PREDICTED = ("predict(Sound(), torch.ones(4, 8))", "sample(Sound(), torch.ones(4, 8))")


def test_a_block_in_the_code_under_test_speaks_for_the_calls_in_it(project: Project) -> None:
    """What happens in the block is intended; a block whose rule finds nothing there is advice."""
    assert shown(sampled(project, "REG201", PREDICTED[1])[1]) == []
    _, document = sampled(project, "REG203", PREDICTED[1])
    assert shown(document) == [("REG201", "error"), ("REG900", "info")]
    assert "suppresses nothing: its test showed no such finding" in idle(document)[0]["message"]


@pytest.mark.parametrize("order", [PREDICTED, PREDICTED[::-1]], ids=["outside first", "inside first"])
def test_what_happens_outside_of_a_block_is_reported(project: Project, order: tuple[str, str]) -> None:
    """The same model in one test, inside of a block and outside: only the call outside is reported, in either order."""
    _, document = sampled(project, "REG201", "; ".join(order))
    assert shown(document) == [("REG201", "error")]
    assert project.models.splitlines()[document["findings"][0]["line"] - 2].strip() == "return model(x)"


@pytest.mark.parametrize("inside_first", [True, False])
def test_a_block_around_all_calls_of_a_model_speaks_for_its_structure(project: Project, inside_first: bool) -> None:
    """What is in a model is intended where a test runs it in the block only, and shown where one runs it outside."""
    inside, outside = "sample(Leaky(), torch.ones(4, 8))", "predict(Leaky(), torch.ones(4, 8))"
    assert shown(sampled(project, "REG202", inside)[1]) == []
    tests = (inside, outside) if inside_first else (outside, inside)
    done, document = sampled(project, "REG202", *tests)
    assert shown(document) == [("REG202", "error")]
    assert f"seen in test_models.py::test_{tests.index(outside)}" in done.stdout
    assert f"test_models.py::test_{tests.index(inside)}" not in done.stdout
    assert shown(sampled(project, "REG202", f"{inside}; {outside}")[1]) == [("REG202", "error")]


def test_a_block_around_the_building_of_an_optimizer_speaks_for_its_steps(project: Project) -> None:
    """An optimizer that is built within a block is stepped as intended."""
    models = (
        project.models
        + """

def optimizer_for(model):
    with regcheck.ignore("{}", reason="as in the paper"):
        return torch.optim.Adam(model.parameters(), weight_decay=0.1)


def step(model, x):
    optimizer = optimizer_for(model)
    model(x).sum().backward()
    optimizer.step()
"""
    )
    project.write(
        "test_models.py", "import torch, models\ndef test():\n    models.step(models.Sound(), torch.ones(4, 8))"
    )
    for code, expected in (("REG301", []), ("REG203", [("REG301", "warning"), ("REG900", "info")])):
        project.write("models.py", f"import regcheck\n{models.replace('{}', code)}")
        assert shown(project.report()[1]) == expected


ENCODER = """
import pytest
import torch
from encoders import Encoder

{mark}def test_encodes():
    assert Encoder()(torch.randn(4, 8, 1000)).shape == (4, 2)

{again}def test_encodes_again():
    assert Encoder()(torch.randn(4, 8, 1000)).shape == (4, 2)
"""


@pytest.mark.parametrize("where", ["mark", "again"])
def test_a_marker_that_silences_hidden_advice_is_of_use(project: Project, where: str) -> None:
    """What is off until selected is no finding, and who declares it is not told that it suppresses nothing."""
    project.write(
        "encoders.py",
        """
        import torch
        from torch import nn

        class Encoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.mix = nn.Conv1d(8, 32, 1), nn.Conv1d(32, 32, 3)
                self.drop, self.second, self.head = nn.Dropout(0.5), nn.Conv1d(32, 32, 3), nn.Linear(32, 2)

            def forward(self, x):
                x = self.drop(torch.relu(self.mix(self.first(x))))
                return self.head(torch.relu(self.second(x)).mean(-1))
        """,
    )
    marks = {"mark": "", "again": "", where: MARK.format("REG102")}
    project.write("test_models.py", ENCODER.format(**marks))
    _, document = project.report("-p", "no:randomly")
    assert document["findings"] == []
    project.write("test_models.py", ENCODER.format(**{**marks, where: MARK.format("REG101")}))
    _, document = project.report("-p", "no:randomly")
    assert [each["code"] for each in document["findings"]] == ["REG900"]
