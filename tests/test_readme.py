"""The README and the tutorial show what really comes out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


def readme() -> ModuleType:
    file = Path(__file__).parent.parent / "docs" / "readme.py"
    spec = importlib.util.spec_from_file_location("readme", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


README = readme()
each_page = pytest.mark.parametrize("page", README.PAGES, ids=lambda page: page.stem)


def is_scan(command: str) -> bool:
    return command.startswith("regcheck scan")


def without_figures(text: str) -> list[str]:
    """The lines that do not depend on random draws: places and rules, source, messages and fixes."""
    paragraph = r"^    (?:confirmed|measured|seen in|not ).*\n(?:    (?!fix: |seen in |also ).*\n)*"
    return re.sub(rf"{paragraph}|^[.s]+ .*\n", "", text, flags=re.MULTILINE).splitlines()


@each_page
def test_every_door_is_shown(page: Path) -> None:
    """The page shows the output of all three doors."""
    commands = [block["command"] for block in README.BLOCK.finditer(page.read_text(encoding="utf-8"))]
    assert {" ".join(each.split()[:2]) for each in commands if each} == {
        "pytest --regcheck",
        "regcheck audit",
        "regcheck scan",
    }


@each_page
def test_the_output_of_scan_is_current(page: Path) -> None:
    """What the page shows for `regcheck scan` is what it prints, letter by letter."""
    runs = [*README.runs(page, is_scan)]
    assert runs
    assert [now for _, _, now in runs] == [shown for _, shown, _ in runs], "run `make readme`"


@pytest.mark.slow
@each_page
def test_the_output_of_all_doors_is_current(page: Path) -> None:
    """What the page shows is what the doors print, from top to bottom, but for figures, which differ by machine."""
    for command, shown, now in README.runs(page):
        assert without_figures(now) == without_figures(shown), f"{command}: run `make readme`"


def test_an_edit_that_no_longer_fits_is_an_error(tmp_path: Path) -> None:
    """A `diff` block whose old lines are not in the file stops the run of the page."""
    file = tmp_path / "train.py"
    file.write_text("a\nb\n")
    README.edit(file, " a\n+c\n b\n")
    assert file.read_text() == "a\nc\nb\n"
    with pytest.raises(AssertionError, match="does not have these lines"):
        README.edit(file, " a\n b\n")


@pytest.mark.slow
def test_the_picture_is_current() -> None:
    """The picture names the places and rules that the command finds now, and loads nothing."""
    shown = README.PICTURE.read_text(encoding="utf-8")
    findings = re.compile(r"quickstart/\w+\.py:[\d:]+|REG\d{3}")
    assert findings.findall(shown) == findings.findall(README.picture())
    assert {"REG102", "REG201", "REG301"} <= {*findings.findall(shown)}
    assert "url(http" not in shown and "src=" not in shown
