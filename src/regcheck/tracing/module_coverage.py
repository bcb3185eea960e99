"""Which modules of a model a trace has seen, and which it could not look into."""

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
from regcheck.torch_api.functions import DROPPING, KINDS, call_text
from regcheck.torch_api.layers import layer_named

from .running import layer_of
from .strategies import TraceResult

_PASSIVE = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity)
"""Modules that do nothing where they are not called."""


def coverage_of(model: nn.Module, traced: TraceResult) -> Coverage:
    """What the trace has seen of `model`, which is as it was before it.

    A module is traced if its forward ran, if its own parameters or buffers were read (as by
    `F.linear(x, self.proj.weight)`), or if it only holds modules that are.
    """
    modules = dict(model.named_modules())
    ran = {mode.value: paths & modules.keys() for mode, paths in traced.ran.items()}
    everywhere = frozenset[str]().union(*ran.values())
    scripts = {path for path in everywhere if isinstance(modules[path], torch.jit.ScriptModule)}
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


def untraced(model: nn.Module, subject: str) -> Coverage:
    """The coverage of a model that no way of tracing could follow."""
    return Coverage(subject, "none", modules=sum(not isinstance(each, _PASSIVE) for each in model.modules()))


def unfollowed(
    model: nn.Module, traced: TraceResult, seen: Coverage, apart: Collection[int] = ()
) -> Iterator[NotChecked]:
    """An entry for what of a model was not judged: opaque modules, and such as were not called, that may drop or draw.

    Where no module could be looked into, that is an entry whatever they hold.

    Args:
        model: as it was before the trace.
        traced: what the trace has seen.
        seen: the coverage of that.
        apart: the ids of modules that are judged on their own.
    """
    modules = dict(model.named_modules())
    said = {each.subject for each in traced.not_checked}
    what = "pass inputs: audit(model, x)" if traced.inputs is None else "audit it before it is scripted or traced"
    judged = _judged(modules, traced)
    for path in sorted(_opaque_paths(traced) & modules.keys()):
        subject = f"{traced.graph.subject}.{path}".rstrip(".")
        draws = dict(_draws_in(modules[path], judged))
        if draws and subject not in said:
            said.add(subject)
            yield NotChecked(subject, f"cannot be looked into, and holds {', '.join(sorted(draws.values()))}", what)
    if seen.modules and not seen.traced and traced.graph.subject not in said:
        yield NotChecked(traced.graph.subject, "none of its modules could be looked into", what)
    yield from _never_called(modules, traced, seen, judged | {*apart})


def _judged(modules: Mapping[str, nn.Module], traced: TraceResult) -> set[int]:
    """The layers whose calls were seen."""
    ran = frozenset[str]().union(*traced.ran.values()) & modules.keys() if traced.inputs is not None else ()
    return {id(modules[path]) for path in ran if not isinstance(modules[path], torch.jit.ScriptModule)}


def _never_called(
    modules: Mapping[str, nn.Module], traced: TraceResult, seen: Coverage, judged: set[int]
) -> Iterator[NotChecked]:
    """One entry for the modules that were not called and that a rule could find fault with; a lone layer has none."""
    never, ops = {*seen.never_called}, [*traced.graph.train, *traced.graph.eval]
    places = {op.place for op in ops if op.place is not None}
    held: dict[str, dict[str, None]] = {}
    for path in seen.never_called:
        module = modules[path]
        if not never.isdisjoint(_above(path)) or (layer_of(module) and not module._modules) or id(module) in judged:
            continue
        if any(_ran_here(each, places) for each in module.modules()):  # somebody calls forward itself
            continue
        draws = dict.fromkeys(name for _, name in _draws_in(module, judged))
        unseen = (each for each in module.modules() if id(each) not in judged)
        draws |= dict.fromkeys(name for each in unseen for name in _functions_named_by(type(each)))
        if draws:
            held[path] = draws
    if held:
        paths, names = [*held], sorted({name for draws in held.values() for name in draws})
        more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
        reason = f"never called: {', '.join(paths[:MOST_NAMES])}{more}, with {', '.join(names)}"
        yield NotChecked(traced.graph.subject, reason, "pass inputs that reach it, or audit it on its own")


def _ran_here(module: nn.Module, places: Collection[Place]) -> bool:
    """Whether a call was seen in the code of a module's class."""
    codes = [each.__code__ for each in _methods_of(type(module))]
    return any(
        each.path == code.co_filename and code.co_firstlineno <= each.line <= _last_line(code)
        for code in codes
        for each in places
    )


def _last_line(code: CodeType) -> int:
    return max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)


def _functions_named_by(cls: type) -> tuple[str, ...]:
    """The functions that drop or draw and that the code of a class names, but for what only builds or initializes."""
    names = dict.fromkeys(
        name for each in _methods_of(cls) if not _BUILDS.match(each.__name__) for name in each.__code__.co_names
    )
    return tuple(call_text(name) for name in names if name in DROPPING or KINDS.get(name) is Kind.RANDOM)


_BUILDS = re.compile(r"__init__|_*reset|_*init")


def _methods_of(cls: type) -> Iterator[FunctionType]:
    """The functions of a class and its bases that are not torch's own."""
    for base in cls.__mro__:
        if not base.__module__.startswith("torch."):
            bare = (inspect.unwrap(each) for each in vars(base).values() if isinstance(each, FunctionType))
            yield from (each for each in bare if isinstance(each, FunctionType))


def _opaque_paths(traced: TraceResult) -> set[str]:
    return {op.module for flow in (traced.graph.train, traced.graph.eval) for op in flow if op.kind is Kind.OPAQUE}


def _read_directly(model: nn.Module, traced: TraceResult) -> set[str]:
    """Paths of the modules whose own parameters or buffers a call has read."""
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    flows = traced.graph.train, traced.graph.eval
    names = {op.site.function for flow in flows for op in flow if op.kind in (Kind.PARAMETER, Kind.CONSTANT)}
    read = {id(held[name]) for name in names & held.keys()}
    return {
        path
        for path, module in model.named_modules()
        if any(id(each) in read for each in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
    }


def _above(path: str) -> Iterator[str]:
    """The paths of the modules that contain the one at `path`: `a.b`, `a` and the root for `a.b.c`."""
    while path:
        path = path.rpartition(".")[0]
        yield path


def _draws_in(module: nn.Module, seen: set[int]) -> Iterator[tuple[str, str]]:
    """The functions in a module that drop or draw, as far as they can be read off, each with the name to tell it by.

    Of scripted code, inside of which no call is seen, those are named too that take statistics of the batch by mode.

    Layers whose calls were seen are left out: opaque code around them hides nothing of them.
    """
    if isinstance(module, torch.jit.ScriptModule):
        graph = str(getattr(module, "inlined_graph", ""))  # a part may have none
        for function in re.findall(r"aten::(?:native_)?(\w+?)_*\b", graph):
            if KINDS.get(function) in (Kind.RANDOM, Kind.BATCH_NORM) or function in DROPPING:
                yield function, f"torch.{function}"
    for each in (each for each in module.modules() if id(each) not in seen):
        layer = getattr(each, "original_name", "") or layer_of(each)
        row = layer_named(layer)
        function, rate = row.function, getattr(each, row.rate.name, None) if row.rate is not None else None
        if (function in DROPPING or KINDS.get(function) is Kind.RANDOM) and rate != 0:
            yield function, f"nn.{layer}"
