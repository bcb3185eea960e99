"""Writes what the docs and the README take from the code: rules, the reference implementations, the report's schema.

`python docs/generate.py` writes; with `--check` it only names the files that are out of date, and exits 1 if any is.
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
README = DOCS.parent / "README.md"
RULES = DOCS / "rules"
SCHEMA = DOCS / "schema" / "report.json"
REFERENCE = DOCS / "reference" / "reference.md"
RULES_REGION = re.compile(r"(<!-- rules: .*? -->\n).*?(<!-- /rules -->\n)", re.DOTALL)
"""The part of the README that holds the rules."""
CHAPTERS = {
    "dropout": "Dropout",
    "structured": "Dropout with shared draws",
    "penalty": "Penalties",
    "optimizers": "Optimizers",
    "norm": "Batch norm",
}
"""The modules of `regcheck.reference`, in the order of its page, and what they are called there."""


def pages() -> dict[Path, str]:
    """The text of each generated file."""
    note = "Write a rule's code, the beginning of one (`REG2`) or a name wherever regcheck takes rules."
    readme = README.read_text(encoding="utf-8")
    return {
        **{RULES / f"{rule.name}.md": page(rule) for rule in load()},
        RULES / "index.md": f"# Rules\n\n{table('')}\n{note}\n\n{with_fixes()}\n",
        README: RULES_REGION.sub(
            lambda region: f"{region[1]}{table('docs/rules/')}\n{source_only()}{region[2]}", readme
        ),
        SCHEMA: files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8"),
        REFERENCE: "\n\n".join(reference()) + "\n",
    }


def table(folder: str) -> str:
    """The rules as a table whose links lead to their pages in `folder`."""
    rows = [
        f"| {rule.code} | [{rule.name}]({folder}{rule.name}.md) | {rule.severity.value} | {rule.summary} |\n"
        for rule in load()
    ]
    return "".join(["| code | name | severity | finds |\n", "| --- | --- | --- | --- |\n", *rows])


def with_fixes() -> str:
    """The sentence that names the rules that write fixes."""
    names = ", ".join(f"[{rule.code}]({rule.name}.md)" for rule in load() if rule.fix is not None)
    return f"`regcheck scan --fix` and `--unsafe-fixes` ([how](../how-to/fix.md)) fix findings of {names}."


def source_only() -> str:
    """The sentence that names the rules about models and programs that no measurement confirms."""
    *most, last = (rule.code for rule in load() if rule.begins_at and rule.confirm is None)
    return f"{', '.join(most)} and {last} read source only, and no measurement confirms them.\n"


def reference() -> Iterator[str]:
    """The page of `regcheck.reference`, read from its source, so that torch is not needed."""
    folder = files("regcheck").joinpath("reference")
    package = ast.parse(folder.joinpath("__init__.py").read_text(encoding="utf-8"))
    yield "# Reference implementations"
    yield ast.get_docstring(package) or ""
    yield (
        "regcheck's measurements compare models with them, and your own tests can, too: "
        "`from regcheck import reference`, then `reference.inverted_dropout(x, keep, 0.5)`. Where torch has the same "
        "function, they equal it to rounding, given its mask ([on which devices](../gpu.md))."
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
    """The generated files that differ from the code, and the pages of rules that are gone."""
    wanted = pages()
    there = {README, *RULES.glob("*.md"), *SCHEMA.parent.glob("*.json"), *REFERENCE.parent.glob(REFERENCE.name)}
    changed = {file for file, text in wanted.items() if file not in there or file.read_text(encoding="utf-8") != text}
    return sorted(changed | (there - set(wanted)))


def main() -> int:
    """Write the pages, or with `--check` name those out of date."""
    if "--check" in sys.argv[1:]:
        for file in stale():
            print(f"{file} is out of date: run `make docs`", file=sys.stderr)
        return 1 if stale() else 0
    wanted = pages()
    for file in set(stale()) - wanted.keys():
        file.unlink()
    for file, text in wanted.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
