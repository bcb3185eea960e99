"""Sources in two forms: a line that begins with `&` is the faulty form's alone, one that begins with `#` the right's.

A line that ends with `# <-` is to be reported in the faulty form.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from regcheck.engine.scan import scan


def form(text: str, faulty: bool) -> str:
    """The faulty or the right form of a source, with all its marks."""
    mine, other = ("&", "#") if faulty else ("#", "&")
    lines = [line for line in text.splitlines() if not line.strip().startswith(other)]
    return "\n".join(line.replace(mine, "", 1) if line.strip()[:1] == mine else line for line in lines)


def marked_form(text: str, faulty: bool) -> str:
    """The faulty form with its marks, or the right one without any."""
    return form(text, faulty) if faulty else form(text, faulty).replace("  # <-", "")


def marked(source: str) -> set[int]:
    """The numbers of the marked lines."""
    return {number for number, line in enumerate(source.splitlines(), 1) if line.endswith("# <-")}


def scanned_lines(paths: Iterable[Path], code: str) -> dict[str, list[int]]:
    """The lines of a rule's findings in one scan of some paths, by the names of the files."""
    lines: dict[str, list[int]] = {}
    for each in scan(paths, {"select": [code]}).findings:
        lines.setdefault(Path(str(each.path)).name, []).append(each.line or 0)
    return lines
