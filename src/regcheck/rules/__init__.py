"""The rules: one file each, found by walking this folder."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from regcheck.core.errors import BrokenRule
from regcheck.core.rule import Rule


@cache
def load() -> tuple[Rule, ...]:
    """Every rule of this folder, by code.

    Raises:
        BrokenRule: a rule file cannot be imported, lacks a part, or reuses a code or a name.
    """
    rules: dict[str, Rule] = {}
    names: dict[str, Rule] = {}
    for found in pkgutil.walk_packages(__path__, f"{__name__}."):
        if found.ispkg:
            continue
        try:
            module = importlib.import_module(found.name)
        except Exception as error:
            raise BrokenRule(f"{found.name} cannot be imported: {type(error).__name__}: {error}") from error
        rule = Rule.from_module(module)
        for known, what in ((rules.get(rule.code), rule.code), (names.get(rule.name), rule.name)):
            if known:
                raise BrokenRule(f"{found.name} and {known.module} are both called {what}")
        rules[rule.code] = names[rule.name] = rule
    return tuple(rules[code] for code in sorted(rules))
