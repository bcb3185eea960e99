"""The cases: programs, their labels, and the folders that tools examine."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parent / "cases"
MAIN = "main.py"
Line = tuple[str, int]


@dataclass(frozen=True)
class Case:
    """One program and what is true of it.

    Attributes:
        label: `fault`, `right` or `debatable`.
        files: the program's text by file name; `main.py` is the one that runs.
        lines: where a report of the kind is a hit: any of them, as a fault has several ends, or the header of a block
            or loop around one.
        besides: lines with another truth; reports there count neither way.
        akin: other kinds whose report of the same line says the same.
        sees: the ways that can see the fault: `source`, `model` (an audit of the model) or `run` (a run or a test).
        model: the class in `main.py` that is built without arguments, if there is one.
        advice: no tool needs to report the kind by default; regcheck is asked for it.
    """

    kind: str
    name: str
    label: str
    files: dict[str, str]
    lines: frozenset[Line]
    besides: frozenset[Line]
    akin: tuple[str, ...]
    sees: tuple[str, ...]
    model: str
    advice: bool
    origin: str
    outcome: str
    why: str

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.name}/{self.label}"

    @property
    def held_out(self) -> bool:
        """Whether nobody looks at it while working on a tool: a third of the programs, with their twins."""
        return hashlib.sha256(f"{self.kind}/{self.name}".encode()).digest()[0] % 3 == 0

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")


def kinds() -> list[str]:
    return sorted(file.parent.name for file in FOLDER.glob("*/labels.toml"))


def labels(kind: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / kind / "labels.toml").read_text(encoding="utf-8"))


def cases(chosen: list[str] | None = None) -> list[Case]:
    """All cases, or those of some kinds, in the order of their labels."""
    return [case for kind in chosen or kinds() for case in _cases_of(kind)]


def _cases_of(kind: str) -> Iterator[Case]:
    table = labels(kind)
    for program in table["program"]:
        try:
            yield from _program_and_twin(kind, table, program)
        except ValueError as error:
            raise ValueError(f"{kind}/{program['name']}: {error}") from None


def _program_and_twin(kind: str, table: dict[str, Any], program: dict[str, Any]) -> Iterator[Case]:
    files = _files_of(FOLDER / kind, program["name"])
    common = {
        "kind": kind,
        "name": program["name"],
        "akin": tuple(table.get("akin", ())),
        "sees": tuple(program.get("sees", table["sees"])),
        "model": program.get("model", ""),
        "advice": table.get("advice", False),
        "origin": program["origin"],
        "outcome": program.get("outcome", ""),
    }
    yield _case(program, files, program.get("besides", []), common)
    if "twin" in program:
        twin = program["twin"]
        yield _case(twin, _changed(files, twin["change"]), program.get("besides", []), common)


def _case(entry: dict[str, Any], files: dict[str, str], besides: list[str], common: dict[str, Any]) -> Case:
    return Case(
        label=entry["label"],
        files=files,
        lines=frozenset(
            place for text in entry.get("lines", []) for place in _with_headers(files, _place(files, text))
        ),
        besides=frozenset(place for text in besides for place in _places(files, text)),
        why=entry["why"],
        **common,
    )


def _files_of(folder: Path, name: str) -> dict[str, str]:
    if (folder / name).is_dir():
        return {file.name: file.read_text(encoding="utf-8") for file in sorted((folder / name).glob("*.py"))}
    return {MAIN: (folder / f"{name}.py").read_text(encoding="utf-8")}


def _changed(files: dict[str, str], changes: list[list[str]]) -> dict[str, str]:
    """The files with each old text, which occurs once, replaced."""
    files = dict(files)
    for old, new in changes:
        found = [name for name, text in files.items() if text.count(old) == 1]
        if len(found) != 1 or sum(text.count(old) for text in files.values()) != 1:
            raise ValueError(f"does not occur exactly once: {old}")
        files[found[0]] = files[found[0]].replace(old, new)
    return files


def _with_headers(files: dict[str, str], place: Line) -> Iterator[Line]:
    """A line and the headers of the blocks and loops that it stands in."""
    name, number = place
    yield place
    lines = files[name].splitlines()
    depth = _indentation(lines[number - 1])
    for above in range(number - 1, 0, -1):
        line = lines[above - 1]
        if line.strip() and _indentation(line) < depth:
            depth = _indentation(line)
            if line.lstrip().startswith(("with ", "for ", "while ")):
                yield name, above


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _place(files: dict[str, str], text: str) -> Line:
    places = _places(files, text)
    if len(places) != 1:
        raise ValueError(f"is not exactly one line: {text}")
    return places[0]


def _places(files: dict[str, str], text: str) -> list[Line]:
    return [
        (name, number)
        for name, content in files.items()
        for number, line in enumerate(content.splitlines(), 1)
        if line.strip() == text
    ]
