"""A rule's page, as markdown: the rule file's docstring, headed by its code, followed by its examples."""

from __future__ import annotations

from regcheck.core.rule import Rule


def page(rule: Rule) -> str:
    """The page that `docs/rules/` holds and `regcheck rule` shows."""
    head = f"# {rule.code} {rule.name}\n\n*Severity: {rule.severity.value}"
    head += ", off unless selected.*" if rule.severity.value == "info" else ".*"
    parts = [head, rule.page.strip()]
    parts += ["## Examples"]
    for each in rule.bad:
        parts.append(f"Reported, at the marked line:\n\n{code(each.source)}")
        if each.fixed:
            parts.append(f"After the fix:\n\n{code(each.fixed)}")
    parts += [f"Right, and not reported:\n\n{code(each.source)}" for each in rule.good]
    return "\n\n".join(parts) + "\n"


def code(source: str) -> str:
    return f"```python\n{source.strip()}\n```"
