"""How far the examination of a watched model's structure came, and what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from regcheck.core.finding import NotChecked


class Progress(IntEnum):
    """How an examination ended, from best to worst."""

    MEASURED = 0
    """Every suspicion was measured."""
    UNPROVEN = 1
    """A suspicion could not be measured."""
    NOT_REPLAYED = 2
    """The call could not be made again."""
    NOT_CAPTURED = 3
    """No call was captured."""


@dataclass(frozen=True)
class Inspection:
    """One examination of a model's structure: how it ended, and what it leaves open."""

    progress: Progress
    open: tuple[NotChecked, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether no other call needs to be examined."""
        return self.progress is Progress.MEASURED and not self.open

    def to_dict(self) -> dict[str, Any]:
        return {"progress": int(self.progress), "open": [each.to_dict() for each in self.open]}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Inspection:
        """Rebuild an inspection from `to_dict`."""
        return cls(Progress(document["progress"]), tuple(NotChecked(**each) for each in document["open"]))


Inspections = Mapping[str, Inspection]
"""The best inspection of each structure."""


def keep_best(kept: dict[str, Inspection], inspections: Inspections) -> None:
    """Add inspections; of each structure the one stays that came furthest and leaves least open."""
    for structure, inspection in inspections.items():
        known = kept.get(structure, inspection)
        kept[structure] = min(known, inspection, key=lambda it: (it.progress, len(it.open)))


def left_open(inspections: Inspections) -> tuple[NotChecked, ...]:
    """What the best inspection of each structure leaves open."""
    return tuple(dict.fromkeys(each for inspection in inspections.values() for each in inspection.open))
