"""The recorded graph of a model as a drawing: folded by module, except where a finding is.

Reads the `torch.fx.Graph` of a report without importing torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from regcheck.core.coverage import MOST_NAMES
from regcheck.core.finding import Finding
from regcheck.core.report import counted
from regcheck.files.escape import visible
from regcheck.lazy_dataclass import dataclass

PITCH = 30
"""From one part to the next, in pixels."""
HEIGHT = 22
LANE = 10
CHARACTER = 7.3
"""The width of a character, in pixels."""
MOST_CHARACTERS = 44
MOST_PARTS = 120
"""A drawing of more parts is cut, and says so."""

Marks = tuple[tuple[str, str], ...]
"""The codes of the findings about an operation, each with the identifier of its card."""


@dataclass(frozen=True)
class DrawnPart:
    """A box: one operation, or operations of a module in a row. `role` is its CSS class, `target` a card."""

    text: str
    title: str
    role: str
    target: str
    top: int
    width: float


@dataclass(frozen=True)
class Drawing:
    """Boxes from top to bottom, and the SVG paths of the values between them. Lengths are in pixels."""

    parts: tuple[DrawnPart, ...]
    wires: tuple[str, ...]
    left: int
    width: float
    height: int
    left_out: int


@dataclass(frozen=True)
class _Operation:
    node: Any
    path: str
    name: str
    marks: Marks
    is_alike: bool


@dataclass(frozen=True)
class _Fold:
    """Operations that one box shows: of the modules `first` to `last`, whole ones or a part of one."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    operations: tuple[_Operation, ...]
    is_whole: bool

    @property
    def marks(self) -> Marks:
        return tuple(dict.fromkeys(mark for each in self.operations for mark in each.marks))

    @property
    def codes(self) -> str:
        return "".join(f" ◂ {code}" for code in dict.fromkeys(code for code, _ in self.marks))

    @property
    def title(self) -> str:
        """`blocks.3 … 11 (88 operations)`, `head: linear`, `chunk, getitem and 2 more`."""
        path, *others = dict.fromkeys(each.path for each in self.operations)
        if others:
            to = "" if self.first == self.last else f" … {self.last[-1]}"
            return visible(f"{'.'.join(self.first)}{to} ({counted(len(self.operations), 'operation')})")
        names = [*dict.fromkeys(each.name for each in self.operations)]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        return visible((f"{path}: " if path else "") + ", ".join(names[:MOST_NAMES]) + more)


def drawing(graph: Any, findings: Iterable[tuple[Finding, str]]) -> Drawing | None:
    """The drawing of a `torch.fx.Graph`; None where none of the findings, given with their cards, is about its ops."""
    operations = _operations(graph, findings)
    if not any(each.marks for each in operations):
        return None
    folds = [*_with_merged_siblings(_folded(operations, 0))]
    shown = folds[:MOST_PARTS]
    number_of = {each.node: number for number, fold in enumerate(shown) for each in fold.operations}
    lanes, wires = _wires(number_of)
    left = LANE * (lanes + 1)
    parts = tuple(_part(fold, number) for number, fold in enumerate(shown))
    return Drawing(
        parts=parts,
        wires=tuple(_path(left, *wire) for wire in wires),
        left=left,
        width=left + max(each.width for each in parts) + 1,
        height=PITCH * len(parts),
        left_out=len(folds) - len(shown),
    )


def _operations(graph: Any, findings: Iterable[tuple[Finding, str]]) -> list[_Operation]:
    marks: dict[tuple[str, int | None, int | None], Marks] = {}
    for finding, card in findings:
        where = finding.module_path, finding.line, finding.column
        marks[where] = (*marks.get(where, ()), (finding.code, card))
    sites = [(node, getattr(node.meta.get("regcheck"), "site", None)) for node in graph.nodes if node.op != "get_attr"]
    sizes = Counter(site.module for _, site in sites if site is not None)

    def marks_at(site: Any) -> Marks:
        """The findings at a call; one without a line is at the only operation of its module."""
        if site is None or (site.place is None and sizes[site.module] > 1):
            return ()
        position = (site.place.line, site.place.column) if site.place else (None, None)
        return marks.get((visible(site.module), *position), ())

    marked = {site.place for _, site in sites if site is not None and marks_at(site)} - {None}
    return [
        _Operation(node, *_name(node, site), marks_at(site), site is not None and site.place in marked)
        for node, site in sites
    ]


def _name(node: Any, site: Any) -> tuple[str, str]:
    """The path of the module that an operation belongs to, and its name; inputs and outputs stand for themselves."""
    if node.op in ("placeholder", "output"):
        return node.name, "input" if node.op == "placeholder" else "result"
    return (site.module, site.function) if site else ("", node.name)


def _folded(operations: Iterable[_Operation], depth: int) -> Iterator[_Fold]:
    """Operations in a row of one module at that depth together, those with a finding alone."""
    for module, group in groupby(
        operations, lambda each: tuple(each.path.split(".")[: depth + 1]) if each.path else ()
    ):
        members = tuple(group)
        if not any(each.marks for each in members):
            yield _Fold(module, module, members, is_whole=len(module) > depth)
        elif len(module) > depth:
            yield from _folded(members, depth + 1)
        else:
            for is_marked, alike in groupby(members, lambda each: bool(each.marks)):
                run = tuple(alike)
                pieces = [(each,) for each in run] if is_marked else [run]
                yield from (_Fold(module, module, piece, is_whole=False) for piece in pieces)


def _with_merged_siblings(folds: Iterable[_Fold]) -> Iterator[_Fold]:
    """Numbered modules of one parent in a row, such as the blocks of a stack, as one fold."""
    before: _Fold | None = None
    for each in folds:
        if before is not None and _are_siblings(before, each):
            before = _Fold(before.first, each.last, before.operations + each.operations, is_whole=True)
        else:
            if before is not None:
                yield before
            before = each
    if before is not None:
        yield before


def _are_siblings(one: _Fold, other: _Fold) -> bool:
    numbered = all(each.is_whole and each.last[-1].isdigit() for each in (one, other))
    return numbered and one.last[:-1] == other.first[:-1]


def _part(fold: _Fold, number: int) -> DrawnPart:
    title = fold.title
    short = title if len(title) <= MOST_CHARACTERS else f"{title[: MOST_CHARACTERS - 1]}…"
    text = short + fold.codes
    role = "suspect" if fold.marks else "alike" if any(each.is_alike for each in fold.operations) else "plain"
    target = fold.marks[0][1] if fold.marks else ""
    return DrawnPart(text, title + fold.codes, role, target, PITCH * number, len(text) * CHARACTER + 16)


def _wires(number_of: Mapping[Any, int]) -> tuple[int, list[tuple[int, int, int]]]:
    """The number of lanes beside the boxes, and each value's way: from box, to box, lane (0 is straight down)."""
    ends: dict[int, set[int]] = {}
    for node, number in number_of.items():
        for source in node.all_input_nodes:
            if number_of.get(source, number) != number:
                ends.setdefault(number_of[source], set()).add(number)
    free_from: list[int] = []
    wires = []
    for source in sorted(ends):
        far = sorted(each for each in ends[source] if each > source + 1)
        wires += [(source, each, 0) for each in ends[source] if each == source + 1]
        if far:
            lane = next((lane for lane, row in enumerate(free_from) if row <= source), len(free_from))
            free_from[lane : lane + 1] = [far[-1]]
            wires += [(source, each, lane + 1) for each in far]
    return len(free_from), wires


def _path(left: int, source: int, target: int, lane: int) -> str:
    """An SVG path with an arrowhead at the target."""
    if not lane:
        x, top, end = left + 2 * LANE, PITCH * source + HEIGHT, PITCH * target
        return f"M{x} {top}V{end}m-3 -4l3 4l3 -4"
    x, start, end = left - LANE * lane, PITCH * source + HEIGHT - 5, PITCH * target + 7
    return f"M{left} {start}H{x}V{end}H{left}m-4 -3l4 3l-4 3"
