"""A live model together with its use: what a watched program did with it, or what the source around its class does."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from regcheck.core.finding import Suspicion
from regcheck.core.graph import Op
from regcheck.core.rule import Probe, Rule
from regcheck.core.starting_points import StartingPoints
from regcheck.core.usage import Usage
from regcheck.probe.factory import ProbeOn
from regcheck.static.analyze import lowered
from regcheck.static.project.discovery import read
from regcheck.static.project.files import Source
from regcheck.static.project.names import Project

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Capture, Observation


@dataclass(frozen=True)
class ModelUse:
    """A usage, and the `key` by which it knows the model at hand."""

    key: str
    usage: Usage


def uses_in_run(seen: Observation) -> Iterator[tuple[str, Capture | None, list[ModelUse]]]:
    """The uses of each structure that a watched program called, with a captured call of it where there is one."""
    keys: dict[str, dict[str, None]] = {}
    for _, call in seen.usage.calls():
        if call.structure:
            keys.setdefault(call.structure, {})[call.model.key] = None
    captures = {capture.model_key: capture for capture in reversed(seen.captures)}
    for structure, models in keys.items():
        yield structure, captures.get(structure), [ModelUse(key, seen.usage) for key in models]


def uses_in_source(model: nn.Module, rules: Iterable[Rule]) -> list[ModelUse]:
    """The uses of a model's class in the files that hold the class: its own, and those of modules that imported it."""
    kind = type(model)
    try:
        own = inspect.getsourcefile(kind)
    except (OSError, TypeError):
        return []
    modules: list[Any] = [*sys.modules.values()]
    holders = [each for each in modules if isinstance(each, ModuleType) and vars(each).get(kind.__name__) is kind]
    files = dict.fromkeys(filter(None, (own, *(getattr(each, "__file__", None) for each in holders))))
    contents = {file: read(Path(file)) for file in files if file.endswith(".py")}
    sources = [Source(file, content, True) for file, content in contents.items() if isinstance(content, bytes)]
    reading = lowered(Project(sources, StartingPoints.of(rule.begins_at for rule in rules)))
    mine = {key for key, each in reading.models.items() if (each.path, each.name) == (own, kind.__qualname__)}
    return [
        ModelUse(key, usage)
        for usage in reading.usages
        for key in dict.fromkeys(call.model.key for _, call in usage.calls())
        if key in mine
    ]


def either(probe_op: ProbeOn, probe_event: ProbeOn) -> ProbeOn:
    """The probes for suspicions about ops and events alike."""

    def probe_on(suspicion: Suspicion, device: str) -> Probe:
        return (probe_op if isinstance(suspicion.at, Op) else probe_event)(suspicion, device)

    return probe_on
