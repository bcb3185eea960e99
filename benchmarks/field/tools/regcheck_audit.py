"""`regcheck audit`: measures the model, where the case names one."""

from __future__ import annotations

from typing import Any

from . import _regcheck

REQUIREMENTS: tuple[str, ...] = ()
WAY = "model"


def prepare() -> None:
    _regcheck.prepare_torch()


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from regcheck.cli.main import main

    if not task["model"]:
        return []
    main(["audit", *_regcheck.options(task), f"main.py:{task['model']}"])
    return _regcheck.messages(task)
