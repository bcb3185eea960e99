"""Dropout layers that no recorded run of a model calls and no code reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType

from torch import nn

from regcheck.core.coverage import Coverage
from regcheck.core.graph import Kind, Mode, Op, Reach, Site
from regcheck.files.attribute_reads import (
    FRAMEWORK_BASES,
    AttributeReaders,
    ClassReads,
    FileReads,
    attribute_reads_of,
    calls_in,
)
from regcheck.files.dotted_name import last_name
from regcheck.files.place import Place
from regcheck.files.text import text_of
from regcheck.keras_api.layer_tree import named_parts
from regcheck.torch_api.functions import DROPPING, call_text, kind_of
from regcheck.torch_api.layers import layer_named

from .running import layer_of
from .strategies import TraceResult
from .user_line import is_user_code

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def uncalled_dropouts(
    model: nn.Module, traced: TraceResult, seen: Coverage, files_around: Callable[[Iterable[str]], Iterable[Path]]
) -> tuple[Op, ...]:
    """The dropout layers with a rate above zero that neither mode's run calls and no code reads, as ops.

    A container of nothing but dropouts is one op. All other layers with parameters of the module that registers one
    must have run, so that it is no remnant among others. A model that was not run in both modes has none.

    Args:
        model: the model in its state before the trace.
        traced: the trace.
        seen: the coverage of the trace.
        files_around: the files of the projects that some files belong to, loaded or not.
    """
    never = {*seen.never_called}
    if traced.inputs is None or len(traced.ran) != len(Mode):
        return ()
    modules = dict(named_parts(model))
    candidates: dict[str, str] = {}
    for path in never:
        if path and _rate(modules[path]):
            candidates.setdefault(_registered(path, modules), path)
    uncalled = {each: path for each, path in candidates.items() if _all_else_ran(each, modules, never)}
    if not uncalled:
        return ()
    sources = _Sources(model, files_around)
    return tuple(op for each, path in uncalled.items() if (op := sources.op_of(each, path, modules)) is not None)


def _registered(path: str, modules: Mapping[str, nn.Module]) -> str:
    """The path of the layer, or of the outermost container around it, that is an attribute of a model's own module."""
    while (above := path.rpartition(".")[0]) and type(modules[above]) in _CONTAINERS:
        path = above
    return path


def _rate(layer: nn.Module) -> float:
    """The rate of a dropout layer of torch; zero for any other module."""
    row = layer_named(layer_of(layer))
    rate = getattr(layer, row.rate.name, 0.0) if row.rate is not None else 0.0
    return float(rate) if kind_of(row.function) is Kind.DROPOUT and isinstance(rate, (int, float)) else 0.0


def _all_else_ran(path: str, modules: Mapping[str, nn.Module], never: Collection[str]) -> bool:
    owner = path.rpartition(".")[0]
    if owner in never:
        return False
    inside = (each for each in modules[path].modules() if type(each) not in (*_CONTAINERS, nn.Identity))
    if not all(kind_of(layer_named(layer_of(each)).function) is Kind.DROPOUT for each in inside):
        return False
    siblings = (f"{owner}.{name}".lstrip(".") for name, _ in modules[owner].named_children())
    return not any(any(True for _ in modules[each].parameters()) for each in siblings if each in never)


class _Sources:
    """The code that may read a layer of a model: that of the projects of its classes, and the running program."""

    def __init__(self, model: nn.Module, files_around: Callable[[Iterable[str]], Iterable[Path]]) -> None:
        classes = {base for cls in {type(each) for each in model.modules()} for base in _own_bases(cls)}
        files = {file for file in map(_file_of, classes) if file and is_user_code(file)}
        files |= {*map(str, files_around(files))}
        program = getattr(sys.modules.get("__main__"), "__file__", None)
        files |= {os.path.realpath(program)} if program and is_user_code(program) else set()
        self._reads = {file: attribute_reads_of(text_of(file)) for file in sorted(files)}
        self._readers = AttributeReaders(self._reads.values())

    def op_of(self, registered: str, path: str, modules: Mapping[str, nn.Module]) -> Op | None:
        """The layer at `path` as an op, unless some code may read it, or its class's source cannot be read.

        `registered` is the path of the attribute that holds it: its own, or that of a container around it.
        """
        owner, _, name = registered.rpartition(".")
        layer = layer_of(modules[path])
        statements = [*self._statements(type(modules[owner]))]
        calls = (
            Place(file, call.lineno, call.col_offset + 1)
            for file, each in statements
            for built in each.built.get(name, ())
            for call in ([built] if registered == path else calls_in(built))
            if last_name(call.func) == layer.rpartition(".")[2]
        )
        place = next(calls, None)
        if place is None or any(self._readers.may_read(each, name) for _, each in statements):
            return None
        function, rate = layer_named(layer).function, _rate(modules[path])
        return Op(
            id=f"uncalled {registered}",
            kind=kind_of(function),
            site=Site(registered, function, place),
            call=call_text(function, layer, rate),
            rate=rate,
            drops=DROPPING[function].drops,
            reach=Reach.REGISTERED,
        )

    def _statements(self, cls: type) -> Iterator[tuple[str, ClassReads]]:
        """The class statements of a class and of those that it derives from; none if one of them cannot be read."""
        statements = []
        for base in _own_bases(cls):
            file = _file_of(base) or ""
            reads = self._reads.get(file, FileReads())
            own = [each for each in reads.classes if each.name == base.__name__ and _is_at(base, each)]
            if not own:
                return
            statements.append((file, own[0]))
        yield from statements


def _own_bases(cls: type) -> Iterator[type]:
    """A class and those that it derives from, without the bases that frameworks offer."""
    bases = cls.__mro__
    offered = {each for base in bases if _name(base).endswith(FRAMEWORK_BASES) for each in base.__mro__}
    return (each for each in bases if each not in offered)


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _functions(cls: type) -> Iterator[FunctionType]:
    return (each for each in vars(cls).values() if isinstance(each, FunctionType))


def _file_of(cls: type) -> str | None:
    own = next(_functions(cls), None)
    return own.__code__.co_filename if own is not None else None


def _is_at(cls: type, statement: ClassReads) -> bool:
    """Whether a class statement holds the functions of a class."""
    return all(statement.line <= each.__code__.co_firstlineno <= statement.end for each in _functions(cls))
