"""What pages say of the source and of the command line is so."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from regcheck.cli.main import VERBS, parser_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "regcheck"
ARCHITECTURE = DOCS / "contributing" / "architecture.md"
DECISIONS = sorted(DOCS.glob("decisions/0*.md"))


def answers() -> list[tuple[str, str, str]]:
    """The rows of "Where is it decided that …?": question, module, function."""
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("## Where is it decided")[2]
    return re.findall(r"^\| ([^|]+) \| `([^`|]+)` \| `([^`|]+)` \|$", section, re.MULTILINE)


def defined(module: Path) -> set[str]:
    """The functions and classes of a module, and `Class.method` and `Class.field`."""
    names = set()
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
            names |= {
                f"{node.name}.{ast.unparse(each.target)}" for each in node.body if isinstance(each, ast.AnnAssign)
            }
    return names


def test_the_architecture_page_answers_where_decisions_are_made() -> None:
    """At least 25 questions are answered, each once."""
    questions = [question for question, _, _ in answers()]
    assert len(questions) == len(set(questions)) >= 25


@pytest.mark.parametrize(("question", "module", "function"), answers(), ids=[each[0] for each in answers()])
def test_the_answer_names_a_function_that_exists(question: str, module: str, function: str) -> None:
    """The module and the function that a row names are in the source."""
    assert function in defined(PACKAGE / module)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_links_of_pages_outside_the_docs_lead_somewhere(name: str) -> None:
    """MkDocs checks its own pages; of these, each relative link leads to a file, and to a heading in it."""
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text(encoding="utf-8"))
    relative = [each for each in links if "://" not in each]
    assert relative
    for link in relative:
        path, _, anchor = link.partition("#")
        assert (ROOT / path).exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in titles}, link


def test_the_examples_of_options_are_valid() -> None:
    """Some verb accepts the example that the page about the command line gives of each option with a value."""
    rows = (DOCS / "reference" / "cli.md").read_text(encoding="utf-8").splitlines()
    examples = [found[1] for row in rows if (found := re.search(r"\| `(--?[\w-]+ [^`]+)` \|$", row))]
    parsers = [*map(parser_of, VERBS)]
    assert len(examples) >= 20
    for example in examples:
        words = shlex.split(example)
        takers = [each for each in parsers if words[0] in each.format_help()]
        assert takers, example
        for parser in takers:
            parser.parse(words)


def test_messages_that_the_page_on_trouble_quotes_exist() -> None:
    """Each reason and message in the tables is in the source, but for what stands for a value."""
    page = (DOCS / "how-to" / "troubleshoot.md").read_text(encoding="utf-8")
    quoted = [text for row in re.findall(r"^\| (`.*?) \| ", page, re.MULTILINE) for text in re.findall("`(.*?)`", row)]
    assert len(quoted) >= 12
    source = "\n".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    pieces = {piece.strip(" ,:") for text in quoted for piece in text.split("…")}
    assert {piece for piece in pieces if piece not in source} == set()


@pytest.mark.parametrize("page", [ARCHITECTURE, *DECISIONS], ids=lambda page: page.stem)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    """Each path (with a folder) of a Python file in a page for contributors is in the package or in the repository."""
    names = set(re.findall(r"`(\w+/[\w/]+\.py)`", page.read_text(encoding="utf-8")))
    assert {name for name in names if not (PACKAGE / name).exists() and not (ROOT / name).exists()} == set()


def test_every_decision_is_in_the_index_under_its_title() -> None:
    """The index lists each decision with the number and the title of its page."""
    lines = [
        f"- [{page.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}]({page.name})" for page in DECISIONS
    ]
    index = (DOCS / "decisions" / "index.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in index if line.startswith("- ")] == lines


def test_marked_lines_of_examples_are_highlighted() -> None:
    """The docs set off each line that an example marks, and leave other blocks as they are."""
    spec = importlib.util.spec_from_file_location("mkdocs_hooks", DOCS / "mkdocs_hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    plain = "```python\na\n```\n\n"
    shown = hooks.on_page_markdown(plain + "```python\na  # <-\nb\nc  # <- (scan)\n```\n", page=None)
    assert shown == plain + '```python hl_lines="1 3"\na  # <-\nb\nc  # <- (scan)\n```\n'
