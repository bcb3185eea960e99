"""The rules: one file each, found by walking this folder."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from regcheck.core.errors import BrokenRule
from regcheck.core.rule import Rule, by_code


@cache
def load() -> tuple[Rule, ...]:
    """Every rule of this folder, by code.

    Raises:
        BrokenRule: a rule file cannot be imported, lacks a part, or reuses a code or a name.
    """
    files = sorted(Path(__path__[0]).glob("*/[!_]*.py"))
    return by_code(_load_file(f"{__name__}.{file.parent.name}.{file.stem}") for file in files)


def _load_file(name: str) -> Rule:
    try:
        return Rule.from_module(importlib.import_module(name))
    except BrokenRule:
        raise
    except Exception as error:
        raise BrokenRule(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
