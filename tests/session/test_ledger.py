"""What pieces of a run showed, gathered: each finding once, the same in one process and in many."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from regcheck.config.options import Options
from regcheck.core.finding import Evidence, Finding, NotChecked, Severity, Verdict
from regcheck.core.inspections import Inspection, Progress
from regcheck.core.suppressions import CodeSuppression
from regcheck.files.place import Place
from regcheck.session.ledger import Ledger

FINDING = Finding(
    code="REG202",
    name="dropout-ignores-mode",
    severity=Severity.ERROR,
    message="it drops",
    module="drop",
    path="/project/src/net.py",
    line=2,
    column=1,
    fix="",
    evidence=Evidence(Verdict.CONFIRMED),
    docs="",
)
ROOT = Path("/project")
OPEN = NotChecked("Net", "it raised", path="/project/src/net.py")


def pieces() -> list[Ledger]:
    """Three tests: one confirms a finding, one cannot measure it, one leaves another structure open."""
    ledgers = [Ledger(Options(), ROOT) for _ in range(3)]
    ledgers[0].add(FINDING, ["Net"], "test_a")
    ledgers[1].add(replace(FINDING, evidence=Evidence(Verdict.UNMEASURED)), ["Net", "Other"], "test_b")
    ledgers[2].add_inspection("net", Inspection(Progress.NOT_REPLAYED, (OPEN,)))
    ledgers[2].add_missed([NotChecked("test_c", "it was not kept")])
    return ledgers


def merged(ledgers: list[Ledger], *, sent: bool = False) -> Ledger:
    whole = Ledger(Options(), ROOT)
    for each in ledgers:
        if sent:
            each = Ledger.from_dict(json.loads(json.dumps(each.to_dict())), Options(), ROOT)
        whole.merge(each)
    return whole


@pytest.mark.parametrize("sent", [False, True], ids=["in one process", "sent by workers"])
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_any_order_of_pieces_makes_the_same_report(order: tuple[int, ...], sent: bool) -> None:
    """The confirmed finding stands with all its tests and models, whichever piece arrives first, sent or not."""
    whole = merged([pieces()[number] for number in order], sent=sent)
    (finding,) = whole.report().findings
    assert finding.evidence.verdict is Verdict.CONFIRMED
    assert finding.path == "src/net.py"
    assert sorted(whole.tests[finding.key]) == ["test_a", "test_b"]
    assert sorted(whole.models[finding.key]) == ["Net", "Other"]
    assert sorted(each.reason for each in whole.report().not_checked) == ["it raised", "it was not kept"]


def test_a_later_inspection_closes_what_an_earlier_one_left_open() -> None:
    """Of each structure only the best inspection counts."""
    whole = merged(pieces())
    assert {each.subject for each in whole.report().not_checked} > {"test_c"}
    closing = Ledger(Options(), ROOT)
    closing.add_inspection("net", Inspection(Progress.MEASURED))
    for ledgers in ([whole, closing], [closing, whole]):
        assert [each.subject for each in merged(ledgers).report().not_checked] == ["test_c"]


def test_merging_tells_which_findings_are_new() -> None:
    """A finding is new once, however many pieces show it."""
    whole, ledgers = Ledger(Options(), ROOT), pieces()
    assert [len(whole.merge(each)) for each in (*ledgers, *ledgers)] == [1, 0, 0, 0, 0, 0]


def test_what_a_declaration_suppresses_is_not_gathered() -> None:
    """A declared finding leaves no trace in the ledger; advice is there for declarations to name, and in no report."""
    ledger = Ledger(Options(), ROOT)
    declared = CodeSuppression("REG202", "why", Place("a.py", 1), "…")
    ledger.add(FINDING, ["Net"], "test_a", (declared,))
    assert not ledger and not ledger.has_kind(declared)
    ledger.add(FINDING, ["Net"], "test_a", is_advice=True)
    assert ledger.has_kind(declared) and ledger.report().findings == ()
