"""Record what a program does with its models: `with EventRecorder() as recorder: …; observation = recorder.drain()`."""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import field, replace
from types import FrameType
from typing import Any, cast

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils.weak import WeakIdKeyDictionary

from regcheck.core.errors import format_error
from regcheck.core.finding import NotChecked
from regcheck.core.suppressions import BLOCKS, CodeSuppression
from regcheck.core.usage import Backward, Called, Event, Model, ModeSet, Stepped, Usage, WeightsTrained
from regcheck.keras_api.layer_tree import is_layer, is_symbolic
from regcheck.lazy_dataclass import dataclass
from regcheck.runtime import models
from regcheck.runtime.call_sites import (
    CallSite,
    Sites,
    is_being_built,
    is_called_by_owner,
    is_in_validation_loop,
    mode_request_frame,
    stack,
)
from regcheck.runtime.calls import (
    Following,
    Patches,
    Profiler,
    wrap_backward,
    wrap_call,
    wrap_load_state_dict,
    wrap_train,
)
from regcheck.runtime.captures import CallState, CannotCopy, Capture, call_form
from regcheck.runtime.eval_pinned import EvalPinnedParts
from regcheck.runtime.exporters import Export, watch_exports
from regcheck.runtime.journal import CallKey, CallRecord, Journal, ModeChange
from regcheck.runtime.loads import LoadedInEval
from regcheck.runtime.loss_terms import constants_in
from regcheck.runtime.mode_phases import ModePhases
from regcheck.runtime.optimizers import (
    decayed_groups,
    holds,
    key_of,
    optimizer_info,
    report_construction,
    trains_whole,
    wrap_apply,
)
from regcheck.runtime.result_tracking import ResultTracker
from regcheck.runtime.result_use import loss_of, passes_mode
from regcheck.runtime.thread_targets import Submissions
from regcheck.runtime.trained_parameters import TrainedParameters, has_frozen_norm
from regcheck.runtime.weak_state import RevivableRef
from regcheck.runtime.weight_ranges import Names, WeightRanges
from regcheck.torch_api.layers import BATCH_NORM
from regcheck.torch_api.losses import EMBEDDING_LOSSES
from regcheck.torch_api.mode_arguments import contradictions

__all__ = ["Capture", "EventRecorder", "Observation"]

RUN_ON_VALID_INPUTS = "run it on inputs that it accepts"
VANISHED = "it was gone when it could be checked: it has a finalizer, or captures take too much memory already"


@dataclass(frozen=True)
class Observation:
    """The recorded events of a program since the last drain.

    It keeps live objects: release it after checking.

    Attributes:
        captures: indexed by `Called.capture`.
        optimizers: the live optimizers by `OptimizerInfo.key`.
        skipped: failures of the recorder itself.
        structures: the structure keys of all called models, captured or not, each with the suppressions of the blocks
            around all of its calls.
        uncaptured: the structure keys of models of which a call could not be captured, or raised, with the report's
            entry; a call that raised is no event.
    """

    usage: Usage
    captures: tuple[Capture, ...] = ()
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    skipped: tuple[NotChecked, ...] = ()
    structures: Mapping[str, tuple[CodeSuppression, ...]] = field(default_factory=dict)
    uncaptured: Mapping[str, NotChecked] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _ModuleInfo:
    """Facts about one live module; `dependents` are the layers whose result depends on their mode."""

    key: str
    name: str
    is_model: bool
    learned: bool
    model_key: str = ""
    calls: int = 0
    dependents: tuple[weakref.ref[nn.Module], ...] = ()

    def flags(self, module: nn.Module) -> bytes:
        """The mode of each dependent layer; the layers are searched again after 1, 2, 4, 8, … calls."""
        self.calls += 1
        if self.calls & (self.calls - 1) == 0:
            self.dependents = tuple(map(weakref.ref, models.mode_dependent(module)))
        live = [reference() for reference in self.dependents]
        return bytes(each is not None and models.is_training(each) for each in live)

    def structure(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """The key of the structure that a call runs; empty for a module without learned layers.

        A call whose arguments hold another mode than the module is in runs a structure of its own.
        """
        if not self.learned:
            return ""
        self.model_key = self.model_key or models.fingerprint(module)
        if is_layer(module):
            return self.model_key
        return " ".join((self.model_key, *contradictions(module.forward, args, kwargs, module.training)))


class EventRecorder:
    """Records what a program does with its models and optimizers, and changes nothing that the program sees.

    Args:
        root: the folder of the program's own files (default: the working directory).
        test_files: paths of test files beside those with the name or the folder of one; the collection may grow while
            recording.
        profile: returns a profiler for the next call of a model, or None.
    """

    def __init__(
        self,
        root: str | None = None,
        test_files: Collection[str] = (),
        profile: Callable[[nn.Module], Profiler | None] = lambda module: None,
    ) -> None:
        self._profile = profile
        self._sites = Sites(os.getcwd() if root is None else root, test_files)
        self._infos: Any = WeakIdKeyDictionary()
        self._results: Any = WeakIdKeyDictionary()
        """The trackers of results, and of the items of results, and whether it is the whole result."""
        self._build_sites: Any = WeakIdKeyDictionary()
        self._loaded, self._eval_pinned = LoadedInEval(), EvalPinnedParts()
        self._phases = ModePhases()
        self._trained = TrainedParameters()
        self._weight_ranges = WeightRanges()
        self._numbers = itertools.count(1)
        self._captured_states: set[CallState] = set()
        self._trained_structures: set[str] = set()
        self._patches = Patches()
        self._submissions = Submissions(self._sites)
        self._step_hooks: list[Any] = []
        self._lock = threading.RLock()
        self._journal = Journal()
        self._is_recording = self._sees_keras_steps = False

    def __enter__(self) -> EventRecorder:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start recording; without effect while recording."""
        if self._is_recording:
            return
        call = functools.partial(wrap_call, thread=self._submissions.thread)
        self._patches.put(nn.Module, "__call__", call, self._guarded(self._on_call))
        # A forked process must be able to start threads even if another thread held the lock at the fork.
        self._submissions.put(self._patches, functools.partial(self._guarded, alone=False))
        watch_exports(self._patches, self._guarded(self._on_export))
        self._patches.put(nn.Module, "train", wrap_train, self._guarded(self._on_mode))
        self._patches.put(nn.Module, "load_state_dict", wrap_load_state_dict, self._guarded(self._on_load))
        for name in ("backward", "grad"):
            self._patches.put(torch.autograd, name, wrap_backward, self._guarded(self._on_backward))
        self._patches.put(torch.optim.Optimizer, "__init__", report_construction, self._guarded(self._on_build))
        note_begin, note_step = self._guarded(self._on_step_begin), self._guarded(self._on_step)

        def begin(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            note_begin(optimizer)

        def stepped(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            note_step(optimizer)

        self._step_hooks = [register_optimizer_step_pre_hook(begin), register_optimizer_step_post_hook(stepped)]
        self._is_recording = True

    def stop(self) -> None:
        """Restore every replaced attribute; a wrapper that other code has wrapped since reports nothing more."""
        self._is_recording = self._sees_keras_steps = False
        for hook in self._step_hooks:
            hook.remove()
        self._step_hooks.clear()
        self._patches.restore()

    def drain(self, subject: str = "") -> Observation:
        """The events since the last drain, under the name `subject`; the recorder forgets them."""
        with self._lock:
            if not self._journal:
                return Observation(Usage(subject, ()))
            journal, self._journal = self._journal, Journal()
            self._phases.clear()
            if journal.trained:
                self._trained_structures |= {
                    structure for ((structure, _, grad, _), _, _) in journal.capture_index if grad
                }
        events, captures = journal.events()
        events = tuple(self._with_frozen_norms(each, captures) for each in events)
        events += tuple(WeightsTrained(weights=each) for each in self._weight_ranges.drain())
        raised, vanished = journal.captures.raised_structures(), dict(journal.captures.vanished())
        uncaptured = {key: NotChecked(name, "its calls raised", RUN_ON_VALID_INPUTS) for key, name in raised.items()}
        uncaptured |= {key: NotChecked(name, VANISHED) for key, name in vanished.items()} | journal.uncaptured
        for model_key in (*raised, *vanished):
            self.capture_again(model_key)
        optimizers = {key: live for key, each in journal.optimizers.items() if (live := each.get()) is not None}
        return Observation(
            Usage(subject, events), captures, optimizers, tuple(journal.skipped), journal.structures, uncaptured
        )

    def _with_frozen_norms(self, event: Event, captures: Sequence[Capture]) -> Event:
        """A call of a training step, with the norms that it moved although their part of the model is never trained."""
        if not isinstance(event, Called) or event.capture is None:
            return event
        if not (event.backpropagated or event.feeds_training):
            return event
        capture = captures[event.capture]
        if capture.before is None or event.test_code:
            return event
        of_model = event.feeds_training and self._trained.norms_of_frozen_model(capture.model, capture.before)
        frozen = of_model or self._trained.frozen_norms(capture.model, capture.before)
        on_purpose = self._eval_pinned.is_in_train_mode_on_purpose
        unintended = tuple(path for path in frozen if not on_purpose(capture.model.get_submodule(path)))
        return replace(event, frozen_norms=unintended)

    def capture_again(self, structure: str) -> None:
        """Capture the next calls of a structure, because its captures so far cannot be checked."""
        self._captured_states = {each for each in self._captured_states if each[0] != structure}

    def is_test_file(self, path: str) -> bool:
        """Whether a file contains tests or their fixtures."""
        return self._sites.is_test_file(path)

    def _guarded(self, note: Callable[..., Any], *, alone: bool = True) -> Callable[..., Any]:
        """A callback that runs only while recording, and whose failure the program never sees.

        Callbacks run one at a time, except those that are not `alone`.
        """

        def guarded_note(*arguments: Any) -> Any:
            __tracebackhide__ = True
            if self._is_recording:
                try:
                    with self._lock if alone else nullcontext():
                        return note(*arguments)
                except Exception as error:
                    reason = f"recording failed: {format_error(error)}"
                    self._journal.skipped[NotChecked(type(arguments[0]).__name__, reason)] = None
            return None

        return guarded_note

    def _info_of(self, module: nn.Module) -> _ModuleInfo:
        info: _ModuleInfo | None = self._infos.get(module)
        if info is None:
            learned = models.has_learned_layers(module)
            is_model = not models.is_lone_layer(module) and (learned or bool(models.modes(module)[1]))
            info = _ModuleInfo(f"model#{next(self._numbers)}", models.name_of(module), is_model, learned)
            self._infos[module] = info
        return info

    def _on_call(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType
    ) -> Following | None:
        if (loss := loss_of(module)) and (args or "input" in kwargs):
            scored, is_whole = self._results.get(args[0] if args else kwargs["input"], (None, False))
            if scored is not None and (is_whole or loss in EMBEDDING_LOSSES):
                scored.scored_by[loss] = None
        frame = self._sites.caller(frame)
        site = self._sites.of(frame) or self._submissions.site_elsewhere(module, frame)
        if site is None:
            return None
        info = self._info_of(module)
        if not info.is_model or torch._C._get_tracing_state() is not None:
            return None
        sources: list[ResultTracker] = []
        for each in (*args, *kwargs.values()) if info.learned else ():
            source, _ = self._results.get(each, (None, False)) if type(each) is torch.Tensor else (None, False)
            if source is not None:
                source.feeds_models = True
                sources.append(source)
        if is_layer(module):
            if is_symbolic(args, kwargs):
                return None
            self._watch_keras_steps()
        journal, grad = self._journal, torch.is_grad_enabled()
        call_key = (info.key, site, grad, info.flags(module), BLOCKS.get())
        record = journal.calls.get(call_key)
        if record is None and is_being_built(module, frame):
            return None
        if record is None or record.mode_changes != journal.mode_change_count or record.steps != journal.steps:
            record = self._record_call(call_key, module, info, args, kwargs, frame)
        else:
            if journal.captures.has_raised(record.event.capture):
                self._capture_inputs(
                    module, info.name, record.event.structure, args, kwargs, site, record.event.capture
                )
            if grad:
                journal.log.add(record.event)
        record.tracker.note_call(journal.steps, args, kwargs)
        for each in sources if grad else ():
            each.consumers[record.tracker] = None
        if record.tracker.compares and {BATCH_NORM}.issuperset(record.event.model.mode_dependent):
            # A network that is fitted to one image normalizes it by its own statistics.
            trained = [each.tracker for (key, _, grads, *_), each in journal.calls.items() if grads and key == info.key]
            record.tracker.repeats_input |= any(map(record.tracker.has_input_of, trained))
        has_mode = bool(record.event.model.mode_dependent)
        witness = self._phases.note_call(module, record.tracker, grad) if has_mode else None
        begun = journal.captures.pop_begun()
        moves_norms = record.tracker.compares and BATCH_NORM in record.event.model.mode_dependent
        if begun is None and witness is None and not moves_norms and (not grad or not record.tracker.follows):
            return None

        profiler: Profiler | None = None
        if begun is not None and {BATCH_NORM}.issuperset(record.event.model.mode_dependent):
            profiler = self._profile(module)

        def follow(result: Any) -> None:
            if begun is not None:
                inert = profiler.inert_coverage(result) if profiler is not None else None
                journal.captures.note_returned(begun, inert)
            if grad:
                record.tracker.follow(result, witness)
            if (grad or moves_norms) and not torch._C._len_torch_dispatch_stack():
                for each in result if type(result) is tuple else (result,):
                    if type(each) is torch.Tensor:
                        self._results[each] = record.tracker, each is result

        return Following(self._guarded(follow), profiler)

    def _on_export(self, export: Export) -> None:
        """Note an export by the program itself, as a call whose result nothing trains through."""
        site, info = self._sites.of(export.frame), self._info_of(export.model)
        if site is None or site.library is not None or not info.is_model:
            return
        if export.writes_file:
            site = replace(site, discarded=False)
        journal = self._journal
        call_key = (info.key, site, False, info.flags(export.model), BLOCKS.get())
        with torch.no_grad():
            record = self._record_call(
                call_key, export.model, info, export.args, export.kwargs, export.frame, export.exporter
            )
        record.tracker.note_call(journal.steps, export.args, export.kwargs)
        begun = journal.captures.pop_begun()
        if begun is not None:
            journal.captures.note_returned(begun)

    def _record_call(
        self,
        call_key: CallKey,
        module: nn.Module,
        info: _ModuleInfo,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
        exporter: str = "",
    ) -> CallRecord:
        """Record a call that is new, or before which the program has trained or changed modes."""
        journal, (_, site, grad, _, intended) = self._journal, call_key
        record = journal.calls.get(call_key)
        if record is None:
            training, kinds = models.modes(module)
            model = Model(info.key, info.name, kinds, info.learned)
            journal.live_models[info.key] = weakref.ref(module)
            self._phases.add_model(module)
            in_question = training and not site.test_code and not site.discarded
            submission = self._submissions.at(site)
            callers: tuple[str, ...] = ()
            if in_question:
                callers = self._sites.callers(frame, site) if submission is None else submission.callers
            loaded_in_eval = tuple(self._loaded_in_eval(module)) if grad else ()
            parts = self._eval_pinned.parts_of(module) if grad else {True: (), False: ()}
            suspect = bool(loaded_in_eval or parts[True]) or (in_question and not grad)
            # What a rule may say of this very line is measured on its own inputs, whatever ran before.
            may_train_in_eval = grad and not training and bool(kinds) and not site.test_code
            own_inputs = suspect or in_question or may_train_in_eval or (grad and has_frozen_norm(module))
            set_by = self._train_mode_set_by(module, grad) if training else None
            if (
                set_by is not None and not grad and passes_mode(set_by.site)
            ):  # the caller's mode, for no prediction alone
                set_by = None
            structure = info.structure(module, args, kwargs)
            call = Called(
                site.shown,
                site.function,
                intended=intended,
                library=site.library,
                model=model,
                training=training,
                grad=grad,
                mode_argument=("given", "missing")[kwargs.get("training") is None] if is_layer(module) else "",
                result="discarded" if site.discarded else "used",
                test_code=site.test_code,
                under_test=suspect and self._sites.is_tested(module, frame, site),
                capture=self._capture(
                    module, info.name, structure, args, kwargs, training, site, own_inputs, parts[True]
                ),
                callers=callers,
                loaded_in_eval=loaded_in_eval,
                weights_loaded=training and self._loaded.has_weights(module),
                pinned=parts[False],
                unpinned=parts[True],
                undone=self._eval_pinned.undone_in(module, parts[True]),
                train_set_at=set_by.site.place if set_by is not None and self._sites.is_own(set_by.site) else None,
                structure=structure,
                exporter=exporter,
            )
            event = cast(Called, journal.log.intern(call, lambda: call))
            around = submission.around if submission is not None else stack(frame) if grad else ()
            tracker = ResultTracker(site, around, journal.step_scopes.reached)
            tracker.compares, tracker.compares_in_a_row = in_question and not grad, in_question
            record = journal.calls[call_key] = CallRecord(event, journal.trackers.setdefault(event, tracker), 0, 0)
        self._eval_pinned.note_call(module)
        record.steps, record.mode_changes = journal.steps, journal.mode_change_count
        if record.event.training and not grad:
            self._note_related_mode_change(module, record.event.model)
        journal.log.add(record.event)
        return record

    def _loaded_in_eval(self, module: nn.Module) -> Iterator[Model]:
        """The models among a module and its parts that are still in the eval mode that a library loaded them in."""
        for each in self._loaded.parts_of(module):
            info, (training, kinds) = self._info_of(each), models.modes(each)
            if kinds and not training and info.learned:
                self._journal.loaded_in_eval[info.key] = weakref.ref(each)
                yield Model(info.key, info.name, kinds)

    def _capture(
        self,
        module: nn.Module,
        name: str,
        structure: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        training: bool,
        site: CallSite,
        own_inputs: bool,
        unpinned: tuple[str, ...],
    ) -> int | None:
        """The index of the capture for this call, or None; with `own_inputs`, a capture of a call at this line.

        A call that finds other `unpinned` parts in train mode has a capture of its own: it runs in other modes.
        """
        if not structure:
            return None
        journal, grad = self._journal, torch.is_grad_enabled()
        journal.note_structure(structure, BLOCKS.get())
        state = (structure, training, grad, call_form(module, args, kwargs))
        # A call inside training reveals more than the same call in a smoke test, so it gets one capture as well.
        is_captured = state in self._captured_states and (not grad or structure in self._trained_structures)
        key = (state, site.shown if own_inputs else None, unpinned)
        index = journal.capture_index.get(key)
        if key not in journal.capture_index or journal.captures.has_raised(index):
            journal.capture_index[key] = None
            if own_inputs or not is_captured or index is not None:
                captured = self._capture_inputs(module, name, structure, args, kwargs, site, index)
                journal.capture_index[key] = captured
                if captured is not None:
                    self._captured_states.add(state)
        return journal.capture_index[key]

    def _capture_inputs(
        self,
        module: nn.Module,
        name: str,
        structure: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        site: CallSite,
        index: int | None,
    ) -> int | None:
        """Capture a call, replacing the one at `index` that raised; None where the inputs cannot be copied."""
        whole = self._submissions.at(site) is None and not is_called_by_owner(module, sys._getframe(), site)
        try:
            return self._journal.captures.add(module, args, kwargs, structure, whole, index)
        except CannotCopy as error:
            self._journal.uncaptured[structure] = NotChecked(name, f"its inputs were not captured: {error}")
            return None

    def _note_related_mode_change(self, module: nn.Module, model: Model) -> None:
        """Record for this model the last mode change of a part of it, or of a module that contains it."""
        own = {id(each) for each in models.parts(module)}
        for change in reversed(self._journal.mode_changes.values()):
            target = change.module()
            if target is module:
                return
            if target is not None and (id(target) in own or any(each is module for each in models.parts(target))):
                if change.training:
                    self._journal.log.add(self._mode_set(model, change))
                return

    def _train_mode_set_by(self, module: nn.Module, grad: bool) -> ModeChange | None:
        """The last `train()` of a module, or of one around it, since the program trained, that a call may rest on."""
        for change in reversed(self._journal.mode_changes.values()):
            target = change.module()
            holds = change.training and not (grad and change.restored)
            if holds and target is not None and any(each is module for each in models.parts(target)):
                return change
        return None

    def _mode_set(self, model: Model, change: ModeChange) -> Event:
        """The event of a mode change of a model."""
        site, training, intended = change.site, change.training, change.intended

        def make() -> Event:
            return ModeSet(
                site.shown, site.function, intended=intended, library=site.library, model=model, training=training
            )

        return self._journal.log.intern((model, site, training, intended), make)

    def _on_mode(self, module: nn.Module, training: bool, frame: FrameType) -> None:
        request = mode_request_frame(frame, module)
        site = self._sites.of(request)
        if site is None or site.recalibrates:
            return
        journal = self._journal
        self._eval_pinned.note(module, training, site, self._loaded.has_weights(module))
        for each in self._loaded.note(module, training, site.function):
            journal.loaded_in_eval.pop(self._info_of(each).key, None)
        if site.code.co_name == "__init__":
            return
        by_value = request is not None and request.f_code is site.code and passes_mode(site)
        self._phases.note_mode(module, training, site.place, by_test=site.test_code, by_value=by_value)
        info = self._info_of(module)
        model = Model(info.key, info.name, (), info.learned)
        restored = training and not torch.is_grad_enabled() and is_in_validation_loop(frame)
        change = ModeChange(weakref.ref(module), training, site, BLOCKS.get(), restored)
        journal.note_mode_change(model, change)
        journal.log.add(self._mode_set(model, change))

    def _on_load(self, module: nn.Module, frame: FrameType) -> None:
        site = self._sites.of(frame)
        if site is not None and not site.test_code and site.code.co_name != "__init__":
            self._loaded.note_weights(module)

    def _on_backward(self, frame: FrameType, losses: Any) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._journal.note_training_step()
            self._phases.note_training_step()
            log, constants = self._journal.log, constants_in(losses)
            intended = BLOCKS.get() if constants else ()
            log.add(
                log.intern(
                    (site, constants, intended),
                    lambda: Backward(site.place, site.function, intended=intended, constants=constants),
                )
            )
            self._journal.note_step_scopes(site, self._journal.step_scopes.on_backward(site, frame))

    def _watch_keras_steps(self) -> None:
        """Report the steps of Keras' optimizers, from the first call of a model on: the program imports Keras late."""
        if not self._sees_keras_steps:
            self._sees_keras_steps = True
            optimizer = sys.modules["keras.src.optimizers.base_optimizer"].BaseOptimizer
            self._patches.put(optimizer, "apply", wrap_apply, self._guarded(self._on_step))

    def _on_build(self, optimizer: torch.optim.Optimizer, frame: FrameType | None) -> None:
        site = self._sites.of(frame)
        if site is not None:
            self._build_sites[optimizer] = site, BLOCKS.get()

    def _on_step_begin(self, optimizer: torch.optim.Optimizer) -> None:
        self._weight_ranges.note_step(optimizer, self._names_of_parameters)

    def _names_of_parameters(self) -> Names:
        """The names of the parameters in the models that the program called, by their ids."""
        names: dict[int, tuple[str, ...]] = {}
        for reference in self._journal.live_models.values():
            if (module := reference()) is not None:
                for name, each in module.named_parameters():
                    names[id(each)] = (*names.get(id(each), ()), name)
        return names

    def _on_step(self, optimizer: Any) -> None:
        frame = sys._getframe(1)
        site = self._sites.of(frame)
        if site is None:
            return
        journal = self._journal
        journal.note_training_step()
        self._phases.note_training_step()
        self._trained.note_step(optimizer)
        journal.note_step_scopes(site, journal.step_scopes.on_step(frame))
        key = key_of(optimizer)
        built, around = self._build_sites.get(optimizer, (site, ()))
        intended = (*around, *(each for each in BLOCKS.get() if each not in around))
        decayed = decayed_groups(optimizer)
        event = journal.stepped.get((key, site, intended, decayed))
        if event is None:
            live = {name: module for name, each in journal.live_models.items() if (module := each()) is not None}
            owners = {name: None for name, module in live.items() if holds(optimizer, module)}
            loaded_in_eval = {
                name: module for name, each in journal.loaded_in_eval.items() if (module := each()) is not None
            }
            owners |= {name: None for name, module in loaded_in_eval.items() if trains_whole(optimizer, module)}
            info = optimizer_info(optimizer, live.values())
            step = Stepped(
                built.shown,
                site.function,
                intended=intended,
                library=built.library,
                optimizer=info,
                models=tuple(owners),
            )
            event = journal.stepped[key, site, intended, decayed] = journal.log.intern(step, lambda: step)
            if isinstance(optimizer, torch.optim.Optimizer):
                journal.optimizers[key] = RevivableRef(optimizer)
        journal.log.add(event)
