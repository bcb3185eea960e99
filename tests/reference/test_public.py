"""`regcheck.reference` is public: loaded on use, and documented completely."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import regcheck
from regcheck.reference.optimizers import RULES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "reference.md"
FUNCTIONS = {
    name: each for name in regcheck.reference.__all__ if inspect.isfunction(each := getattr(regcheck.reference, name))
}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_is_loaded_when_it_is_used() -> None:
    """`import regcheck` does not load torch; `regcheck.reference` does, and has every public name."""
    code = "import regcheck, sys; print('torch' in sys.modules); r = regcheck.reference; print('torch' in sys.modules)"
    assert run(f"{code}; from regcheck.reference import *; print(inverted_dropout is r.inverted_dropout)").split() == [
        "False",
        "True",
        "True",
    ]


def test_without_torch_it_says_what_to_install() -> None:
    """Without torch, the error names it and how to install it."""
    code = "import sys; sys.modules['torch'] = None; import regcheck"
    told = run(f"{code}\ntry: regcheck.reference\nexcept ImportError as error: print(error)")
    assert told == "regcheck.reference needs torch: `pip install 'regcheck[torch]'`"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_its_arguments_and_its_paper(name: str) -> None:
    """A docstring describes each argument and, apart from methods of `step`, gives a source; the page shows both."""
    told = inspect.getdoc(FUNCTIONS[name]) or ""
    assert all(f"    {argument}: " in told for argument in inspect.signature(FUNCTIONS[name]).parameters)
    assert "Source: " in told or name == "step"
    page = PAGE.read_text(encoding="utf-8")
    assert f"### {name}\n" in page and told.split("\n")[0] in page


@pytest.mark.parametrize("rule", RULES)
def test_every_optimizer_has_its_formula_and_its_paper(rule: str) -> None:
    """The page has a section for each rule, with its displacement and a source."""
    told = inspect.getdoc(RULES[rule]) or ""
    assert "Δθ = " in told and "Source: " in told
    assert f'### step("{rule}", …)\n' in PAGE.read_text(encoding="utf-8")
