"""Every rule keeps the promises of its own file, and a rule that does not is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from regcheck.core.device_evidence import Proofs
from regcheck.core.finding import Evidence, Suspicion, Verdict
from regcheck.core.graph import Op
from regcheck.core.patch import Code, Patch
from regcheck.core.ranks import Ranks
from regcheck.core.rule import Probe, Rule
from regcheck.core.suppressions import Suppressions
from regcheck.core.usage import Called, Event, Stepped
from regcheck.probe.devices import chosen
from regcheck.rules import load
from regcheck.testing import broken_promises, check_rule

RULES = load()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_rule_keeps_its_promises(rule: Rule) -> None:
    """BAD: the marked lines, confirmed and fixed as written. GOOD: nothing, and a forced measurement refutes."""
    check_rule(rule, on=chosen(("auto",)))


def never(value: Any) -> list[Suspicion]:
    return []


def always(value: Any) -> list[Suspicion]:
    if isinstance(value, Suppressions):
        return [Suspicion(Event(each.ignore.place), "always") for each in value.outcomes]
    if isinstance(value, Proofs):
        return [replace(each.suspicion, evidence=Evidence(Verdict.CONFIRMED)) for each in value.proofs]
    if isinstance(value, Ranks):
        return [Suspicion(op, "always") for op in value.graph.train if op.drops]
    if hasattr(value, "events"):
        return [Suspicion(each, "always") for each in value.events if isinstance(each, (Called, Stepped))]
    return [Suspicion(op, "always") for op in value.train if op.drops or op.active]


def beside(check: Callable[[Any], Iterable[Suspicion]]) -> Callable[[Any], list[Suspicion]]:
    """The suspicions, each a line too low."""

    def moved(suspicion: Suspicion) -> Suspicion:
        at = suspicion.at
        assert at.place is not None
        place = replace(at.place, line=at.place.line + 1)
        elsewhere = replace(at, site=replace(at.site, place=place)) if isinstance(at, Op) else replace(at, place=place)
        return replace(suspicion, at=elsewhere)

    return lambda value: [moved(each) for each in check(value)]


def confirms(suspicion: Suspicion, probe: Probe) -> Evidence:
    return Evidence(Verdict.CONFIRMED, because="always")


def refutes(suspicion: Suspicion, probe: Probe) -> Evidence:
    return Evidence(Verdict.REFUTED, because="always")


def beside_the_fix(rule: Rule) -> Callable[[Code], Patch | None]:
    """The rule's fix, with a comment behind each edit."""

    def fix(code: Code) -> Patch | None:
        patch = rule.fix(code) if rule.fix is not None else None
        return patch and replace(patch, edits=tuple(replace(each, text=f"{each.text} # ") for each in patch.edits))

    return fix


MUTANTS: dict[str, Callable[[Rule], Rule]] = {
    "never fires": lambda rule: replace(rule, check=never),
    "fires beside the line": lambda rule: replace(rule, check=beside(rule.check)),
    "always fires": lambda rule: replace(rule, check=always),
    "always fires, always confirms": lambda rule: replace(rule, check=always, confirm=confirms),
    "always confirms": lambda rule: replace(rule, confirm=confirms),
    "never confirms": lambda rule: replace(rule, confirm=refutes),
    "has no good example": lambda rule: replace(rule, good=()),
    "never fixes": lambda rule: replace(rule, fix=lambda code: None),
    "fixes to other code": lambda rule: replace(rule, fix=beside_the_fix(rule)),
}


@pytest.mark.parametrize(
    ("rule", "mutant"),
    [
        pytest.param(rule, mutant, id=f"{rule.name}-{mutant}")
        for rule in RULES
        for mutant in MUTANTS
        if rule.confirm is not None or mutant not in ("always confirms", "never confirms")
        if rule.fix is not None or mutant not in ("never fixes", "fixes to other code")
    ],
)
def test_a_mutant_is_caught(rule: Rule, mutant: str) -> None:
    """A rule that never or always fires, points elsewhere, always confirms or refutes, or fixes wrongly is caught."""
    assert [*broken_promises(MUTANTS[mutant](rule))]
