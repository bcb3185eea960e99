"""`regcheck rule [CODE|NAME]`: the list of rules, or one rule's page."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from regcheck.cli import printing
from regcheck.cli.common_options import Parser
from regcheck.config.select import unknown_rule
from regcheck.core.rule import Rule
from regcheck.plugins import catalogue
from regcheck.report.page import page


def run(argv: Sequence[str]) -> int:
    """Show what was asked for; return the exit code."""
    parser = Parser("regcheck rule", "List the rules, or show the page of one.")
    parser.add_argument("rule", metavar="CODE|NAME", nargs="?", help="the rule to show")
    word = parser.parse(argv).rule
    if word is None:
        printing.show(listing(catalogue()))
        return 0
    for rule in catalogue():
        if word in (rule.code, rule.name):
            show(page(rule))
            return 0
    raise unknown_rule(word, catalogue())


def listing(rules: Sequence[Rule]) -> str:
    """One line for each rule: code, name, severity, summary."""
    width = max(len(rule.name) for rule in rules)
    return "".join(f"{rule.code}  {rule.name:<{width}}  {rule.severity.value:<7}  {rule.summary}\n" for rule in rules)


def show(markdown: str) -> None:
    """Print markdown: rendered on a terminal, as it is into a pipe."""
    if not sys.stdout.isatty():
        printing.show(markdown)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(markdown))
