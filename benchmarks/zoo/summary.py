"""Summarize a run of the zoo: a table of the libraries, failures, and every finding by position."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from .drive import TOO_LONG
from .examine import Row

SLOW = 0.02
"""The minimum seconds of a forward whose recording counts; below, fixed costs dominate."""


def summary(rows: Iterable[Row]) -> str:
    """Returns the summary in Markdown."""
    libraries: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        libraries[row["library"]].append(row)
    everything = [row for library in libraries.values() for row in library]
    return "\n".join([*_table(libraries, everything), *_amiss(everything), *_findings(everything)])


def ran(row: Row) -> bool:
    """Whether the forward ran in both modes, on inferred inputs or on the entry's own."""
    return inferred(row) or set(row.get("given", {}).get("forward", {"": ""}).values()) == {"ran"}


def inferred(row: Row) -> bool:
    """Whether inferred inputs gave the graph of both modes."""
    return bool(row.get("inferred", {}).get("complete"))


def traced(row: Row) -> bool:
    """Whether some inputs gave the graph of both modes."""
    return inferred(row) or bool(row.get("given", {}).get("complete"))


def audits(row: Row) -> list[Row]:
    return [row[each] for each in ("audit", "audit_given") if each in row]


def crashed(row: Row) -> str:
    """Returns the last lines of unexpected exceptions."""
    said = [
        row.get("inferred", {}).get("crash"),
        row.get("given", {}).get("crash"),
        *(a.get("crash") for a in audits(row)),
    ]
    if str(row.get("stopped", "")).startswith("the process died"):
        said.append(row["stopped"])
    return "; ".join(" ".join(each.strip().splitlines()[-3:]) for each in said if each)


def changed(row: Row) -> list[str]:
    return [*row.get("looking_changed", ()), *(each for audit in audits(row) for each in audit.get("changed", ()))]


def serious(row: Row) -> list[Row]:
    """Findings at warning or above, each place once."""
    found = {
        (each["code"], each["path"], each["line"], each["module"]): each
        for audit in audits(row)
        for each in audit.get("findings", ())
        if each["severity"] != "info"
    }
    return list(found.values())


def ratios(row: Row) -> list[float]:
    timed = row.get("recording", {}).values()
    return [each["ratio"] for each in timed if "ratio" in each and each["forward"] > SLOW]


def built(row: Row) -> bool:
    return "parameters" in row


def _count(test: Callable[[Row], object]) -> Callable[[list[Row]], str]:
    return lambda rows: str(sum(bool(test(row)) for row in rows))


def _median(figures: Callable[[Row], Iterable[float]]) -> Callable[[list[Row]], str]:
    def median(rows: list[Row]) -> str:
        found = [each for row in rows for each in figures(row)]
        return f"{statistics.median(found):.2f}" if found else "–"

    return median


COLUMNS: dict[str, Callable[[list[Row]], str]] = {
    "models": _count(lambda row: True),
    "built": _count(built),
    "forward runs": _count(ran),
    "on inferred inputs": _count(inferred),
    "traced in both modes": _count(traced),
    "took too long": _count(lambda row: row.get("stopped") == TOO_LONG),
    "crashed": _count(crashed),
    "changed": _count(changed),
    "with findings": _count(serious),
    "recording, in forwards": _median(ratios),
    "audit, s": _median(lambda row: [each["seconds"] for each in audits(row) if "seconds" in each]),
}


def _table(libraries: dict[str, list[Row]], everything: list[Row]) -> Iterator[str]:
    yield "| library | " + " | ".join(COLUMNS) + " |"
    yield "| --- " * (len(COLUMNS) + 1) + "|"
    for name, rows in [*libraries.items(), ("all", everything)]:
        yield f"| {name} | " + " | ".join(column(rows) for column in COLUMNS.values()) + " |"


def _amiss(rows: list[Row]) -> Iterator[str]:
    """Returns lists of the models with failures, with the messages."""
    yield from _list("Left out", ((row, row["left_out"]) for row in rows if "left_out" in row))
    yield from _list("Not built", ((row, row["unbuilt"]) for row in rows if "unbuilt" in row))
    yield from _list("Stopped", ((row, row["stopped"]) for row in rows if "stopped" in row))
    yield from _list("Crashed", ((row, said) for row in rows if (said := crashed(row))))
    yield from _list("Changed", ((row, ", ".join(where)) for row in rows if (where := changed(row))))
    missed = (row for row in rows if "inferred" in row and not inferred(row))
    yield from _list("No graph from inferred inputs", ((row, _why(row["inferred"])) for row in missed))
    failed = (row for row in rows if ran(row) and not traced(row))
    yield from _list(
        "The forward runs, and there is no graph of both modes", ((row, _why(row["given"])) for row in failed)
    )


def _why(looked: Row) -> str:
    not_connected = f"connected in {looked.get('connected')}" if looked.get("ops") else ""
    said = looked.get("error") or looked.get("crash") or "; ".join(looked.get("not_checked", ()))
    return said or not_connected or str(looked.get("forward", ""))


def _short(said: str, most: int = 300) -> str:
    """Returns a text on one line, its middle elided if it is long."""
    line = " ".join(said.split())
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"


def _list(title: str, entries: Iterable[tuple[Row, str]]) -> Iterator[str]:
    found = [f"- {row['library']}: {row['model']}: {_short(said)}" for row, said in entries]
    if found:
        yield from ("", f"## {title} ({len(found)})", "", *found)


def _findings(rows: list[Row]) -> Iterator[str]:
    """Yields each position with its findings and their models."""
    places: dict[tuple[str, str], list[tuple[Row, Row]]] = defaultdict(list)
    for row in rows:
        for each in serious(row):
            short = "/".join(PurePath(each["path"]).parts[-4:]) if each["path"] else f"{row['model']}: {each['module']}"
            places[f"{short}:{each['line']}", each["code"]].append((row, each))
    yield from ("", f"## Findings at warning or above ({len(places)} places)", "")
    for (place, code), found in sorted(places.items()):
        first = found[0][1]
        verdicts = ", ".join(sorted({each["evidence"]["verdict"] for _, each in found}))
        yield f"- `{place}` {code} {first['severity']}, {verdicts}: {first['message']}"
        yield f"  - {first['evidence']['because']}"
        yield f"  - in {', '.join(sorted({row['model'] for row, _ in found}))}"
