"""The page of the documentation, from results.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .cases import Case
from .score import Judged, alarms, judge, precision, recall


def judged(table: Mapping[str, Any], chosen: list[Case]) -> list[Judged]:
    return [judge(case, table["cases"][case.id]["messages"]) for case in chosen if case.id in table["cases"]]


def line(name: str, table: Mapping[str, Any], chosen: list[Case]) -> str:
    """One tool's figures for the terminal."""
    if "cases" not in table:
        return f"{name:20} {table['error']}"
    results = judged(table, chosen)
    errors = sum("error" in table["cases"][case.id] for case in chosen if case.id in table["cases"])
    found, right, alarm = recall(results), precision(results), alarms(results)
    seconds = sum(entry["seconds"] for entry in table["cases"].values()) / max(1, len(table["cases"]))
    return (
        f"{name:20} recall {found.value:.3f} ({found.some}/{found.of}), "
        f"precision {right.value:.3f} ({right.some}/{right.of}), "
        f"right cases reported {alarm.some}/{alarm.of}, {seconds:.2f} s a case, {errors} errors"
    )


def disagreements(tables: Mapping[str, Any], chosen: list[Case]) -> Iterator[str]:
    for name, table in tables.items():
        for result in judged(table, chosen) if "cases" in table else ():
            error = table["cases"][result.case.id].get("error")
            if error or not result.agrees:
                wrong = [f"{m.get('file')}:{m.get('line')} {m['text'][:110]}" for m in result.wrong]
                miss = "missed" if result.case.label == "fault" and not result.hit else ""
                yield f"{name} {result.case.id}: {miss} {wrong or ''} {error or ''}"


def write(stored: Mapping[str, Any]) -> None:
    """Write docs/field.md."""
