"""Which modules of a model a trace has seen, and which it could not look into."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import nn

from regcheck.core.coverage import Coverage
from regcheck.core.finding import NotChecked
from regcheck.core.graph import Kind
from regcheck.core.vocabulary import DROPPING, KINDS, LAYERS

from .ladder import Traced
from .running import layer_of

_PASSIVE = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict, nn.Identity)
"""Modules that do nothing where they are not called."""


def coverage_of(model: nn.Module, traced: Traced) -> Coverage:
    """What the trace has seen of `model`, which is as it was before it.

    A module is traced if its forward ran, if its own parameters or buffers were read (as by
    `F.linear(x, self.proj.weight)`), or if it only holds modules that are.
    """
    modules = dict(model.named_modules())
    ran = {mode.value: paths & modules.keys() for mode, paths in traced.ran.items()}
    everywhere = frozenset[str]().union(*ran.values())
    sealed = _opaque_paths(traced)
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


def unfollowed(model: nn.Module, traced: Traced) -> Iterator[NotChecked]:
    """An entry for each opaque module with dropouts or draws that no call was seen of: they have not been judged."""
    modules = dict(model.named_modules())
    said = {each.subject for each in traced.not_checked}
    what = "pass inputs: audit(model, x)" if traced.inputs is None else "audit it before it is scripted or traced"
    ran = frozenset[str]().union(*traced.ran.values()) & modules.keys() if traced.inputs is not None else ()
    seen = {id(modules[path]) for path in ran if not isinstance(modules[path], torch.jit.ScriptModule)}
    for path in sorted(_opaque_paths(traced) & modules.keys()):
        subject = f"{traced.graph.subject}.{path}".rstrip(".")
        draws = dict(_draws_in(modules[path], seen))
        if draws and subject not in said:
            yield NotChecked(subject, f"cannot be looked into, and holds {', '.join(sorted(draws.values()))}", what)


def _opaque_paths(traced: Traced) -> set[str]:
    return {op.module for flow in (traced.graph.train, traced.graph.eval) for op in flow if op.kind is Kind.OPAQUE}


def _read_directly(model: nn.Module, traced: Traced) -> set[str]:
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

    Layers whose calls were seen are left out: opaque code around them hides nothing of them.
    """
    if isinstance(module, torch.jit.ScriptModule):
        for function in re.findall(r"aten::(\w+)", str(module.inlined_graph)):
            if KINDS.get(function) is Kind.RANDOM or function in DROPPING:
                yield function, f"torch.{function}"
    for each in (each for each in module.modules() if id(each) not in seen):
        layer = getattr(each, "original_name", "") or layer_of(each)
        function = LAYERS.get(layer, "")
        rate = getattr(each, "p", getattr(each, "dropout", None))
        if (function in DROPPING or KINDS.get(function) is Kind.RANDOM) and rate != 0:
            yield function, f"nn.{layer}"
