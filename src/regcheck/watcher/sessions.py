"""Watching a program: `with Watch() as watch: …; seen = watch.take()`."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.finding import NotChecked
from regcheck.core.graph import Place
from regcheck.core.usage import Backward, Called, Model, ModeSet, Stepped, Usage
from regcheck.watcher import models
from regcheck.watcher.calls import back_propagating, calling, setting_mode
from regcheck.watcher.captures import CannotCopy, Capture, copied
from regcheck.watcher.frames import Site, Sites
from regcheck.watcher.log import Log
from regcheck.watcher.optimizers import building, described

__all__ = ["Capture", "Seen", "Watch"]

MOST_CAPTURES = 100
"""No more calls than this are captured between two takes."""


@dataclass(frozen=True)
class Seen:
    """What a program did since the last take.

    `captures` is indexed by `Called.capture`, `optimizers` by the key of `core.usage.Optimizer`. Both keep the live
    objects, so let go of this value once it is judged.
    """

    usage: Usage
    captures: tuple[Capture, ...] = ()
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    skipped: tuple[NotChecked, ...] = ()


@dataclass(slots=True, eq=False)
class _Subject:
    """What is known of one live module."""

    key: str
    name: str
    watched: bool
    learned: bool
    model_key: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    """The last `train()` or `eval()` of one module since the last training step."""

    module: weakref.ref[nn.Module]
    training: bool
    site: Site


class _Notes:
    """What gathers between two takes."""

    def __init__(self) -> None:
        self.log = Log()
        self.captures: list[Capture] = []
        self.captured: dict[tuple[str, bool, bool, Place | None], int | None] = {}
        self.trained = False
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.skipped: dict[NotChecked, None] = {}
        self.settings: dict[str, _Setting] = {}
        self.repeated: dict[tuple[str, int, bool], Called] = {}
        self.steps: dict[tuple[int, int], Stepped] = {}


class Watch:
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
        self._numbers = itertools.count(1)
        self._known: set[object] = set()
        self._trained: set[str] = set()
        self._patches: list[tuple[Any, str, Any, Any]] = []
        self._hook: Any = None
        self._lock = threading.RLock()
        self._notes = _Notes()
        self._watching = False

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to watch; nothing happens where the watch is on already."""
        if self._watching:
            return
        self._patch(nn.Module, "__call__", calling, self._safely(self._on_call))
        self._patch(nn.Module, "train", setting_mode, self._safely(self._on_mode))
        self._patch(torch.autograd, "backward", back_propagating, self._safely(self._on_backward))
        self._patch(torch.optim.Optimizer, "__init__", building, self._safely(self._on_build))
        step = self._safely(self._on_step)
        self._hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: step(optimizer))
        self._watching = True

    def stop(self) -> None:
        """Put back every attribute that was replaced; a wrapper that others have wrapped since turns inert instead."""
        self._watching = False
        if self._hook is not None:
            self._hook.remove()
        self._hook = None
        while self._patches:
            owner, name, original, replacement = self._patches.pop()
            if vars(owner).get(name) is replacement:
                setattr(owner, name, original)

    def take(self, subject: str = "") -> Seen:
        """What happened since the last take, which is then forgotten. `subject` names it."""
        with self._lock:
            notes, self._notes = self._notes, _Notes()
            if notes.trained:
                self._trained |= {model_key for (model_key, _, grad, _) in notes.captured if grad}
        return Seen(Usage(subject, notes.log.events()), tuple(notes.captures), notes.optimizers, tuple(notes.skipped))

    def is_test_file(self, path: str) -> bool:
        """Whether a file holds tests or what only tests use."""
        return self._sites.is_test_file(path)

    def _patch(self, owner: Any, name: str, wrap: Callable[..., Any], note: Callable[..., Any]) -> None:
        original = vars(owner)[name]
        replacement = wrap(original, note)
        setattr(owner, name, replacement)
        self._patches.append((owner, name, original, replacement))

    def _safely(self, note: Callable[..., None]) -> Callable[..., None]:
        """A note that is taken only while watching, and whose failure the program never sees."""

        def noted(*arguments: Any) -> None:
            __tracebackhide__ = True
            if self._watching:
                try:
                    with self._lock:
                        note(*arguments)
                except Exception as error:
                    reason = f"watching failed: {type(error).__name__}: {error}"
                    self._notes.skipped[NotChecked(type(arguments[0]).__name__, reason)] = None

        return noted

    def _subject(self, module: nn.Module) -> _Subject:
        subject: _Subject | None = self._subjects.get(module)
        if subject is None:
            learned = models.has_learned_layers(module)
            watched = not models.is_lone_layer(module) and (learned or bool(models.modes(module)[1]))
            subject = _Subject(f"model#{next(self._numbers)}", models.name_of(module), watched, learned)
            self._subjects[module] = subject
        return subject

    def _on_call(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> None:
        subject = self._subject(module)
        if not subject.watched or torch._C._get_tracing_state() is not None:
            return
        site = self._sites.of(frame)
        if site is None:
            return
        notes, grad = self._notes, torch.is_grad_enabled()
        again = (subject.key, id(site), module.training)
        if grad and again in notes.repeated:
            notes.settings.clear()
            notes.log.add(notes.repeated[again])
            return
        training, kinds = models.modes(module)
        model = Model(subject.key, subject.name, kinds, subject.learned)
        if training and not grad:
            self._note_related_setting(module, model)
        event = Called(
            site.place,
            site.function,
            model=model,
            training=training,
            grad=grad,
            result="discarded" if site.discarded else "used",
            test_code=site.test_code,
            capture=self._capture(module, subject, args, kwargs, training, site, frame),
        )
        if grad:
            notes.settings.clear()
            notes.repeated[again] = event
        notes.log.add(event)

    def _capture(
        self,
        module: nn.Module,
        subject: _Subject,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        training: bool,
        site: Site,
        frame: FrameType,
    ) -> int | None:
        """The index of the capture that stands for this call; None where there is none."""
        if not subject.learned:
            return None
        notes, grad = self._notes, torch.is_grad_enabled()
        subject.model_key = subject.model_key or models.fingerprint(module)
        state = (subject.model_key, training, grad)
        predicts = training and not grad and not site.test_code and not site.discarded
        # A call that is trained through says more than the same call in a smoke test, so it is captured once as well.
        known = state in self._known and (not grad or subject.model_key in self._trained)
        which = (*state, site.place if predicts else None)
        if which not in notes.captured:
            notes.captured[which] = None
            if (predicts or not known) and len(notes.captures) < MOST_CAPTURES:
                self._known.add(state)
                try:
                    inputs = copied(args, kwargs)
                except CannotCopy as error:
                    notes.skipped[NotChecked(subject.name, f"its inputs were not kept: {error}")] = None
                else:
                    flags = {name: each.training for name, each in module.named_modules()}
                    whole = not _is_part(module, frame, site)
                    notes.captured[which] = len(notes.captures)
                    notes.captures.append(Capture(module, *inputs, flags, subject.model_key, whole))
        return notes.captured[which]

    def _note_related_setting(self, module: nn.Module, model: Model) -> None:
        """Write down for this model the mode last asked for of a part of it, or of something that contains it."""
        own = {id(each) for each in models.parts(module)}
        for setting in reversed(self._notes.settings.values()):
            target = setting.module()
            if target is module:
                return
            if target is not None and (id(target) in own or any(each is module for each in models.parts(target))):
                if setting.training:
                    site = setting.site
                    self._notes.log.add(ModeSet(site.place, site.function, model=model, training=True))
                return

    def _on_mode(self, module: nn.Module, training: bool, frame: FrameType) -> None:
        site = self._sites.of(frame)
        if site is None or site.code.co_name == "__init__":
            return
        subject = self._subject(module)
        notes = self._notes
        notes.settings.pop(subject.key, None)
        notes.settings[subject.key] = _Setting(weakref.ref(module), training, site)
        model = Model(subject.key, subject.name, (), subject.learned)
        notes.log.add(ModeSet(site.place, site.function, model=model, training=training))

    def _on_backward(self, frame: FrameType) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._notes.settings.clear()
            self._notes.trained = True
            self._notes.log.add(Backward(site.place, site.function))

    def _on_build(self, optimizer: torch.optim.Optimizer, frame: FrameType | None) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._built[optimizer] = site.place

    def _on_step(self, optimizer: torch.optim.Optimizer) -> None:
        site = self._sites.of(sys._getframe(1))
        if site is None:
            return
        notes = self._notes
        notes.settings.clear()
        again = (id(optimizer), id(site))
        event = notes.steps.get(again)
        if event is None:
            described_one = described(optimizer, [*self._subjects])
            place: Place = self._built.get(optimizer, site.place)
            event = notes.steps[again] = Stepped(place, site.function, optimizer=described_one)
            notes.optimizers[described_one.key] = optimizer
        notes.log.add(event)


def _is_part(module: nn.Module, frame: FrameType, site: Site) -> bool:
    """Whether the call was made by a method of a module that contains this one."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_code is not site.code:
        caller = caller.f_back
    if caller is None or caller.f_code.co_varnames[:1] != ("self",):
        return False
    owner = caller.f_locals.get("self")
    return isinstance(owner, nn.Module) and owner is not module and any(each is module for each in models.parts(owner))
