"""Dropout layers that no recorded run of a model calls and no code reads."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import FunctionType

from torch import nn

from regcheck.core.coverage import Coverage
from regcheck.core.graph import Kind, Mode, Op, Reach, Site
from regcheck.files.attribute_reads import FRAMEWORK_BASES, AttributeReaders, ClassReads, FileReads, attribute_reads_of
from regcheck.files.dotted_name import last_name
from regcheck.files.place import Place
from regcheck.files.project_folders import project_folders
from regcheck.files.text import text_of
from regcheck.keras_api.layer_tree import named_parts
from regcheck.torch_api.functions import DROPPING, call_text, kind_of
from regcheck.torch_api.layers import layer_named

from .running import layer_of
from .strategies import TraceResult
from .user_line import is_user_code

_INSTALLED = re.compile(r"[\\/](?:site|dist)-packages[\\/]")


def uncalled_dropouts(model: nn.Module, traced: TraceResult, seen: Coverage) -> tuple[Op, ...]:
    """The dropout layers with a rate above zero that neither mode's run calls and no code reads, as ops.

    All other layers with parameters of the module that registers one must have run, so that it is no remnant among
    others. A model that was not run in both modes has none.

    Args:
        model: the model in its state before the trace.
        traced: the trace.
        seen: the coverage of the trace.
    """
    never = {*seen.never_called}
    if traced.inputs is None or len(traced.ran) != len(Mode):
        return ()
    modules = dict(named_parts(model))
    candidates = [path for path in never if path and _rate(modules[path]) and _all_else_ran(path, modules, never)]
    if not candidates:
        return ()
    sources = _Sources(model)
    return tuple(op for path in candidates if (op := sources.op_of(path, modules)) is not None)


def _rate(layer: nn.Module) -> float:
    """The rate of a dropout layer of torch; zero for any other module."""
    row = layer_named(layer_of(layer))
    rate = getattr(layer, row.rate.name, 0.0) if row.rate is not None else 0.0
    return float(rate) if kind_of(row.function) is Kind.DROPOUT and isinstance(rate, (int, float)) else 0.0


def _all_else_ran(path: str, modules: Mapping[str, nn.Module], never: Collection[str]) -> bool:
    owner = path.rpartition(".")[0]
    if owner in never:
        return False
    siblings = (f"{owner}.{name}".lstrip(".") for name, _ in modules[owner].named_children())
    return not any(any(True for _ in modules[each].parameters()) for each in siblings if each in never)


class _Sources:
    """The code that may read a layer of a model: that of its classes, and of the project's loaded modules."""

    def __init__(self, model: nn.Module) -> None:
        classes = {base for cls in {type(each) for each in model.modules()} for base in _own_bases(cls)}
        files = {file for file in map(_file_of, classes) if file and is_user_code(file)}
        files |= {*_loaded({each.__module__.partition(".")[0] for each in classes} - {"torch"}, files)}
        self._reads = {file: attribute_reads_of(text_of(file)) for file in sorted(files)}
        self._readers = AttributeReaders(self._reads.values())

    def op_of(self, path: str, modules: Mapping[str, nn.Module]) -> Op | None:
        """The layer at a path as an op, unless some code may read it, or its class's source cannot be read."""
        owner, _, name = path.rpartition(".")
        layer = layer_of(modules[path])
        statements = [*self._statements(type(modules[owner]))]
        calls = (
            Place(file, call.lineno, call.col_offset + 1)
            for file, each in statements
            for call in each.built.get(name, ())
            if last_name(call.func) == layer.rpartition(".")[2]
        )
        place = next(calls, None)
        if place is None or any(self._readers.may_read(each, name) for _, each in statements):
            return None
        function, rate = layer_named(layer).function, _rate(modules[path])
        return Op(
            id=f"uncalled {path}",
            kind=kind_of(function),
            site=Site(path, function, place),
            call=call_text(function, layer, rate),
            rate=rate,
            drops=DROPPING[function].drops,
            reach=Reach.REGISTERED,
        )

    def _statements(self, cls: type) -> Iterator[tuple[str, ClassReads]]:
        """The class statements of a class and of those that it derives from; none if one of them cannot be read."""
        found = []
        for base in _own_bases(cls):
            file = _file_of(base) or ""
            reads = self._reads.get(file, FileReads())
            own = [each for each in reads.classes if each.name == base.__name__ and _is_at(base, each)]
            if not own:
                return
            found.append((file, own[0]))
        yield from found


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


def _loaded(packages: Collection[str], files: Collection[str]) -> Iterator[str]:
    """The files of the loaded modules that belong to a project of some files, or to one of some packages."""
    folders = (project_folders(Path(os.path.realpath(file)).parent) for file in files)
    roots = tuple(os.path.join(each[0], "") for each in folders if each)
    for name, module in [*sys.modules.items()]:
        file = getattr(module, "__file__", None)
        if not (isinstance(file, str) and file.endswith(".py") and is_user_code(file)):
            continue
        is_own = not _INSTALLED.search(file) and os.path.realpath(file).startswith(roots)
        if is_own or name.partition(".")[0] in packages:
            yield os.path.abspath(file)
