"""Render a selftest as a table: one row per check."""

from __future__ import annotations

import io
import json

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from regcheck.selftest.results import CheckResult, CheckStatus, Selftest

STYLES = {CheckStatus.HOLDS: "green", CheckStatus.FAILS: "bold red", CheckStatus.NOT_RUN: "yellow"}
WIDTH = 160
"""The maximum width of a row in a file or a pipe."""


def render_table(result: Selftest, format: str, *, color: bool = False, width: int = WIDTH) -> str:
    """Returns the selftest as text that ends in a newline."""
    if format == "json":
        return json.dumps(result.document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=color, color_system="standard" if color else None, highlight=False, width=width
    )
    console.print(table_of(result))
    console.print(Text(result.headline, "bold red" if not result.ok else "yellow" if result.missed else "green"))
    console.print(
        f"α {result.alpha:g} in all, seed {result.seed}, {result.seconds:.1f} s; "
        "compared with regcheck.reference in float64"
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def table_of(result: Selftest) -> Table:
    """Returns the table of all results; a row omits a subject that equals the one above."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "check", "device", "mode"):
        grid.add_column(column, no_wrap=True)
    for column in ("measured", "expected", "α"):
        grid.add_column(column, justify="right")
    grid.add_column("verdict")
    last = ("", "", "")
    for each in result.outcomes:
        subject = (each.what, each.device, each.mode)
        what, device, mode = subject if subject != last else ("", "", "")
        last = subject
        verdict = Text(each.verdict.value, STYLES[each.verdict])
        if each.because and each.verdict is not CheckStatus.HOLDS:
            verdict.append(f": {each.because}")
        grid.add_row(Text(what), each.check, device, mode, figure(each), each.expected, false_alarm(each), verdict)
    return grid


def figure(outcome: CheckResult) -> str:
    """Returns the measured figure as text."""
    measured = outcome.measured
    return f"{measured:.4g}" if isinstance(measured, float) else measured or "–"


def false_alarm(outcome: CheckResult) -> str:
    """Returns the false-alarm probability of a check as text."""
    if outcome.verdict is CheckStatus.NOT_RUN:
        return "–"
    return f"{outcome.alpha:.1g}" if outcome.alpha else "exact"
