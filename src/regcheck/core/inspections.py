"""How far the examination of a watched model's structure came, and what it leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from regcheck.lazy_dataclass import dataclass

from .coverage import Coverage
from .finding import NotChecked


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
    """One examination of a model's structure: how it ended, what it leaves open, and how much it looked at."""

    progress: Progress
    open: tuple[NotChecked, ...] = ()
    coverage: tuple[Coverage, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether no other call needs to be examined."""
        return self.progress is Progress.MEASURED and not self.open

    def to_dict(self) -> dict[str, Any]:
        return {
            "progress": int(self.progress),
            "open": [each.to_dict() for each in self.open],
            "coverage": [each.to_dict() for each in self.coverage],
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Inspection:
        """Rebuild an inspection from `to_dict`."""
        left_open = tuple(NotChecked(**each) for each in document["open"])
        return cls(Progress(document["progress"]), left_open, tuple(map(Coverage.from_dict, document["coverage"])))


Inspections = Mapping[str, Inspection]
"""The best inspection of each structure."""


def keep_best(best_by_structure: dict[str, Inspection], inspections: Inspections) -> None:
    """Add inspections, in any order; of each structure the one stays that came furthest and leaves least open."""
    for structure, inspection in inspections.items():
        best = best_by_structure.get(structure)
        best_by_structure[structure] = inspection if best is None else min(best, inspection, key=_order)


def _order(inspection: Inspection) -> tuple[int, int, int, str]:
    traced = sum(each.traced for each in inspection.coverage)
    return inspection.progress, len(inspection.open), -traced, repr(inspection)


def left_open(inspections: Inspections) -> tuple[NotChecked, ...]:
    """What the best inspection of each structure leaves open."""
    return tuple(dict.fromkeys(each for inspection in inspections.values() for each in inspection.open))


def covered(inspections: Inspections) -> tuple[Coverage, ...]:
    """The coverage of the best inspection of each structure."""
    return tuple(dict.fromkeys(each for inspection in inspections.values() for each in inspection.coverage))
