"""The modules of a model that a trace covers, and those that it could not follow."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from types import CodeType, FunctionType

import torch
from torch import nn

from regcheck.core.coverage import MOST_NAMES, Coverage
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Kind
from regcheck.files.place import Place
from regcheck.keras_api.layer_tree import named_parts
from regcheck.torch_api.functions import DROPPING, KINDS, call_text
from regcheck.torch_api.layers import layer_named

from .running import layer_of
from .script_interpreter import is_interpretable
from .strategies import TraceResult

_PASSIVE = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity)
"""Modules without effect unless they are called."""


def coverage_of(model: nn.Module, traced: TraceResult) -> Coverage:
    """The coverage of `model`, in its state before the trace.

    A module is traced if its forward ran, if a call read its own parameters or buffers (as in
    `F.linear(x, self.proj.weight)`), or if it contains a traced module.
    """
    modules = dict(named_parts(model))
    ran = {mode.value: paths & modules.keys() for mode, paths in traced.ran.items()}
    everywhere = frozenset[str]().union(*ran.values())
    scripts = {path for path in everywhere if _is_opaque(path, modules)}
    sealed = _opaque_paths(traced) | scripts
    seen = everywhere | _read_directly(model, traced)
    seen |= {above for path in seen for above in _above(path)}
    opaque = sealed & modules.keys() | {path for path in modules.keys() - seen if sealed.intersection(_above(path))}
    rest = [path for path in modules if path not in seen and path not in opaque]
    silent = {path for path in modules if path not in everywhere and isinstance(modules[path], _PASSIVE)}
    never = tuple(path for path in rest if path not in silent)
    opaque -= silent - sealed
    counted = len(modules.keys() - (silent - sealed))
    train, evaluation = ran.get("train", frozenset()), ran.get("eval", frozenset())
    both = len(ran) == 2
    return Coverage(
        subject=traced.graph.subject,
        how="symbolic" if traced.inputs is None else "assumed" if traced.graph.assumed else "recorded",
        inputs=traced.inputs.origin if traced.inputs is not None else "",
        modes=tuple(ran),
        modules=counted,
        traced=counted - len(opaque) - len(never),
        opaque=tuple(path for path in modules if path in opaque),
        never_called=never,
        train_only=tuple(path for path in modules if both and path in train - evaluation),
        eval_only=tuple(path for path in modules if both and path in evaluation - train),
    )


def coverage_of_calls(model: nn.Module, subject: str, called: Collection[str]) -> Coverage | None:
    """The coverage of calls of the modules at these paths, the same in both modes; None where it is not complete."""
    modules = dict(named_parts(model))
    seen = {*called, *(above for path in called for above in _above(path))}
    silent = {path for path in modules.keys() - called if isinstance(modules[path], _PASSIVE)}
    if modules.keys() - seen - silent:
        return None
    counted = len(modules.keys() - silent)
    return Coverage(subject, "recorded", "captured", ("train", "eval"), modules=counted, traced=counted)


def untraced(model: nn.Module, subject: str) -> Coverage:
    """The coverage of a model that no strategy could trace."""
    return Coverage(subject, "none", modules=sum(not isinstance(each, _PASSIVE) for each in model.modules()))


def unfollowed(
    model: nn.Module, traced: TraceResult, seen: Coverage, apart: Collection[int] = ()
) -> Iterator[NotChecked]:
    """Entries for opaque and uncalled modules that may drop or draw, and for a model without any traced module.

    Args:
        model: the model in its state before the trace.
        traced: the trace.
        seen: the coverage of the trace.
        apart: the ids of modules that are checked on their own.
    """
    modules = dict(named_parts(model))
    reported = {each.subject for each in traced.not_checked}
    what = "pass inputs: audit(model, x)" if traced.inputs is None else "audit it before it is scripted or traced"
    covered = _recorded_layers(modules, traced)
    for path in sorted(_opaque_paths(traced) & modules.keys()):
        subject = f"{traced.graph.subject}.{path}".rstrip(".")
        draws = dict(_draws_in(modules[path], covered))
        if draws and subject not in reported:
            reported.add(subject)
            yield NotChecked(subject, f"cannot be traced, and contains {', '.join(sorted(draws.values()))}", what)
    if seen.modules and not seen.traced and traced.graph.subject not in reported:
        yield NotChecked(traced.graph.subject, "none of its modules could be traced", what)
    yield from _never_called(modules, traced, seen, covered | {*apart})


def _is_opaque(path: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether the module at a path is a script that cannot be run op by op, neither alone nor inside of another."""
    within = [modules[each] for each in (path, *_above(path)) if each in modules]
    return isinstance(modules[path], torch.jit.ScriptModule) and not any(map(is_interpretable, reversed(within)))


def _recorded_layers(modules: Mapping[str, nn.Module], traced: TraceResult) -> set[int]:
    """The ids of the layers whose calls were recorded."""
    ran = frozenset[str]().union(*traced.ran.values()) & modules.keys() if traced.inputs is not None else ()
    return {id(modules[path]) for path in ran if not _is_opaque(path, modules)}


def _never_called(
    modules: Mapping[str, nn.Module], traced: TraceResult, seen: Coverage, covered: set[int]
) -> Iterator[NotChecked]:
    """One entry for uncalled modules that a rule could report; a single unused layer is none."""
    never, ops = {*seen.never_called}, [*traced.graph.train, *traced.graph.eval]
    places = {op.place for op in ops if op.place is not None}
    draws_by_path: dict[str, dict[str, None]] = {}
    for path in seen.never_called:
        module = modules[path]
        if not never.isdisjoint(_above(path)) or (layer_of(module) and not module._modules) or id(module) in covered:
            continue
        if any(_ran_here(each, places) for each in module.modules()):  # the program calls forward directly
            continue
        draws = dict.fromkeys(name for _, name in _draws_in(module, covered))
        unseen = (each for each in module.modules() if id(each) not in covered)
        draws |= dict.fromkeys(name for each in unseen for name in _functions_named_by(type(each)))
        if draws:
            draws_by_path[path] = draws
    if draws_by_path:
        paths, names = [*draws_by_path], sorted({name for draws in draws_by_path.values() for name in draws})
        more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
        reason = f"never called: {', '.join(paths[:MOST_NAMES])}{more}, with {', '.join(names)}"
        yield NotChecked(traced.graph.subject, reason, "pass inputs that reach it, or audit it on its own")


def _ran_here(module: nn.Module, places: Collection[Place]) -> bool:
    """Whether a call was recorded in the code of a module's class."""
    codes = [each.__code__ for each in _methods_of(type(module))]
    return any(
        each.path == code.co_filename and code.co_firstlineno <= each.line <= _last_line(code)
        for code in codes
        for each in places
    )


def _last_line(code: CodeType) -> int:
    return max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)


def _functions_named_by(cls: type) -> tuple[str, ...]:
    """The functions that drop or draw and that the code of a class names, except in constructors and initializers."""
    names = dict.fromkeys(
        name for each in _methods_of(cls) if not _BUILDS.match(each.__name__) for name in each.__code__.co_names
    )
    return tuple(call_text(name) for name in names if name in DROPPING or KINDS.get(name) is Kind.RANDOM)


_BUILDS = re.compile(r"__init__|_*reset|_*init")


def _methods_of(cls: type) -> Iterator[FunctionType]:
    """The functions of a class and its bases that are not torch's own."""
    for base in cls.__mro__:
        if not base.__module__.startswith(("torch.", "keras.src.")):
            bare = (inspect.unwrap(each) for each in vars(base).values() if isinstance(each, FunctionType))
            yield from (each for each in bare if isinstance(each, FunctionType))


def _opaque_paths(traced: TraceResult) -> set[str]:
    return {op.module for flow in (traced.graph.train, traced.graph.eval) for op in flow if op.kind is Kind.OPAQUE}


def _read_directly(model: nn.Module, traced: TraceResult) -> set[str]:
    """Paths of the modules whose own parameters or buffers a recorded call reads."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    flows = traced.graph.train, traced.graph.eval
    names = {op.site.function for flow in flows for op in flow if op.kind in (Kind.PARAMETER, Kind.CONSTANT)}
    read = {id(tensors[name]) for name in names & tensors.keys()}
    return {
        path
        for path, module in named_parts(model)
        if any(id(each) in read for each in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    }


def _above(path: str) -> Iterator[str]:
    """The paths of the modules that contain the one at `path`: `a.b`, `a` and the root for `a.b.c`."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _draws_in(module: nn.Module, seen: set[int]) -> Iterator[tuple[str, str]]:
    """The functions in a module that drop or draw, each with its name in messages.

    For scripted code, whose calls are not recorded, these include functions that use batch statistics by mode. Layers
    in `seen` are left out: opaque code around them hides nothing of them.
    """
    for script in (each for each in module.modules() if isinstance(each, torch.jit.ScriptModule)):
        graph = str(getattr(script, "inlined_graph", ""))  # a part may have none
        for function in re.findall(r"aten::(?:native_)?(\w+?)_*\b", graph):
            if KINDS.get(function) in (Kind.RANDOM, Kind.BATCH_NORM) or function in DROPPING:
                yield function, f"torch.{function}"
    for each in (each for each in module.modules() if id(each) not in seen):
        layer = getattr(each, "original_name", "") or layer_of(each)
        row = layer_named(layer)
        function, rate = row.function, getattr(each, row.rate.name, None) if row.rate is not None else None
        if (function in DROPPING or KINDS.get(function) is Kind.RANDOM) and rate != 0:
            yield function, call_text(function, layer)
