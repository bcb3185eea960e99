"""Writes what the docs and the README take from the code: rules, options, the reference implementations, the schemas.

`python docs/generate.py` writes; with `--check` it only names the files that are out of date, and exits 1 if any is.
A file that people write has regions for it, `<!-- NAME: written by docs/generate.py -->` to `<!-- /NAME -->`.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from regcheck.cli.common_options import Parser, add_common_options, add_measurement_options
from regcheck.cli.main import VERBS, parser_of
from regcheck.config.keys import KEYS, schema
from regcheck.config.options import Options
from regcheck.core.rule import Rule
from regcheck.engine.scan import scan_with
from regcheck.pytest_plugin import OPTIONS
from regcheck.report.page import page
from regcheck.rules import load

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
RULES = DOCS / "rules"
SCHEMAS = DOCS / "schema"
REFERENCE = DOCS / "reference" / "reference.md"
REGION = re.compile(r"(<!-- ([\w-]+): .*? -->\n).*?(<!-- /\2 -->\n)", re.DOTALL)
CHAPTERS = {
    "dropout": "Dropout",
    "structured": "Dropout with shared draws",
    "penalty": "Penalties",
    "optimizers": "Optimizers",
    "norm": "Batch norm",
}
"""The modules of `regcheck.reference`, in the order of its page, and what they are called there."""

EXAMPLES = {
    "DEVICES": "cpu,cuda",
    "FILE": "report.json",
    "FORMAT": "json",
    "ADDRESS": "ray://head:10001",
    "GB": "16",
    "FORMAT:PATH": "json:report.json",
    "GLOBS": "third_party,*_pb2.py",
    "INPUT": "1x3x224x224",
    "MODES": "eager",
    "N": "4",
    "NAME": "softmax-before-loss",
    "REASON": '"old code, to be fixed"',
    "RULES": "REG2,double-penalty",
    "SECONDS": "120",
    "SEED": "1",
    "SEVERITY": "error",
}
"""A value for each name that an option has for its value."""

OWN_EXAMPLES = {
    "--baseline": "regcheck-baseline.json",
    "--config": "regcheck.toml",
    "--extend-select": "ALL",
    "--resume": "results.jsonl",
    "--html": "report.html",
    "--ignore": "REG102",
    "--regcheck-baseline": "regcheck-baseline.json",
    "--regcheck-extend-select": "ALL",
    "--regcheck-ignore": "REG102",
    "--stdin-filename": "net.py",
}
"""A better value for these options."""


def pages() -> dict[Path, str]:
    """The text of each generated file."""
    regions = region_texts()
    texts = {file: file.read_text(encoding="utf-8") for file in (README, *sorted(DOCS.rglob("*.md")))}
    return {
        **{file: with_regions(text, regions) for file, text in texts.items() if REGION.search(text)},
        **{RULES / f"{rule.name}.md": page(rule) for rule in load()},
        RULES / "index.md": rules_page(),
        SCHEMAS / "report.json": files("regcheck.report").joinpath("schema.json").read_text(encoding="utf-8"),
        SCHEMAS / "configuration.json": json.dumps(schema(Options().to_dict()), indent=2) + "\n",
        REFERENCE: "\n\n".join(reference()) + "\n",
    }


def with_regions(text: str, regions: dict[str, str]) -> str:
    """A file's text with its regions written anew."""
    return REGION.sub(lambda region: f"{region[1]}{regions[region[2]]}{region[3]}", text)


def region_texts() -> dict[str, str]:
    """The text of each region, by its name."""
    common, measuring = Parser("", ""), Parser("", "")
    add_common_options(common, measures=False)
    add_measurement_options(measuring)
    shared = [*options_of(common), *options_of(measuring)]
    own = {verb: options_of(parser_of(verb)) for verb in VERBS}
    for verb in ("scan", "audit", "run", "merge"):
        own[verb] = [each for each in own[verb] if each.dest not in {option.dest for option in shared}]
    return {
        "rules": f"{rules_table()}\n{source_only()}",
        **{f"options-of-{verb}": option_table(options) for verb, options in own.items()},
        "common-options": option_table(options_of(common)),
        "measurement-options": option_table(options_of(measuring)),
        "keys": "\n".join(key_sections([*shared, *own["scan"], *own["audit"]])),
        "pytest-options": "".join(pytest_table()),
    }


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options of a parser, those in groups first, without its positional arguments and `--help`."""
    groups = sorted(parser._action_groups, key=lambda group: group.title == "options")
    actions = [action for group in groups for action in group._group_actions]
    return [each for each in actions if each.option_strings and each.dest != "help"]


def option_table(options: list[argparse.Action]) -> str:
    """Options as a table: form, effect, and an example of the value."""
    rows = []
    for each in options:
        value = str(each.metavar or each.dest.upper()) if each.nargs != 0 else ""
        form = f"{', '.join(each.option_strings)} {value}".strip()
        option = each.option_strings[-1]
        example = f"`{option} {OWN_EXAMPLES.get(option) or EXAMPLES[value]}`" if value else ""
        rows.append(f"| `{form}` | {marked_up(each.help or '')} | {example} |\n")
    return "".join(["| option | effect | example |\n", "| --- | --- | --- |\n", *rows])


def marked_up(effect: str) -> str:
    """The help of an option with its options, files and tables as code."""
    words = r"(?<![\w`])(--[a-z][\w-]*|[\w-]+\.(?:toml|json|py(?::\w+)?)|\[tool\.regcheck\])(?![\w`])"
    return re.sub(words, r"`\1`", effect)


def pytest_table() -> Iterator[str]:
    """The options of the pytest plugin as a table."""
    yield "| option | effect | example |\n| --- | --- | --- |\n"
    yield "| `--regcheck` | check and measure every model that the tests run | |\n"
    for name, (value, effect) in OPTIONS.items():
        option = f"--regcheck-{name}"
        example = f"`{option}={OWN_EXAMPLES.get(option) or EXAMPLES[value]}`" if value else ""
        yield f"| `{f'{option} {value}'.strip()}` | {marked_up(effect)} | {example} |\n"


def key_sections(options: list[argparse.Action]) -> Iterator[str]:
    """A section for each key of the configuration: effect, type, default, options, example."""
    defaults = Options().to_dict()
    for name, key in KEYS.items():
        forms = [each.option_strings[-1] for each in options if each.dest.replace("_", "-") == name]
        forms += [f"--regcheck-{each}" for each in OPTIONS if each in (name, name.removesuffix("s"))]
        yield f"### {name}\n\n{key.effect[0].upper()}{key.effect[1:]}.\n"
        yield f"- Type: {key.type}"
        yield f"- Default: `{toml(defaults[name])}`"
        if forms:
            yield f"- Options: {', '.join(f'`{each}`' for each in forms)}"
        yield f"\n```toml\n[tool.regcheck]\n{name} = {toml(key.example)}\n```\n"


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        entries = ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    return json.dumps(value)


def rules_table() -> str:
    """The rules as the README's table."""
    rows = [
        f"| {rule.code} | [{rule.name}](docs/rules/{rule.name}.md) | {rule.severity.value} | {rule.summary} |\n"
        for rule in load()
    ]
    return "".join(["| code | name | severity | finds |\n", "| --- | --- | --- | --- |\n", *rows])


def rules_page() -> str:
    """The page with all rules: what each finds, whether it is on, what finds it and what fixes it."""
    rows = [
        f"| {rule.code} | [{rule.name}]({rule.name}.md) | {rule.summary} | {rule.severity.value} | "
        f"{'off' if rule.severity.value == 'info' else 'on'} | {rule.doors} | {fix_cell(rule)} | {rule.since} |\n"
        for rule in load()
    ]
    head = "| code | name | finds | severity | default | found by | fix | since |\n"
    line = "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
    return "".join(["---\nhide: [toc]\n---\n\n# Rules\n\n", head, line, *rows, RULES_NOTE])


RULES_NOTE = """
- **severity**: `error` means wrong predictions, `warning` weaker or unsound regularization, `info` advice.
- **default**: a rule that is off runs when [selected](../reference/configuration.md#extend-select). Wherever regcheck
  takes rules, write a code, the beginning of one (`REG2`) or a name.
- **found by**: a scan reads source; a run (`audit`, `run`, `watch()`, callbacks, `pytest --regcheck`) measures. Of a
  rule that both find, some cases show in a run only: its page names them.
- **fix**: `regcheck scan --fix`, `regcheck audit --fix` and `pytest --regcheck --regcheck-fix` apply safe fixes, with
  `--unsafe-fixes` (`--regcheck-unsafe-fixes`) the others too ([how](../how-to/fix.md)).
- **since**: the version that brought the rule ([life of a rule](../reference/versioning.md#life-of-a-rule)).
"""


def fix_cell(rule: Rule) -> str:
    """Whether a rule's fixes are safe, by the fixes of its examples, with a link to the section about them."""
    if rule.fix is None:
        return ""
    safe = set()
    with tempfile.TemporaryDirectory() as folder:
        for number, example in enumerate(rule.bad):
            file = Path(folder, f"example_{number}.py")
            file.write_text(example.source, encoding="utf-8")
            report = scan_with([file], Options(select=(rule.code,)), (rule,))
            safe |= {each.patch.safe for each in report.findings if each.patch is not None}
    word = {(True,): "safe", (False,): "unsafe", (False, True): "safe, unsafe"}[tuple(sorted(safe))]
    return f"[{word}]({rule.name}.md#how-it-is-fixed)"


def source_only() -> str:
    """The sentence that names the rules about models and programs that no measurement confirms."""
    *most, last = (rule.code for rule in load() if rule.doors == "scan")
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
    changed = {file for file, text in wanted.items() if not file.exists() or file.read_text(encoding="utf-8") != text}
    return sorted(changed | ({*RULES.glob("*.md"), *SCHEMAS.glob("*.json")} - wanted.keys()))


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
