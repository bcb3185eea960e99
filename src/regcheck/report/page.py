"""A rule's page, as markdown: its facts, the code before and after, the rule file's docstring, further examples."""

from __future__ import annotations

from regcheck.core.rule import Example, Rule


def page(rule: Rule) -> str:
    """The page that `docs/rules/` holds and `regcheck rule` shows."""
    summary, _, sections = rule.page.strip().partition("\n## ")
    off = ", off unless selected" if rule.severity.value == "info" else ""
    since = f" Since version {rule.since}." if rule.since else ""
    facts = f"*Severity: {rule.severity.value}{off}. Found by: {rule.doors}.{since}*"
    (before, *more_bad), (right, *more_good) = rule.bad, rule.good
    after = [] if before.fixed else [not_reported(right)]
    parts = [f"# {rule.code} {rule.name}", facts, summary.strip(), *reported(before), *after, f"## {sections}"]
    further = [text for each in more_bad for text in reported(each)]
    further += [not_reported(each) for each in ((right, *more_good) if before.fixed else more_good)]
    parts += ["## More examples", *further] if further else []
    return "\n\n".join(parts) + "\n"


def reported(example: Example) -> list[str]:
    """An example of the defect, and the code after the rule's fix."""
    fixed = [f"After the fix:\n\n{code(example.fixed)}"] if example.fixed else []
    return [f"Reported, at the marked line:\n\n{code(example.source)}", *fixed]


def not_reported(example: Example) -> str:
    """An example of right code."""
    return f"Right, and not reported:\n\n{code(example.source)}"


def code(source: str) -> str:
    return f"```python\n{source.strip()}\n```"
