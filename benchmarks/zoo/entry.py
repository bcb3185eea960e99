"""One model of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""The arguments of a forward: positional and keyword ones."""


@dataclass(frozen=True)
class Entry:
    """How to build a model, and valid arguments of its forward in case none can be inferred."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    arguments: Callable[[nn.Module], Arguments] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.library, self.name


class Unbuildable(Exception):
    """A model to skip, because a dependency is missing."""
