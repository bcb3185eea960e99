"""Watching a program: `with EventRecorder() as recorder: …; seen = recorder.take()`."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, cast

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.errors import format_error
from regcheck.core.finding import NotChecked
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.core.usage import Backward, Called, Event, Model, ModeSet, Stepped, Usage
from regcheck.runtime import models
from regcheck.runtime.call_sites import CallSite, Sites, asking, is_being_built, is_part, stack
from regcheck.runtime.calls import Follow, Patches, back_propagating, calling, setting_mode
from regcheck.runtime.captures import CannotCopy, Capture, State, form_of
from regcheck.runtime.eval_pinned import EvalPinnedParts
from regcheck.runtime.journal import Again, CallRecord, Journal, ModeChange
from regcheck.runtime.loads import Loaded
from regcheck.runtime.optimizers import building, described, holds, key_of, trains_whole
from regcheck.runtime.result_tracking import ResultTracker
from regcheck.runtime.result_use import loss_of
from regcheck.runtime.thread_targets import Callers
from regcheck.runtime.weak_state import RevivableRef

__all__ = ["Capture", "EventRecorder", "Observation"]

FITTING = "run it on inputs that it accepts"
GONE = "it was gone when it could be checked: it has a finalizer, or too much was kept already"


@dataclass(frozen=True)
class Observation:
    """What a program did since the last take.

    `captures` is indexed by `Called.capture`, `optimizers` by the key of `core.usage.Optimizer`. Both keep the live
    objects, so let go of this value once it is judged. `structures` are the model keys of all that was called,
    captured or not, each with what the blocks declare that stood around all of its calls. `unkept` are those
    of which a call could not be kept, or raised, with the entry for that; a call that raised is no event.
    """

    usage: Usage
    captures: tuple[Capture, ...] = ()
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    skipped: tuple[NotChecked, ...] = ()
    structures: Mapping[str, tuple[CodeSuppression, ...]] = field(default_factory=dict)
    unkept: Mapping[str, NotChecked] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Subject:
    """What is known of one live module; `dependents` are the layers whose result depends on their mode."""

    key: str
    name: str
    watched: bool
    learned: bool
    model_key: str = ""
    calls: int = 0
    dependents: tuple[weakref.ref[nn.Module], ...] = ()

    def flags(self, module: nn.Module) -> bytes:
        """Which of the dependents act as in training; they are looked for anew after 1, 2, 4, 8, … calls."""
        self.calls += 1
        if self.calls & (self.calls - 1) == 0:
            self.dependents = tuple(map(weakref.ref, models.mode_dependent(module)))
        return bytes(each is not None and each.training for each in [reference() for reference in self.dependents])


class EventRecorder:
    """Writes down what a program does with its models and optimizers, and changes nothing that the program sees.

    Args:
        root: the folder of the program's own files (default: the working directory).
        test_files: paths of files to take for test code beside those whose name or folder says so; the collection may
            grow while watching.
    """

    def __init__(self, root: str | None = None, test_files: Collection[str] = ()) -> None:
        self._sites = Sites(os.getcwd() if root is None else root, test_files)
        self._subjects: Any = WeakIdKeyDictionary()
        self._built: Any = WeakIdKeyDictionary()
        self._results: Any = WeakIdKeyDictionary()
        self._loaded, self._frozen = Loaded(), EvalPinnedParts()
        self._numbers = itertools.count(1)
        self._known: set[State] = set()
        self._trained: set[str] = set()
        self._patches = Patches()
        self._callers = Callers(self._sites)
        self._hook: Any = None
        self._lock = threading.RLock()
        self._notes = Journal()
        self._watching = False

    def __enter__(self) -> EventRecorder:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to watch; nothing happens where the watch is on already."""
        if self._watching:
            return
        call = functools.partial(calling, thread=self._callers.thread)
        self._patches.put(nn.Module, "__call__", call, self._safely(self._on_call))
        # A forked process must be able to start threads whoever held the lock as it was forked.
        self._callers.put(self._patches, functools.partial(self._safely, alone=False))
        self._patches.put(nn.Module, "train", setting_mode, self._safely(self._on_mode))
        for name in ("backward", "grad"):
            self._patches.put(torch.autograd, name, back_propagating, self._safely(self._on_backward))
        self._patches.put(torch.optim.Optimizer, "__init__", building, self._safely(self._on_build))
        note_step = self._safely(self._on_step)

        def stepped(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            note_step(optimizer)

        self._hook = register_optimizer_step_post_hook(stepped)
        self._watching = True

    def stop(self) -> None:
        """Put back every attribute that was replaced; a wrapper that a stranger has wrapped since turns inert."""
        self._watching = False
        if self._hook is not None:
            self._hook.remove()
        self._hook = None
        self._patches.take_back()

    def take(self, subject: str = "") -> Observation:
        """What happened since the last take, which is then forgotten. `subject` names it."""
        with self._lock:
            if not self._notes:
                return Observation(Usage(subject, ()))
            notes, self._notes = self._notes, Journal()
            if notes.trained:
                self._trained |= {structure for ((structure, _, grad, _), _) in notes.captured if grad}
        events, captures = notes.events()
        broken, gone = notes.captures.broken(), dict(notes.captures.gone())
        unkept = {key: NotChecked(name, "its calls raised", FITTING) for key, name in broken.items()}
        unkept |= {key: NotChecked(name, GONE) for key, name in gone.items()} | notes.unkept
        for model_key in (*broken, *gone):
            self.capture_again(model_key)
        optimizers = {key: it for key, held in notes.optimizers.items() if (it := held.get()) is not None}
        return Observation(Usage(subject, events), captures, optimizers, tuple(notes.skipped), notes.structures, unkept)

    def capture_again(self, structure: str) -> None:
        """Capture the next calls of a structure, as none was that can be looked at."""
        self._known = {each for each in self._known if each[0] != structure}

    def is_test_file(self, path: str) -> bool:
        """Whether a file holds tests or what only tests use."""
        return self._sites.is_test_file(path)

    def _safely(self, note: Callable[..., Any], *, alone: bool = True) -> Callable[..., Any]:
        """A note that is taken only while watching, and whose failure the program never sees.

        Notes are taken one at a time, but for those that are not to be taken `alone`.
        """

        def noted(*arguments: Any) -> Any:
            __tracebackhide__ = True
            if self._watching:
                try:
                    with self._lock if alone else nullcontext():
                        return note(*arguments)
                except Exception as error:
                    reason = f"watching failed: {format_error(error)}"
                    self._notes.skipped[NotChecked(type(arguments[0]).__name__, reason)] = None
            return None

        return noted

    def _subject(self, module: nn.Module) -> _Subject:
        subject: _Subject | None = self._subjects.get(module)
        if subject is None:
            learned = models.has_learned_layers(module)
            watched = not models.is_lone_layer(module) and (learned or bool(models.modes(module)[1]))
            subject = _Subject(f"model#{next(self._numbers)}", models.name_of(module), watched, learned)
            self._subjects[module] = subject
        return subject

    def _on_call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType
    ) -> Follow | None:
        if (loss := loss_of(module)) and (args or "input" in kwargs):
            scored: ResultTracker | None = self._results.get(args[0] if args else kwargs["input"])
            if scored is not None:
                scored.scored_by[loss] = None
        frame = self._sites.caller(frame)
        site = self._sites.of(frame) or self._callers.site_elsewhere(module, frame)
        if site is None:
            return None
        subject = self._subject(module)
        if not subject.watched or torch._C._get_tracing_state() is not None:
            return None
        notes, grad = self._notes, torch.is_grad_enabled()
        again = (subject.key, site, grad, subject.flags(module), BLOCKS.get())
        known = notes.met.get(again)
        if known is None and is_being_built(module, frame):
            return None
        if known is None or known.settings != notes.changes or known.steps != notes.steps:
            known = self._meet(again, module, subject, args, kwargs, frame)
        else:
            if notes.captures.raised(known.event.capture):
                self._keep(module, subject, args, kwargs, site, known.event.capture)
            if grad:
                notes.log.add(known.event)
        known.fate.came(notes.steps, args, kwargs)
        begun = notes.captures.begun()
        if begun is None and (known.fate.propagated or not grad):
            return None

        def follow(result: Any) -> None:
            if begun is not None:
                notes.captures.returned(begun)
            if grad:
                known.fate.follow(result)
                if type(result) is torch.Tensor and not torch._C._len_torch_dispatch_stack():
                    self._results[result] = known.fate

        safely: Follow = self._safely(follow)
        return safely

    def _meet(
        self,
        again: Again,
        module: nn.Module,
        subject: _Subject,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> CallRecord:
        """Write a call down that is new, or that the program has changed modes or trained before."""
        notes, (_, site, grad, _, intended) = self._notes, again
        known = notes.met.get(again)
        if known is None:
            training, kinds = models.modes(module)
            model = Model(subject.key, subject.name, kinds, subject.learned)
            notes.called[subject.key] = weakref.ref(module)
            asked = training and not site.test_code and not site.discarded
            handed = self._callers.at(site)
            callers = handed.callers if handed is not None else self._sites.callers(frame, site) if asked else ()
            asleep = tuple(self._asleep(module)) if grad else ()
            parts = self._frozen.parts_of(module) if grad else {True: (), False: ()}
            suspect = bool(asleep or parts[True]) or (asked and not grad)
            made = Called(
                site.place,
                site.function,
                intended=intended,
                model=model,
                training=training,
                grad=grad,
                result="discarded" if site.discarded else "used",
                test_code=site.test_code,
                under_test=suspect and self._sites.is_tested(module, frame, site),
                capture=self._capture(module, subject, args, kwargs, training, site, suspect),
                callers=callers if asked else (),
                loaded_in_eval=asleep,
                pinned=parts[False],
                unpinned=parts[True],
                structure=subject.model_key,
            )
            event = cast(Called, notes.log.once(made, lambda: made))
            around = handed.around if handed is not None else stack(frame) if grad else ()
            fate = ResultTracker(site, around, notes.parts.reached)
            known = notes.met[again] = CallRecord(event, notes.fates.setdefault(event, fate), 0, 0)
        known.steps, known.settings = notes.steps, notes.changes
        if known.event.training and not grad:
            self._note_related_setting(module, known.event.model)
        notes.log.add(known.event)
        return known

    def _asleep(self, module: nn.Module) -> Iterator[Model]:
        """What a module consists of, or what it is, that still is in the eval mode that it was loaded in."""
        for each in self._loaded.within(module):
            subject, (training, kinds) = self._subject(each), models.modes(each)
            if kinds and not training and subject.learned:
                self._notes.asleep[subject.key] = weakref.ref(each)
                yield Model(subject.key, subject.name, kinds)

    def _capture(
        self,
        module: nn.Module,
        subject: _Subject,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        training: bool,
        site: CallSite,
        suspect: bool,
    ) -> int | None:
        """The index of the capture that stands for this call, of its own where it is suspect; None if there is none."""
        if not subject.learned:
            return None
        notes, grad = self._notes, torch.is_grad_enabled()
        subject.model_key = subject.model_key or models.fingerprint(module)
        notes.note_structure(subject.model_key, BLOCKS.get())
        state = (subject.model_key, training, grad, form_of(module, args, kwargs))
        # A call that is trained through says more than the same call in a smoke test, so it is captured once as well.
        known = state in self._known and (not grad or subject.model_key in self._trained)
        which = (state, site.place if suspect else None)
        index = notes.captured.get(which)
        if which not in notes.captured or notes.captures.raised(index):
            notes.captured[which] = None
            if suspect or not known or index is not None:
                notes.captured[which] = self._keep(module, subject, args, kwargs, site, index)
                if notes.captured[which] is not None:
                    self._known.add(state)
        return notes.captured[which]

    def _keep(
        self,
        module: nn.Module,
        subject: _Subject,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        site: CallSite,
        index: int | None,
    ) -> int | None:
        """Capture a call, in the place of one that raised where an index is given; None where it cannot be."""
        whole = self._callers.at(site) is None and not is_part(module, sys._getframe(), site)
        try:
            return self._notes.captures.add(module, args, kwargs, subject.model_key, whole, index)
        except CannotCopy as error:
            missed = NotChecked(subject.name, f"its inputs were not kept: {error}")
            self._notes.unkept[subject.model_key] = missed
            return None

    def _note_related_setting(self, module: nn.Module, model: Model) -> None:
        """Write down for this model the mode last asked for of a part of it, or of something that contains it."""
        own = {id(each) for each in models.parts(module)}
        for setting in reversed(self._notes.settings.values()):
            target = setting.module()
            if target is module:
                return
            if target is not None and (id(target) in own or any(each is module for each in models.parts(target))):
                if setting.training:
                    self._notes.log.add(self._mode_set(model, setting))
                return

    def _mode_set(self, model: Model, setting: ModeChange) -> Event:
        """That the mode of a model is asked for."""
        site, training, intended = setting.site, setting.training, setting.intended

        def make() -> Event:
            return ModeSet(site.place, site.function, intended=intended, model=model, training=training)

        return self._notes.log.once((model, site, training, intended), make)

    def _on_mode(self, module: nn.Module, training: bool, frame: FrameType) -> None:
        site = self._sites.of(asking(frame, module))
        if site is None:
            return
        notes = self._notes
        self._frozen.note(module, training, site.function)
        for each in self._loaded.note(module, training, site.function):
            notes.asleep.pop(self._subject(each).key, None)
        if site.code.co_name == "__init__":
            return
        subject = self._subject(module)
        model = Model(subject.key, subject.name, (), subject.learned)
        setting = ModeChange(weakref.ref(module), training, site, BLOCKS.get())
        notes.note_mode(model, setting)
        notes.log.add(self._mode_set(model, setting))

    def _on_backward(self, frame: FrameType) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._notes.train()
            self._notes.log.add(self._notes.log.once(site, lambda: Backward(site.place, site.function)))
            self._notes.note_parts(site, self._notes.parts.propagated(site, frame))

    def _on_build(self, optimizer: torch.optim.Optimizer, frame: FrameType | None) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._built[optimizer] = site.place, BLOCKS.get()

    def _on_step(self, optimizer: torch.optim.Optimizer) -> None:
        frame = sys._getframe(1)
        site = self._sites.of(frame)
        if site is None:
            return
        notes = self._notes
        notes.train()
        notes.note_parts(site, notes.parts.stepped(frame))
        key = key_of(optimizer)
        place, around = self._built.get(optimizer, (site.place, ()))
        intended = (*around, *(each for each in BLOCKS.get() if each not in around))
        event = notes.stepped.get((key, site, intended))
        if event is None:
            live = {name: module for name, each in notes.called.items() if (module := each()) is not None}
            owners = {name: None for name, module in live.items() if holds(optimizer, module)}
            asleep = {name: module for name, each in notes.asleep.items() if (module := each()) is not None}
            owners |= {name: None for name, module in asleep.items() if trains_whole(optimizer, module)}
            described_one = described(optimizer, live.values())
            made = Stepped(place, site.function, intended=intended, optimizer=described_one, models=tuple(owners))
            event = notes.stepped[key, site, intended] = notes.log.once(made, lambda: made)
            notes.optimizers[key] = RevivableRef(optimizer)
        notes.log.add(event)
