"""Writes what the docs take from the code: a page for each rule, the table of rules, and the report's schema.

`python docs/generate.py` writes; with `--check` it only tells which pages are out of date, and exits 1 if any is.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from regcheck.report.page import page
from regcheck.rules import load

DOCS = Path(__file__).parent
RULES = DOCS / "rules"
SCHEMA = DOCS / "schema" / "report.json"


def pages() -> dict[Path, str]:
    """What each generated file should hold."""
    rules = load()
    row = "| {0.code} | [{0.name}]({0.name}.md) | {0.severity.value} | {0.summary} |"
    rows = [row.format(rule) for rule in rules]
    table = ["# Rules", "", "| code | name | severity | finds |", "| --- | --- | --- | --- |", *rows, ""]
    note = "Write a rule's code, the beginning of one (`REG2`) or a name wherever regcheck takes rules."
    written = {RULES / f"{rule.name}.md": page(rule) for rule in rules}
    schema = files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8")
    return {RULES / "index.md": "\n".join([*table, note, ""]), SCHEMA: schema, **written}


def stale() -> list[Path]:
    """The generated files that are not what they should be, those that should not be there included."""
    wanted = pages()
    there = {*RULES.glob("*.md"), *SCHEMA.parent.glob("*.json")}
    changed = {file for file, text in wanted.items() if file not in there or file.read_text(encoding="utf-8") != text}
    return sorted(changed | (there - set(wanted)))


def main() -> int:
    """Write the pages, or with `--check` name those out of date."""
    if "--check" in sys.argv[1:]:
        for file in stale():
            print(f"{file} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale() else 0
    for file in stale():
        file.unlink(missing_ok=True)
    for file, text in pages().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
