"""Plugins: found by entry point, asked through the hooks of `hookspecs`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regcheck import rules
from regcheck.core.errors import BrokenRule
from regcheck.core.rule import Rule

if TYPE_CHECKING:
    from pluggy import PluginManager
    from torch import nn

    from regcheck.tracing.example_inputs import Answer

GROUP = "regcheck"
METADATA = (".dist-info", "egg-info")
INPUT_SOURCES = ("huggingface", "declared_examples", "detectors", "graph_networks")
"""The modules of `input_sources` in the order that they are asked."""


@cache
def manager() -> PluginManager | None:
    """The plugins installed here; None, without importing pluggy, where there are none.

    Raises:
        BrokenRule: a plugin cannot be imported, or implements a hook that does not exist.
    """
    if not may_be_there():
        return None
    from importlib.metadata import entry_points

    found = entry_points(group=GROUP)
    if not found:
        return None
    import pluggy

    from regcheck import hookspecs

    plugins = pluggy.PluginManager("regcheck")
    plugins.add_hookspecs(hookspecs)
    for point in found:
        try:
            plugins.register(point.load(), point.name)
            plugins.check_pending()
        except Exception as error:
            raise BrokenRule(f"plugin {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    return plugins


def may_be_there() -> bool:
    """Whether a plugin may be installed: a look at the files that say so, at a tenth of the price of the library's.

    Where distributions are found by other ways than folders on the path, only the library can tell.
    """
    if any(hasattr(each, "find_distributions") and each is not PathFinder for each in sys.meta_path):
        return True
    return any(os.path.isfile(each) or any(map(names_a_plugin, listed(each or "."))) for each in sys.path)


def listed(folder: str) -> list[str]:
    """The metadata of the distributions in a folder; none where there is no such folder."""
    with suppress(OSError):
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.lower().endswith(METADATA)]
    return []


def names_a_plugin(metadata: str) -> bool:
    with suppress(OSError), open(os.path.join(metadata, "entry_points.txt"), "rb") as file:
        return f"[{GROUP}]".encode() in file.read()
    return False


def call(hook: str, **arguments: Any) -> Any:
    """What the plugins answer to a hook; None where there are none."""
    plugins = manager()
    return getattr(plugins.hook, hook)(**arguments) if plugins else None


def example_inputs(model: nn.Module) -> list[Answer]:
    """The answers to `regcheck_inputs`: of installed plugins, then of regcheck's own implementations."""
    answers: list[Answer] = _input_hooks().hook.regcheck_inputs(model=model)
    return answers


@cache
def _input_hooks() -> PluginManager:
    """The implementations of `regcheck_inputs`; pluggy asks the one registered last first."""
    import pluggy

    from regcheck import hookspecs

    hooks = pluggy.PluginManager(GROUP)
    hooks.add_hookspecs(hookspecs)
    for name in reversed(INPUT_SOURCES):
        hooks.register(import_module(f"regcheck.input_sources.{name}"), name)
    installed = manager()
    for name, plugin in installed.list_name_plugin() if installed else ():
        hooks.register(plugin, name)
    return hooks


@cache
def catalogue() -> tuple[Rule, ...]:
    """The rules of regcheck and those of plugins, by code.

    Raises:
        BrokenRule: a rule is broken, or its code or name is taken.
    """
    known = {rule.code: rule for rule in rules.load()}
    names = {rule.name: rule for rule in known.values()}
    for given in call("regcheck_rules") or ():
        for each in given:
            rule = Rule.from_module(each) if isinstance(each, ModuleType) else each
            for other, what in ((known.get(rule.code), rule.code), (names.get(rule.name), rule.name)):
                if other:
                    raise BrokenRule(f"{rule.module} and {other.module} are both called {what}")
            known[rule.code] = names[rule.name] = rule
    return tuple(known[code] for code in sorted(known))
