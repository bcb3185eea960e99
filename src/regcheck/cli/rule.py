"""`regcheck rule`: the list of rules, one rule's page, or the skeleton of a new rule file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from regcheck.cli import printing, rule_skeleton
from regcheck.cli.common_options import Parser
from regcheck.config.select import unknown_rule
from regcheck.core.rule import Rule
from regcheck.files.escape import visible
from regcheck.plugins import catalogue
from regcheck.report.page import page


def run(argv: Sequence[str]) -> int:
    """Show the list or the page, or write the skeleton; return the exit code.

    Raises:
        UsageError: there is no such rule, or the skeleton cannot be written.
    """
    parser = Parser("regcheck rule", "List the rules, show the page of one, or begin a new one.")
    parser.add_argument("rule", metavar="CODE|NAME", nargs="?", help="the rule to show; with --new, the folder or file")
    parser.add_argument(
        "--new", metavar="NAME", help="write the skeleton of a rule file into this folder, or the given"
    )
    arguments = parser.parse(argv)
    word = arguments.rule
    if arguments.new is not None:
        file = rule_skeleton.write(arguments.new, Path(word or "."), catalogue())
        printing.show(f"{visible(str(file))}: fill it in, and test it with regcheck.testing.check_rule\n")
        return 0
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
