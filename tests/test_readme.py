"""The README shows what really comes out."""

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
SHOWN = dict(README.blocks())


def without_figures(text: str) -> list[str]:
    """The lines that do not depend on random draws: places and rules, source, messages and fixes."""
    measured = re.compile(r"^    (confirmed|measured|seen in|not )|passed in|^[.s]+ ")
    return [line for line in text.splitlines() if not measured.search(line)]


def test_every_door_is_shown() -> None:
    """The README shows the output of all three doors."""
    assert {" ".join(command.split()[:2]) for command in SHOWN} == {
        "pytest --regcheck",
        "regcheck audit",
        "regcheck scan",
    }


@pytest.mark.parametrize("command", [command for command in SHOWN if command.startswith("regcheck scan")])
def test_the_output_of_scan_is_current(command: str) -> None:
    """What the README shows for `regcheck scan` is what it prints, letter by letter."""
    assert README.output(command) == SHOWN[command], "run `make readme`"


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in SHOWN if not command.startswith("regcheck scan")])
def test_the_output_of_the_measuring_doors_is_current(command: str) -> None:
    """What the README shows for the other doors is what they print, but for the figures, which differ by machine."""
    assert without_figures(README.output(command)) == without_figures(SHOWN[command]), "run `make readme`"
