"""Rules as documents: pages with the agreed headings, unique names, examples that parse, docs that are current."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from regcheck.core import errors
from regcheck.core.errors import RegcheckError
from regcheck.core.rule import FIX_HEADING, HEADINGS, Rule
from regcheck.report.page import page
from regcheck.rules import load

ROOT = Path(__file__).parent.parent
RULES = load()
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)


@each_rule
def test_the_page_has_its_headings_in_order(rule: Rule) -> None:
    """A reader finds the same sections on every page, and how the code is fixed where the rule fixes it."""
    sections = re.split(r"^## (.+)$", rule.page, flags=re.MULTILINE)
    headings = [*HEADINGS[:3], *([FIX_HEADING] if rule.fix else []), *HEADINGS[3:]]
    assert sections[1::2] == headings
    assert all(text.strip() for text in sections[2::2])


@each_rule
def test_the_summary_is_one_short_sentence(rule: Rule) -> None:
    """The first line fits into a list and ends like a sentence."""
    assert re.fullmatch(r"[A-Z].{10,78}\.", rule.summary)


@each_rule
def test_the_file_is_called_as_the_rule(rule: Rule) -> None:
    """A rule is found by its name: file, name and page agree, and the name is in kebab-case."""
    spec = find_spec(rule.module)
    assert spec is not None
    assert Path(spec.origin or "").stem.replace("_", "-") == rule.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.name)
    assert rule.docs.endswith(f"/rules/{rule.name}/")


@each_rule
def test_the_file_says_since_when_the_rule_exists(rule: Rule) -> None:
    """The table of rules names the version, as major.minor, that brought each rule."""
    assert re.fullmatch(r"\d+\.\d+", rule.since)


def test_codes_and_names_are_unique() -> None:
    """No code and no name means two things, not even between a name and a code."""
    counts = Counter(word for rule in RULES for word in (rule.code, rule.name))
    assert max(counts.values()) == 1


@each_rule
def test_a_rule_shows_wrong_and_right(rule: Rule) -> None:
    """Each rule has a bad example with at least one marked line, and a good one with none; all of them parse."""
    assert rule.bad
    assert rule.good
    for example in (*rule.bad, *rule.good):
        ast.parse(example.source)
    assert all(example.marked for example in rule.bad)
    assert not any(example.marked for example in rule.good)


@each_rule
def test_the_published_page_is_the_rule_file(rule: Rule) -> None:
    """The page in `docs/rules/` is what the rule file says, its examples included."""
    published = (ROOT / "docs" / "rules" / f"{rule.name}.md").read_text(encoding="utf-8")
    assert published == page(rule), "run `make docs`"
    assert all(example.source.strip() in published for example in (*rule.bad, *rule.good))


def test_no_published_page_is_stale() -> None:
    """`docs/rules/` holds the pages of the rules there are, and the current table of them."""
    result = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def error_classes() -> list[type[RegcheckError]]:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, RegcheckError)]
    return sorted(classes, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", error_classes(), ids=lambda cls: cls.__name__)
def test_every_error_has_a_page(cls: type[RegcheckError]) -> None:
    """An error's slug is its own, and leads to a page that names the error."""
    assert [each.slug for each in error_classes()].count(cls.slug) == 1
    assert f"`{cls.__name__}`" in (ROOT / "docs" / "errors" / f"{cls.slug}.md").read_text(encoding="utf-8")


def test_no_page_is_about_an_error_that_is_gone() -> None:
    """Every page in `docs/errors/` is some error's."""
    pages = {file.stem for file in (ROOT / "docs" / "errors").glob("*.md")} - {"index"}
    assert pages == {cls.slug for cls in error_classes()}


def test_the_readme_lists_the_rules_there_are() -> None:
    """The README's table holds every rule with its severity, and no other, and is written by the docs' generator."""
    rows = re.findall(
        r"^\| (\w+) \| \[(\S+)\]\(docs/rules/(\S+)\.md\) \| (\w+) \|", (ROOT / "README.md").read_text(), re.M
    )
    assert rows == [(rule.code, rule.name, rule.name, rule.severity.value) for rule in RULES]
