"""Show that nothing in a call drops, draws or takes batch statistics, so that it need not be recorded on a copy.

Torch's profiler counts the operators of the program's own call, below Python and also in scripts. The call computes
what it computes without it.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import nn
from torch.autograd import profiler as program_profiler

from regcheck.core.coverage import Coverage
from regcheck.core.graph import Kind
from regcheck.files.loaded_modules import file_of
from regcheck.files.text import text_of
from regcheck.keras_api.layer_tree import is_layer, named_parts
from regcheck.torch_api.functions import CALL_ALIASES, DROPPING, KINDS, STACKED, STATISTICS
from regcheck.torch_api.reused_masks import products_in

from .accelerators import capturing
from .copies.lazy import is_lazy
from .mode_dependence import ModeReads
from .module_coverage import coverage_of_calls
from .running import layer_of
from .streams import NumberStreams, TorchStream
from .unwrap import subject_of

_AUTOGRAD: Any = torch._C._autograd
_STARTING_KINDS = (Kind.RANDOM, Kind.BATCH_NORM)
_HARMLESS: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "Dropout": ("dropout", {"p": 0}),
        "Dropout1d": ("feature_dropout", {"p": 0}),
        "Dropout2d": ("feature_dropout", {"p": 0}),
        "Dropout3d": ("feature_dropout", {"p": 0}),
        "AlphaDropout": ("alpha_dropout", {"p": 0}),
        "BatchNorm1d": ("batch_norm", {"track_running_stats": True}),
        "BatchNorm2d": ("batch_norm", {"track_running_stats": True}),
        "BatchNorm3d": ("batch_norm", {"track_running_stats": True}),
    }
)
"""Layers whose one function starts no rule under some settings, if `train()` and `eval()` reach them."""

MOST_CALLS = 64
"""The number of calls of modules after which the profiler is emptied."""

_STARTERS = ("_prepare_profiler", "_enable_profiler")
"""The functions by which a program's own profiler starts. A thread can run one profiler."""


class CallProfiler:
    """A context manager around one call of a model; see `inert_coverage`."""

    _active: ClassVar[dict[int, CallProfiler]] = {}
    """The profiler that runs in each thread."""
    _lock: ClassVar[threading.RLock] = threading.RLock()
    _starters: ClassVar[dict[str, Any]] = {}

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._reads = ModeReads(model)
        self._functions: Counter[str] | None = None
        self._calls = [id(model)]

    @classmethod
    def of(cls, model: nn.Module) -> CallProfiler | None:
        """A profiler for the next call of a model; None where the program might notice it or it could show nothing."""
        profiler = cls(model) if _can_profile() and _is_plain(model) else None
        return None if profiler is None or profiler._reads.any else profiler

    def __enter__(self) -> CallProfiler:
        self._stream, self._others = TorchStream(), NumberStreams(self._model)
        self._states = self._others.states()
        with self._lock:
            if not self._active:
                self._starters.update({name: vars(program_profiler)[name] for name in _STARTERS})
                for name, start in self._starters.items():
                    setattr(program_profiler, name, _after_own(start))
            self._active[threading.get_ident()] = self
        self._reads.__enter__()
        self._functions = Counter()
        self._begin()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop profiling; without effect where the program has started a profiler of its own."""
        with self._lock:
            if self._active.pop(threading.get_ident(), None) is not self:
                return
            if not self._active:
                for name, start in self._starters.items():
                    setattr(program_profiler, name, start)
        self._reads.__exit__()
        self._collect()

    def _begin(self) -> None:
        try:
            _AUTOGRAD._enable_profiler_legacy(_configuration())
        except RuntimeError:
            self._functions = None

    def _collect(self) -> None:
        """Stop torch's profiler, and count the functions that it saw."""
        if self._functions is not None:
            try:
                self._functions.update(starting_functions(_AUTOGRAD._disable_profiler_legacy()))
            except RuntimeError:
                self._functions = None

    def note_call(self, module: nn.Module) -> None:
        """Note that the call calls a module, and empty the profiler now and then: it takes 300 bytes an event."""
        self._calls.append(id(module))
        if len(self._calls) % MOST_CALLS == 0 and self._functions is not None:
            self._collect()
            self._begin()

    @classmethod
    def give_way(cls) -> None:
        """Stop the profiler of this thread, if there is one; it then shows nothing."""
        own = cls._active.get(threading.get_ident())
        if own is not None:
            own.__exit__()
            own._functions = None

    def inert_coverage(self, result: Any) -> Coverage | None:
        """The coverage of the call with this result, if no rule can start from anything in it, in either mode."""
        if self._functions is None or self._reads.any or not _holds_tensors_alone(result):
            return None
        if self._stream.moved() or self._others.states() != self._states:
            return None
        modules = dict(named_parts(self._model))
        paths = {id(module): path for path, module in reversed(modules.items())}
        called = Counter(paths[each] for each in self._calls if each in paths)
        harmless = Counter[str]()
        for path, count in called.items():
            harmless[_harmless_function(modules[path])] += count
        if any(harmless[function] != count for function, count in self._functions.items()):
            return None
        if _reuse_masks(_packages_of(self._model), len(sys.modules)):
            return None
        return coverage_of_calls(self._model, subject_of(self._model).name, called)


def _after_own(start: Any) -> Any:
    """A function that starts the program's own profiler after it has stopped the one here."""

    def start_programs(*args: Any, **kwargs: Any) -> Any:
        CallProfiler.give_way()
        return start(*args, **kwargs)

    return start_programs


def starting_functions(events: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The functions that rules may start from among a profiler's events, by thread; not those inside of another.

    A statistic counts where the program takes it, and not inside of another operator, such as a pooling.
    """
    for thread in events:
        if not any(map(starting_function, {each.name() for each in thread})):
            continue
        around: list[str] = []
        for each in thread:
            if each.kind() == "push":
                function = starting_function(each.name())
                within = any(map(starting_function, around))
                if function in STATISTICS:
                    within = any(name.startswith("aten::") for name in around)
                if function and not within:
                    yield function
                around.append(each.name())
            elif each.kind() == "pop" and around:
                around.pop()


@lru_cache(maxsize=4096)
def starting_function(operator: str) -> str:
    """The function that an operator runs, if it drops, draws or takes statistics; else an empty string.

    An operator of another package may do any of this. A name without a package is a label, or a function in a script,
    and what it runs has names of its own.
    """
    package, _, name = operator.rpartition("::")
    if package != "aten":
        return operator if package else ""
    name = name.partition(".")[0].strip("_")
    function = CALL_ALIASES.get(name, name)
    starts = KINDS.get(function) in _STARTING_KINDS or any(function in each for each in (DROPPING, STACKED, STATISTICS))
    return function if starts or _draws(operator.removeprefix("aten::")) else ""


def _draws(operator: str) -> bool:
    """Whether torch tags an operator as one that draws."""
    packet = getattr(torch.ops.aten, operator, None)
    tags = (getattr(packet, overload).tags for overload in packet.overloads()) if packet is not None else ()
    return any(torch.Tag.nondeterministic_seeded in each for each in tags)


@lru_cache(maxsize=1)
def _configuration() -> Any:
    """The settings of the profiler; None where this torch has none that counts operators alone."""
    try:
        kinds = torch._C._profiler
        experimental = kinds._ExperimentalConfig()
        return kinds.ProfilerConfig(kinds.ProfilerState.CPU, False, False, False, False, False, experimental)
    except (AttributeError, TypeError):
        return None


def _can_profile() -> bool:
    """Whether the next call runs plainly: not compiled, transformed, or under a mode or a profiler of the program."""
    return not (
        _configuration() is None
        or any(name not in vars(program_profiler) for name in _STARTERS)
        or _AUTOGRAD._profiler_enabled()
        or torch._C._len_torch_function_stack()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or _has_compiled()
        or capturing()
    )


def _has_compiled() -> bool:
    """Whether the program may have compiled anything, which would guard on what reads of a mode look like."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(dynamo, "cached_backends", {0: "unknown"})
    return dynamo is not None and any(each is not None for each in backends.values())  # None of what it left alone


def _is_plain(model: nn.Module) -> bool:
    """Whether a model is no wrapper, and has ordinary tensors as parameters and no part that Keras or a script runs."""
    subject = subject_of(model)
    if subject.model is not model or subject.around or subject.shown is not None or is_lazy(model):
        return False
    tensors = (*model.parameters(), *model.buffers())
    if any(type(each) not in (torch.Tensor, nn.Parameter) for each in tensors):
        return False
    return not any(is_layer(each) or isinstance(each, torch.jit.ScriptModule) for each in model.modules())


def _harmless_function(module: nn.Module) -> str:
    """The function of a layer that starts no rule; an empty string for any other module."""
    function, settings = _HARMLESS.get(layer_of(module), ("", {}))
    has_statistics = function != "batch_norm" or getattr(module, "running_mean", None) is not None
    is_harmless = has_statistics and all(getattr(module, name, None) == value for name, value in settings.items())
    return function if is_harmless else ""


def _holds_tensors_alone(result: Any, depth: int = 0) -> bool:
    """Whether a result is a tensor, or plain containers of tensors with at least one."""
    if isinstance(result, torch.Tensor):
        return True
    if depth > 4 or not isinstance(result, (tuple, list, dict)) or not result:
        return False
    values = result.values() if isinstance(result, dict) else result
    return all(_holds_tensors_alone(each, depth + 1) for each in values)


def _packages_of(model: nn.Module) -> frozenset[str]:
    """The top-level packages that the classes of a model are from, without torch."""
    names = {base.__module__ for each in model.modules() for base in type(each).__mro__}
    return frozenset(name.partition(".")[0] for name in names) - {"torch", "builtins"}


@lru_cache(maxsize=256)
def _reuse_masks(packages: frozenset[str], loaded: int) -> bool:
    """Whether a file of some packages multiplies with a mask that it draws once; `loaded` counts all loaded modules."""
    modules = [module for name, module in [*sys.modules.items()] if name.partition(".")[0] in packages]
    files = {file for file in map(file_of, modules) if file is not None and file.endswith(".py")}
    return any(map(_reuses_mask, sorted(files)))


@cache
def _reuses_mask(file: str) -> bool:
    return bool(products_in(text_of(file)))
