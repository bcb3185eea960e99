"""`pytest --regcheck`: watches a test that runs the program."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import _regcheck

REQUIREMENTS: tuple[str, ...] = ()
WAY = "run"
TEST = """import runpy

def test_program():
    runpy.run_path("main.py", run_name="__main__")
"""


def prepare() -> None:
    import pytest  # noqa: F401

    _regcheck.prepare_torch()


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    import pytest

    Path("test_program.py").write_text(TEST, encoding="utf-8")
    code = _regcheck.advice_code(task)
    selected = [f"--regcheck-extend-select={code}"] if code else []
    report = f"--regcheck-report=json:{_regcheck.REPORT}"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plain = ["-p", "regcheck.pytest_plugin", "-p", "no:cacheprovider", "--assert=plain"]
    pytest.main(["--regcheck", report, *selected, *plain, "test_program.py"])
    return _regcheck.messages(task)
