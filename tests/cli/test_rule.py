"""`regcheck rule`: a family of rules, rules for programs to read, and the skeleton of a rule file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from regcheck.cli.main import main
from regcheck.core.rule import Rule
from regcheck.plugins import catalogue
from regcheck.testing import check_rule


def loaded(file: Path) -> Rule:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Rule.from_module(module)


def test_the_first_letters_of_codes_list_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    """A prefix of codes lists the rules that have it; with `--output-format json` programs can read them."""
    assert main(["rule", "REG30"]) == 0
    family = [rule for rule in catalogue() if rule.code.startswith("REG30")]
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in listed] == [[rule.code, rule.name] for rule in family]
    assert main(["rule", "REG30", "--output-format", "json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [(each["code"], each["severity"]) for each in documents] == [(r.code, r.severity.value) for r in family]
    by_code = {each["code"]: each for each in documents}
    assert by_code["REG301"]["found_by"] == ["scan", "run"] and by_code["REG303"]["found_by"] == ["scan"]
    assert by_code["REG301"]["since"] == "1.0"
    assert main(["rule", "REG301"]) == 0
    assert capsys.readouterr().out == next(each["page"] for each in documents if each["code"] == "REG301")


@pytest.mark.parametrize("place", ["", "rules", "rules/loud_labels.py", "new/rules"])
def test_a_skeleton_is_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """The skeleton stands where it was asked for, under the rule's name, and keeps every promise of a rule."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    assert main(["rule", "--new", "loud-labels", *filter(None, [place])]) == 0
    file = (
        (tmp_path / place).with_name("loud_labels.py") if place.endswith(".py") else tmp_path / place / "loud_labels.py"
    )
    assert capsys.readouterr().out.startswith(str(file.relative_to(tmp_path)))
    rule = loaded(file)
    assert rule.name == "loud-labels"
    check_rule(rule)


@pytest.mark.parametrize(
    ("name", "path", "says"),
    [
        ("kept", ".", "kept.py: exists already, and is not overwritten"),
        ("kept", "kept.py", "kept.py: exists already, and is not overwritten"),
        ("missing-eval", ".", "there is a rule called missing-eval already: REG201"),
        ("Loud Labels", ".", "'Loud Labels' names no rule"),
        ("../loud", ".", "'../loud' names no rule"),
        ("loud-labels", "quiet.py", "must be called loud_labels.py"),
        ("loud-labels", "kept.py/rules", "cannot be written: Not a directory"),
    ],
)
def test_nothing_is_overwritten_or_misnamed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    path: str,
    says: str,
) -> None:
    """A file that exists keeps its content, and a name that is no rule's, or some rule's already, is refused."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept.py").write_text("mine\n")
    assert main(["rule", "--new", name, path]) == 2
    assert says in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["kept.py"]
    assert (tmp_path / "kept.py").read_text() == "mine\n"
