"""The memory of a watched run: what is examined once, confirmed in a line, and still open, whatever the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import regcheck
from regcheck.core.finding import Finding, Severity, Verdict
from regcheck.core.inspections import Progress
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.runtime.recorder import EventRecorder, Observation
from regcheck.session.session import ATTEMPTS, Piece, Session

OPTIONS = {"select": ["REG202"], "devices": ["cpu"]}
Observe = Callable[..., Observation]


class Leaky(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(8, width), nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.dropout(torch.relu(self.hidden(x)), 0.5))


@pytest.fixture
def observe() -> Iterator[Observe]:
    """Returns what a function does to models, under one recorder for the whole test."""
    with EventRecorder(root=str(Path(__file__).parent)) as recorder:

        def observe(program: Callable[[], object]) -> Observation:
            program()
            return recorder.drain("program")

        yield observe


def predicting(width: int = 16) -> Callable[[], object]:
    return lambda: Leaky(width).eval()(torch.ones(4, 8))


def shown(piece: Piece) -> list[tuple[str, str]]:
    return [(each.code, each.evidence.verdict.value) for each in piece.ledger.report().findings]


def test_a_structure_is_examined_once_and_shown_by_every_piece_that_runs_it(observe: Observe) -> None:
    """The second piece runs the same structure: nothing is traced again, and the finding is shown all the same."""
    session = Session(OPTIONS)
    first, second = (session.examine(observe(predicting())) for _ in range(2))
    assert shown(first) == shown(second) == [("REG202", "confirmed")]
    assert [len(each.ledger.report().coverage) for each in (first, second)] == [1, 0]
    assert first.is_conclusive and second.is_conclusive
    assert first.due == second.due == ()


def test_a_confirmed_line_is_not_measured_in_another_structure(observe: Observe) -> None:
    """Another structure with the same line is suspected, and its suspicion needs no proof of its own."""
    session = Session(OPTIONS)
    session.examine(observe(predicting()))
    second = session.examine(observe(predicting(32)))
    (finding,) = second.ledger.report().findings
    assert finding.evidence.verdict is Verdict.UNMEASURED
    assert finding.evidence.because == "this line is confirmed already"
    assert second.is_conclusive and second.due == ()


def test_what_nobody_is_shown_confirms_nothing(observe: Observe) -> None:
    """A finding that is declared to be intended is measured again where it is not declared."""
    session = Session(OPTIONS)
    with regcheck.ignore("REG202", reason="why"):
        declared = BLOCKS.get()
    assert shown(session.examine(observe(predicting()), declared=declared)) == []
    assert shown(session.examine(observe(predicting(32)))) == [("REG202", "confirmed")]


def test_a_declaration_for_one_piece_hides_nothing_from_another(observe: Observe) -> None:
    """A structure that was examined under a declaration is shown by the next piece that runs it without one."""
    session = Session(OPTIONS)
    declared: tuple[CodeSuppression, ...]
    with regcheck.ignore("REG202", reason="why"):
        declared = BLOCKS.get()
    assert shown(session.examine(observe(predicting()), declared=declared)) == []
    assert shown(session.examine(observe(predicting()))) == [("REG202", "confirmed")]


def test_the_order_of_pieces_does_not_change_what_all_of_them_show(observe: Observe) -> None:
    """Two pieces show the same together, whichever comes first."""
    reports = []
    for widths in ((16, 32), (32, 16)):
        session, whole = Session(OPTIONS), None
        for width in widths:
            ledger = session.examine(observe(predicting(width)), str(width)).ledger
            if whole is None:
                whole = ledger
            else:
                whole.merge(ledger)
        assert whole is not None
        (finding,) = whole.report().findings
        reports.append((finding.key, finding.evidence.verdict, sorted(whole.tests[finding.key])))
    assert reports[0] == reports[1]
    assert reports[0][1:] == (Verdict.CONFIRMED, ["16", "32"])


def test_an_open_structure_is_examined_again_and_not_for_ever(observe: Observe) -> None:
    """A call that cannot be made again leaves its structure due, until so many attempts were in vain."""

    def hooked() -> None:
        model = Leaky().eval()
        handle = model.register_forward_pre_hook(lambda module, args: (torch.cat(args[0]),))
        model((torch.zeros(1, 8), torch.ones(1, 8)))
        handle.remove()

    session = Session(OPTIONS)
    first = session.examine(observe(hooked))
    (inspection,) = first.ledger.inspections.values()
    assert inspection.progress is Progress.NOT_REPLAYED and inspection.open
    assert first.due and not first.is_conclusive and not first.ledger.structures
    closed = session.examine(observe(predicting()))
    assert shown(closed) == [("REG202", "confirmed")]
    assert closed.is_conclusive and not closed.due

    session = Session(OPTIONS)
    attempts = [session.examine(observe(hooked)) for _ in range(ATTEMPTS)]
    assert [bool(each.due) for each in attempts] == [True] * (ATTEMPTS - 1) + [False]


class Small(nn.Module):
    """Drops elements of a small map, where a few samples do not suffice to decide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.3)
        self.next, self.head = nn.Conv2d(4, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.next(self.drop(self.conv(x).relu())).mean((2, 3)))


def test_calls_that_decide_equally_little_are_examined_once(observe: Observe) -> None:
    """After a call that decides nothing, one with as many values is not examined, and one with more values is."""

    def on(samples: int) -> tuple[bool, list[tuple[str, str]]]:
        piece = session.examine(observe(lambda: Small()(torch.rand(samples, 1, 4, 4))))
        return bool(piece.ledger.inspections), shown(piece)

    torch.manual_seed(0)
    session = Session({"select": ["REG102"], "devices": ["cpu"]})
    assert on(1) == (True, [("REG102", "unmeasured")])
    assert on(1) == (False, [("REG102", "unmeasured")])
    assert on(64) == (True, [("REG102", "confirmed")])


def test_a_driver_may_lower_what_is_shown(observe: Observe) -> None:
    """The driver's severity is what a piece shows, and what the line is confirmed with stays as it was measured."""
    session = Session(OPTIONS)

    def lower(finding: Finding) -> Finding:
        return replace(finding, severity=Severity.INFO)

    (lowered,) = session.examine(observe(predicting()), lower=lower).ledger.report().findings
    assert (lowered.severity, lowered.evidence.verdict) == (Severity.INFO, Verdict.CONFIRMED)
    (again,) = session.examine(observe(predicting(32))).ledger.report().findings
    assert (again.severity, again.evidence.verdict) == (Severity.ERROR, Verdict.UNMEASURED)


def test_nothing_done_is_nothing_shown() -> None:
    """An empty observation is conclusive and leaves the ledger empty."""
    with EventRecorder() as recorder:
        piece = Session(OPTIONS).examine(recorder.drain())
    assert not piece.ledger and piece.is_conclusive
