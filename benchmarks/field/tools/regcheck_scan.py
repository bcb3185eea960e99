"""`regcheck scan`: reads the source."""

from __future__ import annotations

from typing import Any

from . import _regcheck

REQUIREMENTS: tuple[str, ...] = ()
WAY = "source"


def prepare() -> None:
    _regcheck.prepare_source()


def examine(task: dict[str, Any]) -> list[dict[str, Any]]:
    from regcheck.cli.main import main

    main(["scan", "--no-cache", *_regcheck.options(task), "."])
    return _regcheck.messages(task)
