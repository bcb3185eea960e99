"""`regcheck run`: watches the program."""

from __future__ import annotations

from typing import Any

from . import _regcheck

REQUIREMENTS: tuple[str, ...] = ()
WAY = "run"


def prepare() -> None:
    _regcheck.prepare_torch()


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from regcheck.cli.main import main

    main(["run", *_regcheck.options(task), "main.py"])
    return _regcheck.messages(task)
