"""Draw the packages of regcheck and their imports, read from the source.

    python docs/module_map.py            write docs/contributing/packages.svg
    python docs/module_map.py --check    exit 1 if that file is out of date

A package stands one row below the lowest package that imports it. An arrow that follows from others (a imports b,
b imports c, a imports c) is left out.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

PACKAGE = Path(__file__).parent.parent / "src" / "regcheck"
PICTURE = Path(__file__).parent / "contributing" / "packages.svg"

Imports: TypeAlias = Mapping[str, frozenset[str]]
"""The packages that each package imports."""

ENTRY_POINTS = ("__init__", "__main__")
"""Left out: they hold nothing but imports of the others."""

WIDTH, MARGIN, ROW, BOX = 760, 12, 74, (104, 34)


def imported_names(file: Path) -> Iterator[str]:
    """Yields the full name of each import statement of a file, relative ones resolved."""
    package = ["regcheck", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parent, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def package_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports() -> dict[str, frozenset[str]]:
    """Returns the packages that each package imports."""
    graph: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        importer = package_of(file)
        if importer not in ENTRY_POINTS:
            targets = {name.split(".")[1] for name in imported_names(file) if name.startswith("regcheck.")}
            graph.setdefault(importer, set()).update(targets - {importer})
    return {each: frozenset(targets & graph.keys()) for each, targets in graph.items()}


def rows(graph: Imports) -> list[list[str]]:
    """Returns the packages by row, from the top down, each row in an order that keeps arrows short."""
    importers = {package: [each for each in sorted(graph) if package in graph[each]] for package in graph}

    @cache
    def row(package: str) -> int:
        return 1 + max(map(row, importers[package]), default=-1)

    layers: list[list[str]] = [[] for _ in range(1 + max(map(row, graph)))]
    for package in sorted(graph):
        layers[row(package)].append(package)
    position: dict[str, float] = {}
    for layer in layers:
        above = {each: [position[importer] for importer in importers[each]] for each in layer}
        layer.sort(key=lambda each: (sum(above[each]) / max(1, len(above[each])), each))
        position.update({each: (index + 0.5) / len(layer) for index, each in enumerate(layer)})
    return layers


def reduced(graph: Imports) -> list[tuple[str, str]]:
    """Returns the arrows that do not follow from others."""

    @cache
    def reachable(package: str) -> frozenset[str]:
        return graph[package].union(*map(reachable, graph[package]))

    return [
        (package, target)
        for package in sorted(graph)
        for target in sorted(graph[package])
        if not any(target in reachable(other) for other in graph[package] - {target})
    ]


def picture() -> str:
    """Returns the SVG."""
    graph = imports()
    layers = rows(graph)
    height = ROW * len(layers) - ROW + BOX[1] + 2 * MARGIN
    place = {
        package: (WIDTH * (index + 0.5) / len(layer), MARGIN + ROW * level)
        for level, layer in enumerate(layers)
        for index, package in enumerate(layer)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#8b949e"/></marker>',
    ]
    for package, target in reduced(graph):
        (x1, y1), (x2, y2) = place[package], place[target]
        start, end = y1 + BOX[1], y2 - 2
        bend = (end - start) / 2
        lines.append(
            f'<path d="M{x1:.0f} {start:.0f} C{x1:.0f} {start + bend:.0f} {x2:.0f} {end - bend:.0f} {x2:.0f} {end:.0f}"'
            ' fill="none" stroke="#8b949e" marker-end="url(#head)"/>'
        )
    for package, (x, y) in place.items():
        lines.append(
            f'<rect x="{x - BOX[0] / 2:.0f}" y="{y:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="4" fill="#eef4ff" '
            'stroke="#1f6feb"/>'
            f'<text x="{x:.0f}" y="{y + BOX[1] / 2 + 5:.0f}" text-anchor="middle" font-size="14">{package}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Write the picture, or check it."""
    current = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
    if "--check" in sys.argv[1:]:
        if current != picture():
            print(f"{PICTURE} is out of date: run `make docs`", file=sys.stderr)
        return int(current != picture())
    PICTURE.write_text(picture(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
