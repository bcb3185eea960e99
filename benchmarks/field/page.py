"""The page of the documentation and the lines of the terminal, from results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from .cases import Case, cases
from .results import Results
from .score import Judged, Share, alarms, precision, recall, together

TEMPLATE = Path(__file__).parent / "page.md"
PAGE = Path(__file__).parents[2] / "docs" / "field.md"
ANY = "regcheck, any door"


def line(name: str, found: Results, chosen: list[Case]) -> str:
    """One tool's figures for the terminal."""
    if found.failure:
        return f"{name:20} {found.failure}"
    judged = found.judged(chosen)
    return (
        f"{name:20} recall {_share(recall(judged))}, precision {_share(precision(judged))}, "
        f"right cases reported {_count(alarms(judged))}, {found.seconds:.2f} s a case, {len(found.errors)} errors"
    )


def disagreements(name: str, found: Results, chosen: list[Case]) -> Iterator[str]:
    """Each case that a tool gets wrong, for the terminal."""
    for one in found.judged(chosen):
        error = found.errors.get(one.case.id, "")
        if error or not one.agrees:
            missed = "missed" if one.case.label == "fault" and not one.hit else ""
            yield f"{name} {one.case.id}: {missed} {said(one)} {error}".rstrip()


def write(version: str, tools: Mapping[str, Results]) -> None:
    """Write docs/field.md from the results of all tools."""
    PAGE.write_text(text(version, tools), encoding="utf-8")


def text(version: str, tools: Mapping[str, Results]) -> str:
    """The page."""
    chosen = cases()
    judged = {name: found.judged(chosen) for name, found in tools.items() if not found.failure}
    doors = {name: found for name, found in judged.items() if name.startswith("regcheck")}
    others = {name: found for name, found in judged.items() if name not in doors}
    doors[ANY] = together(list(doors.values()))
    return TEMPLATE.read_text(encoding="utf-8").format(
        cases=len(chosen),
        faults=sum(case.label == "fault" for case in chosen),
        right=sum(case.label == "right" for case in chosen),
        debatable=sum(case.label == "debatable" for case in chosen),
        version=version,
        tools=_tool_table(tools, doors | others),
        held_out=_share(recall(one for one in doors[ANY] if one.case.held_out)),
        open=_share(recall(one for one in doors[ANY] if not one.case.held_out)),
        kinds=_kind_table(doors, others),
        better=_better(doors[ANY], others),
        wrong=_wrong(tools, doors),
        others=_alarms_of(others),
    )


def _tool_table(tools: Mapping[str, Results], judged: Mapping[str, list[Judged]]) -> str:
    rows = ["| tool | version | looks at | recall | of what it can see | precision | right cases reported | s a case |"]
    rows.append("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, found in judged.items():
        way = tools[name].way if name in tools else "all"
        visible = [one for one in found if way in ("all", *one.case.sees)]
        version = (tools[name].requirements or ("",))[0].partition("==")[2] if name in tools else ""
        seconds = f"{tools[name].seconds:.2f}" if name in tools else ""
        figures = [_with_interval(share) for share in (recall(found), recall(visible), precision(found))]
        rows.append(
            f"| {_shown(name)} | {version} | {way} | {' | '.join(figures)} | {_count(alarms(found))} | {seconds} |"
        )
    rows += [f"| {_shown(name)} | | | {one.failure} | | | | |" for name, one in tools.items() if one.failure]
    notes = [
        f"{_shown(name)} ended with an error in {len(one.errors)} cases." for name, one in tools.items() if one.errors
    ]
    return "\n".join([*rows, "", *notes]).rstrip()


def _kind_table(doors: Mapping[str, list[Judged]], others: Mapping[str, list[Judged]]) -> str:
    shown = {**doors, **{name: found for name, found in others.items() if recall(found).some}}
    rows = [f"| kind | {' | '.join(map(_shown, shown))} |", "| --- |" + " --- |" * len(shown)]
    for kind, advice in {one.case.kind: one.case.advice for one in doors[ANY]}.items():
        shares = (recall(one for one in found if one.case.kind == kind) for found in shown.values())
        rows.append(f"| {kind}{' *' * advice} | {' | '.join(_count(share) for share in shares)} |")
    return "\n".join(rows)


def _better(ours: list[Judged], others: Mapping[str, list[Judged]]) -> str:
    """The cases where no door of regcheck is right and another tool is."""
    rows = []
    for index, mine in enumerate(ours):
        agreeing = [_shown(name) for name, found in others.items() if found[index].agrees]
        if not mine.agrees and agreeing:
            rows.append(f"- `{mine.case.id}`: {', '.join(agreeing)}")
    return "Cases that regcheck's doors get wrong together, and these get right:\n\n" + "\n".join(rows or ["- none"])


def _wrong(tools: Mapping[str, Results], doors: Mapping[str, list[Judged]]) -> str:
    rows = ["| case | door | |", "| --- | --- | --- |"]
    entries: dict[tuple[str, str], list[str]] = {}
    for name, found in doors.items():
        for one in found if name != ANY else ():
            if one.wrong:
                entries.setdefault((one.case.id, f"reports {said(one)}"), []).append(_shown(name))
            elif not one.agrees and tools[name].way in one.case.sees and (one.case.model or "audit" not in name):
                entries.setdefault((one.case.id, "misses it"), []).append(_shown(name))
    return "\n".join(
        rows + [f"| `{case}` | {', '.join(names)} | {what} |" for (case, what), names in sorted(entries.items())]
    )


def _alarms_of(others: Mapping[str, list[Judged]]) -> str:
    rows = ["| tool | case | report |", "| --- | --- | --- |"]
    for name, found in others.items():
        if name == "keywords":
            continue
        rows += [f"| {_shown(name)} | `{one.case.id}` | {said(one)} |" for one in found if one.wrong]
    return "\n".join(rows) + "\n\nKeyword matching has too many to list."


def said(result: Judged) -> str:
    """The reports that are wrong, in one line."""
    places = (f"line {m['line']}: " if m.get("line") else "" for m in result.wrong)
    texts = (m["text"].replace("|", "/") for m in result.wrong)
    return "; ".join(dict.fromkeys(place + text for place, text in zip(places, texts, strict=True)))


def _shown(name: str) -> str:
    return name.replace("regcheck_", "regcheck ").replace("eval_twice", "run eval twice").replace("_", "-")


def _count(share: Share) -> str:
    return f"{share.some}/{share.of}" if share.of else ""


def _share(share: Share) -> str:
    return "none" if math.isnan(share.value) else f"{share.value:.3f} ({share.some}/{share.of})"


def _with_interval(share: Share) -> str:
    low, high = share.interval
    return "" if math.isnan(share.value) else f"{share.value:.2f} ({low:.2f} to {high:.2f})"
