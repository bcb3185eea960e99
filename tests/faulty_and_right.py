"""Sources in two forms: a line that begins with `&` is the faulty form's alone, one that begins with `#` the right's.

A line that ends with `# <-` is to be reported in the faulty form.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def found_and_marked(
    folder: Path, code: str, header: str, programs: Mapping[str, str], sound: Mapping[str, str]
) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """The titles and lines of a rule's findings in one scan of both forms of programs and of sound ones, and the marks.

    A scan with its default options shows no advice.
    """
    titles: dict[str, str] = {}
    expected: set[tuple[str, int]] = set()
    forms = [(title, marked_form(header + text, faulty=True)) for title, text in programs.items()]
    forms += [(f"{title} (right)", marked_form(header + text, faulty=False)) for title, text in programs.items()]
    for title, source in [*forms, *((title, header + text) for title, text in sound.items())]:
        path = folder / f"program{len(titles)}.py"
        path.write_text(source)
        titles[str(path)] = title
        expected |= {(title, line) for line in marked(source)}
    findings = [each for each in scan([folder]).findings if each.code == code]
    return {(titles[str(each.path)], each.line or 0) for each in findings}, expected


def scanned_lines(paths: Iterable[Path], code: str) -> dict[str, list[int]]:
    """The lines of a rule's findings in one scan of some paths, by the names of the files."""
    lines: dict[str, list[int]] = {}
    for each in scan(paths, {"select": [code]}).findings:
        lines.setdefault(Path(str(each.path)).name, []).append(each.line or 0)
    return lines
