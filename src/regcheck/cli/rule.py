"""`regcheck rule`: the list of rules or of a family, one rule's page, or the skeleton of a new rule file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from regcheck.cli import printing, rule_skeleton
from regcheck.cli.common_options import Parser
from regcheck.cli.output import wants_color
from regcheck.config.select import unknown_rule
from regcheck.core.rule import Rule
from regcheck.files.escape import visible
from regcheck.plugins import catalogue
from regcheck.report.page import page


def argument_parser() -> Parser:
    """Returns the parser of the verb's arguments."""
    parser = Parser("regcheck rule", "List the rules, show the page of one, or begin a new one.")
    parser.add_argument(
        "rule",
        metavar="CODE|NAME",
        nargs="?",
        help="the rule to show, or the first letters of the codes to list; with --new, the folder or file",
    )
    parser.add_argument(
        "--output-format", metavar="FORMAT", choices=("text", "json"), default="text", help="text (default) or json"
    )
    parser.add_argument(
        "--new", metavar="NAME", help="write the skeleton of a rule file into this folder, or the given"
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Show the list or the page, or write the skeleton; return the exit code.

    Raises:
        UsageError: there is no such rule, or the skeleton cannot be written.
    """
    arguments = argument_parser().parse(argv)
    word = arguments.rule
    if arguments.new is not None:
        file = rule_skeleton.write(arguments.new, Path(word or "."), catalogue())
        printing.show(f"{visible(str(file))}: fill it in, and test it with regcheck.testing.check_rule\n")
        return 0
    rules = catalogue()
    shown = [rule for rule in rules if word in (None, rule.code, rule.name)]
    shown = shown or [rule for rule in rules if rule.code.startswith(word)]
    if not shown:
        raise unknown_rule(word, rules)
    if arguments.output_format == "json":
        printing.show(json.dumps([described(rule) for rule in shown], indent=2) + "\n")
    elif word in (shown[0].code, shown[0].name):
        show(page(shown[0]))
    else:
        printing.show(listing(shown))
    return 0


def described(rule: Rule) -> dict[str, object]:
    """A rule for programs to read: what is listed, and its page as markdown."""
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": rule.severity.value,
        "summary": rule.summary,
        "found_by": rule.doors.split(", "),
        "since": rule.since,
        "fixable": any(each.fixed for each in rule.bad),
        "page": page(rule),
    }


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

    # By itself rich keeps bold type where NO_COLOR is set.
    Console(color_system="auto" if wants_color(sys.stdout) else None).print(Markdown(markdown))
