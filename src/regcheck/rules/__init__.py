"""The rules: one file each, found by walking this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from regcheck.core.errors import BrokenRule
from regcheck.core.rule import Rule, by_code


@cache
def load() -> tuple[Rule, ...]:
    """Every rule of this folder, by code.

    Raises:
        BrokenRule: a rule file cannot be imported, lacks a part, or reuses a code or a name.
    """
    modules = pkgutil.walk_packages(__path__, f"{__name__}.")
    return by_code(_load_file(module.name) for module in modules if not module.ispkg)


def _load_file(name: str) -> Rule:
    try:
        return Rule.from_module(importlib.import_module(name))
    except BrokenRule:
        raise
    except Exception as error:
        raise BrokenRule(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
