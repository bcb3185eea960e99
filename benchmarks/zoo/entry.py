"""One model of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

Arguments = tuple[tuple[Any, ...], Mapping[str, Any]]
"""What a forward is called with: positional and keyword arguments."""


@dataclass(frozen=True)
class Entry:
    """How to build a model, and arguments its forward accepts, for when none can be inferred."""

    library: str
    name: str
    build: Callable[[], nn.Module]
    arguments: Callable[[nn.Module], Arguments] | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.library, self.name


class Unbuildable(Exception):
    """A model that is left out: what it needs is not here."""
