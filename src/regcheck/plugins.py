"""Plugins: installed under an entry point, and called through the hooks of `hookspecs`."""

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
from regcheck.core.rule import Rule, by_code

if TYPE_CHECKING:
    from pluggy import PluginManager
    from torch import nn

    from regcheck.tracing.example_inputs import Answer

GROUP = "regcheck"
METADATA = (".dist-info", "egg-info")
INPUT_SOURCES = ("deployed", "huggingface", "declared_examples", "detectors", "graph_networks", "keras_inputs")
"""The modules of `input_sources` in the order that they are asked."""


@cache
def manager() -> PluginManager | None:
    """The plugins of this environment; None, without importing pluggy, if there are none.

    Raises:
        BrokenRule: a plugin cannot be imported, or implements a hook that does not exist.
    """
    if not may_have_plugins():
        return None
    from importlib.metadata import entry_points

    points = entry_points(group=GROUP)
    if not points:
        return None
    import pluggy

    from regcheck import hookspecs

    plugins = pluggy.PluginManager("regcheck")
    plugins.add_hookspecs(hookspecs)
    for point in points:
        try:
            plugins.register(point.load(), point.name)
            plugins.check_pending()
        except Exception as error:
            raise BrokenRule(f"plugin {point.name!r} ({point.value}) cannot be loaded: {error}") from error
    return plugins


def may_have_plugins() -> bool:
    """Whether a plugin may be installed: reads the entry points on the path, ten times faster than importlib.metadata.

    True without reading them where an import hook, or an archive on the path, may hold distributions.
    """
    if any(hasattr(each, "find_distributions") and each is not PathFinder for each in sys.meta_path):
        return True
    return any(os.path.isfile(each) or any(map(names_a_plugin, metadata_in(each or "."))) for each in sys.path)


def metadata_in(folder: str) -> list[str]:
    """The metadata folders of the distributions in a folder; none if it does not exist."""
    with suppress(OSError):
        return [os.path.join(folder, name) for name in os.listdir(folder) if name.lower().endswith(METADATA)]
    return []


def names_a_plugin(metadata: str) -> bool:
    """Whether the entry points of a distribution name the group."""
    with suppress(OSError), open(os.path.join(metadata, "entry_points.txt"), "rb") as file:
        return f"[{GROUP}]".encode() in file.read()
    return False


def call(hook: str, **arguments: Any) -> Any:
    """The answers of the plugins to a hook; None if there are no plugins."""
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
    """The rules of regcheck and of its plugins, sorted by code.

    Raises:
        BrokenRule: a rule is broken, or two share a code or a name.
    """
    answers = call("regcheck_rules") or ()
    foreign = (
        Rule.from_module(each) if isinstance(each, ModuleType) else each for answer in answers for each in answer
    )
    return by_code((*rules.load(), *foreign))
