"""Writes what the docs take from the code: rules, the reference implementations, and the report's schema.

`python docs/generate.py` writes; with `--check` it only tells which pages are out of date, and exits 1 if any is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from regcheck.report.page import page
from regcheck.rules import load

DOCS = Path(__file__).parent
RULES = DOCS / "rules"
SCHEMA = DOCS / "schema" / "report.json"
REFERENCE = DOCS / "reference" / "reference.md"
CHAPTERS = {
    "dropout": "Dropout",
    "structured": "Dropout with shared draws",
    "penalty": "Penalties",
    "optimizers": "Optimizers",
    "norm": "Batch norm",
}
"""The modules of `regcheck.reference`, in the order of its page, and what they are called there."""


def pages() -> dict[Path, str]:
    """What each generated file should hold."""
    rules = load()
    row = "| {0.code} | [{0.name}]({0.name}.md) | {0.severity.value} | {0.summary} |"
    rows = [row.format(rule) for rule in rules]
    table = ["# Rules", "", "| code | name | severity | finds |", "| --- | --- | --- | --- |", *rows, ""]
    note = "Write a rule's code, the beginning of one (`REG2`) or a name wherever regcheck takes rules."
    written = {RULES / f"{rule.name}.md": page(rule) for rule in rules}
    schema = files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8")
    rule_pages = {RULES / "index.md": "\n".join([*table, note, ""]), **written}
    return {**rule_pages, SCHEMA: schema, REFERENCE: "\n\n".join(reference()) + "\n"}


def reference() -> Iterator[str]:
    """The page of `regcheck.reference`, read from its source, so that torch is not needed."""
    folder = files("regcheck").joinpath("reference")
    package = ast.parse(folder.joinpath("__init__.py").read_text(encoding="utf-8"))
    yield "# Reference implementations"
    yield ast.get_docstring(package) or ""
    yield (
        "They are what regcheck's measurements compare with, and are there for tests of your own: "
        "`from regcheck import reference`, then `reference.inverted_dropout(x, keep, 0.5)`. Where torch has the same, "
        "they equal it to rounding, given its mask ([on which devices](../gpu.md))."
    )
    public = {name for node in package.body if isinstance(node, ast.ImportFrom) for name in imported(node)}
    for module, title in CHAPTERS.items():
        tree = ast.parse(folder.joinpath(f"{module}.py").read_text(encoding="utf-8"))
        yield f"## {title}"
        yield prose(ast.get_docstring(tree) or "")
        methods = ruled(tree)
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name not in {*public, *methods}:
                continue
            if node.name in methods:
                yield f'### step("{methods[node.name]}", …)'
            else:
                returns = ast.unparse(node.returns) if node.returns else "None"
                yield f"### {node.name}"
                yield f"```python\n{node.name}({ast.unparse(node.args)}) -> {returns}\n```"
            yield prose(ast.get_docstring(node) or "")


def imported(node: ast.ImportFrom) -> Iterator[str]:
    """The names that an import brings."""
    return (alias.name for alias in node.names)


def ruled(tree: ast.Module) -> dict[str, str]:
    """The names in `RULES` of the functions that are its values."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RULES" and isinstance(node.value, ast.Dict):
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {ast.unparse(value): str(ast.literal_eval(key)) for key, value in pairs if key is not None}
    return {}


def prose(docstring: str) -> str:
    """A docstring as markdown: its sections become paragraphs and lists."""
    text = re.sub(r"^(Args|Returns|Raises):\n", r"**\1**\n\n", docstring, flags=re.MULTILINE)
    text = re.sub(r"^Source: ", "*Source:* ", text, flags=re.MULTILINE)
    lines, section = [], ""
    for line in text.split("\n"):
        if line.startswith("**"):
            section = line.strip("*")
        elif line and not line.startswith(" "):
            section = ""
        entry = re.fullmatch(r"    (\w+): (.*)", line)
        if section in ("Args", "Raises") and entry:
            line = f"- `{entry[1]}`: {entry[2]}"
        elif section and line.startswith(" "):
            line = line.strip() if section == "Returns" else f"  {line.strip()}"
        lines.append(line)
    return "\n".join(lines)


def stale() -> list[Path]:
    """The generated files that are not what they should be, those that should not be there included."""
    wanted = pages()
    there = {*RULES.glob("*.md"), *SCHEMA.parent.glob("*.json"), *REFERENCE.parent.glob(REFERENCE.name)}
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
