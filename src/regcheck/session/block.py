"""A block of code under watch, told top to bottom: begin as soon as torch is there, let it run, judge what was seen."""

from __future__ import annotations

import contextlib
import html
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import RegcheckError, UsageError, format_error, stops
from regcheck.core.finding import Finding, NotChecked
from regcheck.core.inspections import Inspection, best, left_open
from regcheck.core.report import Report, gathered
from regcheck.core.usage import Called, Event
from regcheck.engine.verdict_store import Around, VerdictStore, declared_around
from regcheck.import_hook import ImportHook
from regcheck.plugins import catalogue
from regcheck.suppression.apply import report_on, report_under
from regcheck.suppression.decide import Context, decide
from regcheck.suppression.declare import SuppressionLog, log_used, open_log
from regcheck.suppression.unused import names_a_live_rule, unused_declaration

if TYPE_CHECKING:
    from regcheck.runtime.recorder import EventRecorder, Observation

NOTHING_RAN = "no model ran"


def watch(options: Options | Mapping[str, Any] | None = None) -> WatchSession:
    """Watch a block of code, and check at its end every model and optimizer that ran in it.

    `with regcheck.watch() as seen: …`, then `seen.report`, or `print(seen)`. What the block computes is not altered: it
    is judged when it is over, also when it raised, and measured on copies. A block may stand inside another one, and
    the same object may watch several blocks, one after the other; its report is then about all of them.

    Args:
        options: an `Options` or a mapping with its fields (`select`, `ignore`, `fail_on`, `devices`, `seed`, …).

    Raises:
        UsageError: an unknown option or rule code, or, at the end of the block, an unusable device.
    """
    return WatchSession(options)


class WatchSession:
    """Blocks of code that are watched, and the report on those that are over.

    Args:
        options: what to check and how.
        subject: what the report calls the code.
        read_as: gives for each event what it is taken for, or None where it tells nothing.
    """

    def __init__(
        self,
        options: Options | Mapping[str, Any] | None = None,
        subject: str = "the watched block",
        read_as: Callable[[Event], Event | None] = lambda event: event,
    ) -> None:
        self._options = Options.of(options)
        select.chosen(catalogue(), self._options)
        self._subject, self._read_as = subject, read_as
        self._watch: EventRecorder | None = None
        self._memory = VerdictStore()
        self._looks: dict[str, Inspection] = {}
        self._noting, self._declared = contextlib.ExitStack(), SuppressionLog()
        self._whole = True
        self._reports: list[Report] = []
        self._missed: list[NotChecked] = []
        self._anything = False
        self._entered = 0
        self._lock = threading.RLock()
        self._process = 0
        self._torch = ImportHook("torch", self._begin)

    def __enter__(self) -> WatchSession:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self.stop(whole=kind is None)
        except RegcheckError as trouble:
            if kind is None:
                raise
            self._missed.append(NotChecked(self._subject, str(trouble)))

    def start(self) -> None:
        """Begin to watch, at once or when torch is imported."""
        with self._lock:
            self._entered += 1
            if self._entered > 1:
                return
            self._process = os.getpid()
            self._noting.enter_context(open_log(self._declared))
            self._torch.install()

    def stop(self, *, whole: bool = True) -> None:
        """Stop watching and judge what was seen, once for every start; `whole` says that the code came to its end.

        Raises:
            UsageError: an unusable device.
        """
        with self._lock, contextlib.ExitStack() as ending:
            self._entered -= 1
            self._whole = self._whole and whole
            if self._entered:
                return
            ending.enter_context(self._noting.pop_all())
            self._torch.remove()
            if self._watch is not None:
                self._watch.stop()
                # What a forked process did is nobody's to report: its parent goes on.
                if os.getpid() == self._process:
                    self._judge(self._watch.drain(self._subject))

    def give_up(self) -> None:
        """Stop watching, however often it was begun, and forget what was seen."""
        with self._lock:
            self._entered = 0
            self._noting.close()
            self._torch.remove()
            if self._watch is not None:
                self._watch.stop()
                self._watch = None

    @property
    def report(self) -> Report:
        """What was found in the blocks that are over.

        Raises:
            UsageError: none is.
        """
        if self._entered and not self._reports:
            raise UsageError("the block is still watched: its report is there when it is over")
        missed = [*self._missed, *left_open(self._looks)]
        if not self._anything and not self._missed:
            missed.append(NotChecked(self._subject, NOTHING_RAN, "watch code that trains or predicts"))
        seen = gathered([*self._reports, report_under(self._options, not_checked=tuple(missed))])
        return gathered([seen, report_on(self._idle(seen), (), self._options)])

    def __repr__(self) -> str:
        return "still watching" if self._entered and not self._reports else str(self.report)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def _begin(self) -> None:
        try:
            from regcheck.runtime.recorder import EventRecorder

            self._watch = self._watch or EventRecorder()
            self._watch.start()
        except Exception as error:
            self._miss("watching could not begin", error)

    def _judge(self, seen: Observation) -> None:
        if not (seen.usage.events or seen.captures or seen.skipped or seen.uncaptured):
            return
        self._anything = True
        from regcheck.engine.audit import Run

        try:
            run = replace(Run.of(self._options, watched=True), memory=self._memory)
            report = run.seen(_alone(_read(seen, self._read_as)))
            log_used(report.suppressed_by)
            self._looks = best([self._looks, report.looks])
            self._memory.remember(report)
            self._memory.note(self._unintended(report.findings, report, seen.structures))
            for each in (report, *self._memory.shown_again(seen.structures)):
                findings = (*self._unintended(each.findings, each, seen.structures),)
                advice = (*self._unintended(each.advice, each, seen.structures),)
                self._reports.append(replace(each, findings=findings, advice=advice, looks={}))
            if self._watch is not None:
                for structure in filter(self._memory.is_due, {each.model_key for each in seen.captures}):
                    self._watch.capture_again(structure)
        except RegcheckError:
            raise
        except BaseException as error:
            if stops(error):
                raise
            self._miss("judging it failed", error)

    def _unintended(self, findings: Iterable[Finding], report: Report, around: Around) -> Iterator[Finding]:
        """Findings of a report but for those that a block declares around all calls of a model."""
        for each in findings:
            decision = decide(each, Context(self._options, declared_around(each, report, around)))
            log_used(decision.by_code)
            if not decision.is_suppressed:
                yield each

    def _idle(self, seen: Report) -> Iterator[Finding]:
        """The declarations that silenced nothing in a program that came to its end and was checked as a whole."""
        whole = self._whole and not seen.not_checked
        for each in self._declared.entered:
            found = any(
                select.ignores(one.code, (each.pattern,), one.name)
                for one in (*seen.findings, *seen.known, *seen.advice)
            )
            idle = whole and not found and names_a_live_rule(each, catalogue(), self._options)
            format_error = "what was watched showed no such finding" if idle else ""
            yield from unused_declaration(each, each in self._declared.used, catalogue(), self._options, format_error)

    def _miss(self, what: str, error: BaseException) -> None:
        reason = f"{what}: {format_error(error)}"
        self._missed.append(NotChecked(self._subject, reason, "please report this"))


def _alone(seen: Observation) -> Observation:
    """Without the means to run anything where one of several processes would do so while the others do not."""
    from regcheck.tracing.unwrap import processes

    if processes() == 1:
        return seen
    reason = f"this is one of {processes()} processes, and what one runs alone may wait for the others"
    missed = NotChecked(seen.usage.subject, f"nothing was measured: {reason}", "watch a run in one process, too")
    seen = _read(seen, lambda event: replace(event, capture=None) if isinstance(event, Called) else event)
    return replace(seen, captures=(), optimizers={}, skipped=(*seen.skipped, missed))


def _read(seen: Observation, read_as: Callable[[Event], Event | None]) -> Observation:
    events = tuple(filter(None, map(read_as, seen.usage.events)))
    return replace(seen, usage=replace(seen.usage, events=events))
