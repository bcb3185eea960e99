"""A block of code under watch: record it from the import of torch on, and examine at its end what it did."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regcheck import plugins
from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import RegcheckError, UsageError, format_error, stops
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.join import join
from regcheck.core.report import Report
from regcheck.core.suppressions import CodeSuppression
from regcheck.core.usage import Event
from regcheck.plugins import catalogue
from regcheck.session.ledger import Ledger
from regcheck.session.recording import DeferredRecorder
from regcheck.session.session import Session, is_empty
from regcheck.suppression.apply import report_on, report_under
from regcheck.suppression.decide import has_reason
from regcheck.suppression.declare import SuppressionLog, open_log
from regcheck.suppression.unused import names_a_live_rule, unused_declaration

if TYPE_CHECKING:
    from regcheck.runtime.recorder import Observation

NOTHING_RAN = "no model ran"


LOGGER = logging.getLogger("regcheck")
LOGGER.addHandler(logging.NullHandler())  # a library prints nothing where the program configures no logging


def watch(
    options: Options | Mapping[str, Any] | None = None, on_finding: Callable[[Finding], object] | None = None
) -> WatchSession:
    """Watch a block of code, and check at its end every model and optimizer that ran in it.

    `with regcheck.watch() as seen: …`, then `seen.report`, or `print(seen)`. What the block computes is not altered: it
    is examined when it is over, also when it raised, and measured on copies. A block may stand inside another one, and
    the same object may watch several blocks, one after the other; its report is then about all of them.
    `seen.check()` examines what ran so far while the block goes on, as after the first epoch of a long training.

    Args:
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `fail_on`, `devices`, `seed`, …).
        on_finding: called once for each finding as soon as it is known, at the end of a block and in `check()`. It is
            also logged, as a warning of the logger `regcheck`, and plugins get it (`regcheck_finding`).

    Raises:
        UsageError: an unknown option or rule code, or, at the end of the block, an unusable device.
    """

    def announce(finding: Finding) -> None:
        evidence = finding.evidence
        proof = f"{evidence.verdict.value}: {evidence.because}"
        LOGGER.warning("%s %s: %s (%s)", finding.where, finding.title, finding.message, proof)
        plugins.call("regcheck_finding", finding=finding)
        if on_finding is not None:
            on_finding(finding)

    return WatchSession(options, on_finding=announce)


class WatchSession:
    """Blocks of code under watch, and the report on those that are over.

    Args:
        options: as `watch` takes them.
        subject: the name of the code in the report.
        read_as: returns an event as the rules should read it, or None to leave it out.
        on_finding: called once for each finding, when it is known.
    """

    def __init__(
        self,
        options: Options | Mapping[str, Any] | None = None,
        subject: str = "the watched block",
        read_as: Callable[[Event], Event | None] = lambda event: event,
        on_finding: Callable[[Finding], object] = lambda finding: None,
    ) -> None:
        self._options = Options.of(options)
        select.chosen(catalogue(), self._options)
        self._subject, self._read_as, self._on_finding = subject, read_as, on_finding
        self._session, self._recording = Session(self._options), DeferredRecorder()
        self._ledger = Ledger(self._options)
        self._log, self._open_log = SuppressionLog(), contextlib.ExitStack()
        self._ran_to_end, self._ran_anything = True, False
        self._depth = 0
        self._lock = threading.RLock()

    def __enter__(self) -> WatchSession:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self.stop(whole=kind is None)
        except RegcheckError as trouble:
            if kind is None:
                raise
            self._ledger.add_missed([NotChecked(self._subject, str(trouble))])

    def start(self) -> None:
        """Begin to watch, at once or when torch is imported."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._open_log.enter_context(open_log(self._log))
                self._recording.start()

    def stop(self, *, whole: bool = True) -> None:
        """Stop watching and examine what ran, once for every start; `whole` says that the code came to its end.

        Raises:
            UsageError: an unusable device.
        """
        with self._lock, contextlib.ExitStack() as ending:
            self._depth -= 1
            self._ran_to_end = self._ran_to_end and whole
            if self._depth:
                return
            ending.enter_context(self._open_log.pop_all())
            self._recording.stop()
            self._ledger.add_missed(self._recording.missed(self._subject))
            self._examine_recorded()

    def check(self) -> tuple[Finding, ...]:
        """Examine what ran so far while the block goes on, and return the findings that are new.

        Call it between steps, best after an epoch with its validation: a mistake that is in the order of calls is found
        where these calls are all before it, or all after it. What the program computes is not altered.

        Raises:
            UsageError: an unusable device.
        """
        with self._lock:
            return self._examine_recorded() if self._depth else ()

    def give_up(self) -> None:
        """Stop watching, however often it was begun, and forget what ran."""
        with self._lock:
            self._depth = 0
            self._open_log.close()
            self._recording.stop()
            self._recording = DeferredRecorder()

    @property
    def report(self) -> Report:
        """What was found in the blocks that are over.

        Raises:
            UsageError: none is.
        """
        if not self._is_reportable:
            raise UsageError("the block is still watched: its report is there when it is over")
        nothing = () if self._ran_anything or self._ledger else (self._nothing_ran,)
        report = join([self._ledger.report(), report_under(self._options, not_checked=nothing)])
        idle = {each for each in self._log.entered if self._is_idle(each, is_checked=not report.not_checked)}
        shown_idle = (each for each in idle - self._log.used.keys() if has_reason(each, self._options))
        declared = self._ledger.report(self._log.used, shown_idle)
        return join([report, declared, report_on(self._unused(idle), (), self._options)])

    def __repr__(self) -> str:
        return str(self.report) if self._is_reportable else "still watching"

    @property
    def _is_reportable(self) -> bool:
        return self._ran_anything or not self._depth

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the report, or the `repr` while the block runs."""
        return self.report._repr_html_() if self._is_reportable else None

    @property
    def _nothing_ran(self) -> NotChecked:
        return NotChecked(self._subject, NOTHING_RAN, "watch code that trains or predicts")

    def _examine_recorded(self) -> tuple[Finding, ...]:
        """Examine what was recorded since the last time, and announce the findings that are new."""
        observation = self._recording.drain(self._subject)
        if observation is None or is_empty(observation):
            return ()
        self._ran_anything = True
        new = self._examine(observation)
        for each in new:
            self._on_finding(each)
        return new

    def _examine(self, observation: Observation) -> tuple[Finding, ...]:
        new: tuple[Finding, ...] = ()
        try:
            piece = self._session.examine(_read(observation, self._read_as))
            new = self._ledger.merge(piece.ledger)
            self._recording.capture_again(piece.due)
        except RegcheckError:
            raise
        except BaseException as error:
            if stops(error):
                raise
            reason = f"judging it failed: {format_error(error)}"
            self._ledger.add_missed([NotChecked(self._subject, reason, "please report this")])
        return new

    def _is_idle(self, declaration: CodeSuppression, is_checked: bool) -> bool:
        """Whether a block suppressed nothing; only a whole program that `is_checked` can tell."""
        return (
            self._ran_to_end
            and is_checked
            and not self._ledger.has_kind(declaration)
            and names_a_live_rule(declaration, catalogue(), self._options)
        )

    def _unused(self, idle_ones: Collection[CodeSuppression]) -> Iterator[Finding]:
        """Findings about the blocks that suppressed nothing."""
        for each in self._log.entered:
            idle = "what was watched showed no such finding" if each in idle_ones else ""
            yield from unused_declaration(each, each in self._log.used, catalogue(), self._options, idle)


def _read(observation: Observation, read_as: Callable[[Event], Event | None]) -> Observation:
    events = tuple(filter(None, map(read_as, observation.usage.events)))
    return replace(observation, usage=replace(observation.usage, events=events))
