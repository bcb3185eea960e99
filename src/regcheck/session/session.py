"""One watched run of any kind: examine the recorder's observations, piece by piece, and return what each piece shows.

The session is the memory of the run: which model structures are examined, what each showed and leaves open, and in
which lines a rule is confirmed. It examines calls of a structure until one leaves nothing open. Every piece that runs a
structure shows its findings. A rule that is confirmed in a line is not measured there again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regcheck.config.options import Options
from regcheck.core.finding import Finding, Key, Severity, Verdict
from regcheck.core.graph import Graph, Wholeness
from regcheck.core.inspections import Inspection, Progress, keep_best
from regcheck.core.join import better
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.lazy_dataclass import dataclass
from regcheck.session.ledger import Ledger
from regcheck.suppression.declare import log_used

if TYPE_CHECKING:
    from regcheck.engine.check import Check, Line
    from regcheck.runtime.captures import Capture
    from regcheck.runtime.recorder import Observation

ATTEMPTS = 5
"""The number of calls of one structure to examine, where each leaves something open."""


@dataclass(frozen=True)
class Piece:
    """What one piece of a run showed.

    `is_conclusive`: nothing of it is left open. `due`: the structures whose next calls the recorder should capture.
    """

    ledger: Ledger
    is_conclusive: bool = True
    due: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownFinding:
    """A finding that a structure showed, the model's name, and whether it is advice that nobody selects."""

    finding: Finding
    model: str
    is_advice: bool


class Session:
    """The memory of a watched run.

    Args:
        options: as `regcheck.audit` takes them.
        root: shown paths are relative to this folder, if it is given.
    """

    def __init__(self, options: Options | Mapping[str, Any] | None = None, root: Path | None = None) -> None:
        self._options = Options.of(options)
        self._root = root
        self._inspections: dict[str, Inspection] = {}
        self._attempts: Counter[tuple[str, Wholeness]] = Counter()
        self._complete: set[tuple[str, Wholeness]] = set()
        self._undecided: set[object] = set()
        """The sizes of calls that left suspicions open, and nothing else."""
        self._shown_by: dict[str, dict[Key, ShownFinding]] = {}
        self._confirmed: dict[Line, Severity] = {}
        self._graphs: dict[str, Graph] = {}
        """The graph of each structure, where a rule reads it together with its use."""

    def examine(
        self,
        observation: Observation,
        test: str = "",
        declared: tuple[CodeSuppression, ...] = (),
        lower: Callable[[Finding], Finding] = lambda finding: finding,
    ) -> Piece:
        """Check what a program did, and each model structure it ran that is not yet examined.

        Each structure, and the calls of it, have the work of `Options.budget`.

        Args:
            observation: the events and captures of the piece.
            test: the test that did it, if it was one.
            declared: declarations around the whole piece.
            lower: returns a finding with the severity to show, the same or a lower one.

        Raises:
            UsageError: an unusable device.
        """
        ledger = Ledger(self._options, self._root)
        if is_empty(observation):  # most tests of most suites call no model: load nothing for them
            return Piece(ledger)
        from regcheck.engine.check import Check
        from regcheck.engine.model_use import check_uses
        from regcheck.engine.program import check_usage

        check = Check.of(self._options, self._confirmed)
        usage = check_usage(check, observation.usage, observation.captures, observation.optimizers)
        for structure, missed in observation.uncaptured.items():
            ledger.add_inspection(structure, Inspection(Progress.NOT_CAPTURED, (missed,)))
        examined = [*self._examine_captures(check, observation, ledger)]
        used = [usage, *check_uses(check, observation, self._graphs)]
        reports = [*used, *(report for _, report in examined)]
        measured = [finding for report in reports for finding in report.findings]
        keys = {each.key for each in measured}
        for number, report in enumerate(reports):
            ledger.add_examined(report, inspected=number >= len(used), but=keys)
            log_used(report.suppressed_by)
        ledger.add_missed(observation.skipped)
        self._remember(examined, lower)

        for report in used:
            for finding in report.findings:
                ledger.add(lower(finding), (), test, declared)
            for finding in report.advice:
                ledger.add(finding, (), test, declared, is_advice=True)
        again = sorted(self._shown_by.keys() & observation.structures)
        for structure in dict.fromkeys((*(each for each, _ in examined), *again)):
            around = (*declared, *observation.structures.get(structure, ()))
            for each in self._shown_by[structure].values():
                ledger.add(each.finding, [each.model], test, around, is_advice=each.is_advice)
        self._note_confirmed(each for each in measured if ledger.shows(each))

        captured = tuple(dict.fromkeys(each.model_key for each in observation.captures))
        ledger.structures.update(dict.fromkeys(each for each in captured if not self._is_unseen(each)))
        is_clear = not any(self._inspections[each].open for each in observation.structures if each in self._inspections)
        return Piece(
            ledger,
            is_conclusive=is_clear and not observation.skipped and not any(each.not_checked for each in used),
            due=tuple(each for each in captured if self._is_due(each, Wholeness.UNKNOWN)),
        )

    def _examine_captures(self, check: Check, observation: Observation, ledger: Ledger) -> Iterator[tuple[str, Report]]:
        """Check the captured calls of structures that are due."""
        from regcheck.engine.captured_calls import check_captures

        for capture, wholeness, report in check_captures(check, observation, self._is_call_due):
            ledger.add_inspection(capture.model_key, self._note_inspection(capture, wholeness, report))
            yield capture.model_key, report

    def _is_due(self, structure: str, wholeness: Wholeness) -> bool:
        """Whether another call of a structure is to be examined."""
        return (structure, wholeness) not in self._complete and self._attempts[structure, wholeness] < ATTEMPTS

    def _is_call_due(self, capture: Capture, wholeness: Wholeness) -> bool:
        """Whether a call is to be examined. One that decides as little as an earlier one counts as an attempt."""
        if not self._is_due(capture.model_key, wholeness):
            return False
        decides = _size_of(capture, wholeness) not in self._undecided
        self._attempts[capture.model_key, wholeness] += not decides
        return decides

    def _note_inspection(self, capture: Capture, wholeness: Wholeness, report: Report) -> Inspection:
        """Note how far the examination of a structure came."""
        structure = capture.model_key
        progress = Progress.NOT_REPLAYED
        if any(each.how in ("recorded", "assumed") for each in report.coverage):
            progress = Progress.UNPROVEN if any(map(self._is_unproven, report.findings)) else Progress.MEASURED
        inspection = Inspection(progress, report.not_checked, report.coverage)
        self._attempts[structure, wholeness] += 1
        if progress is Progress.UNPROVEN and not inspection.open:
            self._undecided.add(_size_of(capture, wholeness))
        if inspection.is_complete:
            self._complete |= {(structure, wholeness), (structure, Wholeness.UNKNOWN)}
        keep_best(self._inspections, {structure: inspection})
        return inspection

    def _is_unseen(self, structure: str) -> bool:
        """Whether no call of an inspected structure could be made again so far."""
        return structure in self._inspections and self._inspections[structure].progress > Progress.UNPROVEN

    def _is_unproven(self, finding: Finding) -> bool:
        if finding.evidence.verdict is not Verdict.UNMEASURED:
            return False
        line = line_of(finding)
        confirmed_severity = self._confirmed.get(line) if line is not None else None
        return confirmed_severity is None or confirmed_severity < finding.severity

    def _remember(self, examined: list[tuple[str, Report]], lower: Callable[[Finding], Finding]) -> None:
        """Note what each structure showed: of a finding that several show, the version that ranks highest."""
        best: dict[Key, Finding] = {}
        for _, report in examined:
            for finding in report.findings:
                best[finding.key] = better(best.get(finding.key, finding), finding)
        for structure, report in examined:
            model, shown = report.subjects[0], self._shown_by.setdefault(structure, {})
            shown.update({each.key: ShownFinding(lower(best[each.key]), model, False) for each in report.findings})
            shown.update({each.key: ShownFinding(each, model, True) for each in report.advice if each.key not in best})

    def _note_confirmed(self, findings: Iterator[Finding]) -> None:
        """Note the lines where measured findings, which somebody is shown, confirm a rule."""
        for each in findings:
            line = line_of(each)
            if line is not None and each.is_confirmed and each.evidence.lowers_to is None:
                self._confirmed[line] = max(self._confirmed.get(line, each.severity), each.severity)


def _size_of(capture: Capture, wholeness: Wholeness) -> object:
    """Equal for calls on which measurements decide equally much: of one structure and form, with as many values."""
    from regcheck.runtime.captures import varying_values

    return capture.model_key, wholeness, capture.form, varying_values(capture)


def is_empty(observation: Observation) -> bool:
    """Whether a program did nothing that could be checked, or missed."""
    return not (observation.usage.events or observation.captures or observation.skipped or observation.uncaptured)


def line_of(finding: Finding) -> Line | None:
    """The rule and the line of a finding; None where it has no line of source."""
    if finding.path is None or finding.line is None:
        return None
    return finding.code, os.path.abspath(finding.path), finding.line
