"""What the looks at a watched model's structure left open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .finding import NotChecked

MEASURED, UNPROVEN, NOT_REPLAYED, NOT_KEPT = range(4)
"""How a look ended, from best to worst: all was measured; something could not be; the call could not be made again;
no call of it was kept."""


@dataclass(frozen=True)
class Inspection:
    """One look at a model's structure: how it `ended`, and what it left open."""

    ended: int
    open: tuple[NotChecked, ...] = ()

    @property
    def done(self) -> bool:
        """Whether no other call needs to be looked at."""
        return self.ended == MEASURED and not self.open

    def to_dict(self) -> dict[str, Any]:
        return {"ended": self.ended, "open": [each.to_dict() for each in self.open]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Inspection:
        """Rebuild a look from `to_dict`."""
        return cls(document["ended"], tuple(NotChecked(**each) for each in document["open"]))


Inspections = Mapping[str, Inspection]
"""The best look at each structure."""


def best(looks: Iterable[Inspections]) -> dict[str, Inspection]:
    """Of each structure, the look that tells most of it."""
    found: dict[str, Inspection] = {}
    for each in looks:
        for structure, look in each.items():
            found[structure] = min(found.get(structure, look), look, key=lambda it: (it.ended, len(it.open)))
    return found


def left_open(looks: Inspections) -> tuple[NotChecked, ...]:
    """What is not checked, as no look told it."""
    return tuple(dict.fromkeys(each for look in looks.values() for each in look.open))
