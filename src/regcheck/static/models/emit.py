"""The ops that one forward has made so far, and the modules that made them."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from regcheck.core.graph import Drops, Kind, Mode, Op, Reach, Site
from regcheck.files.place import Place
from regcheck.static.interpreter.mode_values import ByMode, ModeTracker, side
from regcheck.static.interpreter.statements import Interpreter
from regcheck.static.interpreter.values import (
    Constant,
    Instance,
    LayerValue,
    Module,
    TensorRef,
    Unknown,
    Value,
    Weight,
    descendants,
    inside,
    now,
)
from regcheck.static.project.names import Project
from regcheck.torch_api.functions import PARTS, call_text

from .unregistered import unregistered_modules

SETITEM = "setitem"
_WHOLE = (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE, Kind.JOIN)


class Spoilt(Exception):
    """To look at what the other mode would do was to do it: each mode must be run by itself."""


_PLAIN = (ast.Name, ast.Attribute, ast.Constant, ast.BoolOp, ast.UnaryOp, ast.Compare)


def is_plain(node: ast.expr) -> bool:
    """Whether an expression is made of names, attributes, constants and comparisons only."""
    return isinstance(node, _PLAIN) and all(
        is_plain(each) for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)
    )


class RegisteredModules:
    """How a model keeps its modules: the paths of the registered, the ids of those hidden, of those with a mode set."""

    def __init__(self, model: Module) -> None:
        self.model = model
        registered = [*descendants(model)]
        self.paths = {id(module): path for path, module in registered}
        self.hidden = unregistered_modules(model)
        self.preset = frozenset(id(each) for _, each in registered if "training" in each.cells)


class Ops(Interpreter):
    """The record of one forward in one mode."""

    def __init__(self, project: Project, kept: RegisteredModules, mode: Mode, ran: set[int]) -> None:
        super().__init__(project)
        self.model = kept.model
        self.mode = mode
        self.built_by = ran
        self.sight = ModeTracker(mode)
        self.one_sided = False
        """Whether the other mode is left alone, and anything that depends on the mode is run once for each."""
        self.count = 0
        self.starts = project.starts
        self.matters = False
        """Whether a rule can start from one of the ops made so far."""
        self.parameters: set[str] = set()
        self.assembled: set[str] = set()
        """The ops whose result was written to in part."""
        self.paths = kept.paths
        self.hidden = kept.hidden
        self.preset = kept.preset
        self.running: list[str] = [""]
        self.seeded = False
        self.began = now()

    def emit(
        self,
        kind: Kind,
        function: str,
        inputs: Sequence[Value],
        *,
        place: Place | None,
        layer: LayerValue | None = None,
        rate: float | None = None,
        drops: Drops | None = None,
        active: bool | None = False,
        learned: bool = False,
        window: bool = False,
        depth: int | None = None,
        tracks: bool = True,
        latent: bool = False,
        other: Mapping[str, Any] | None = None,
    ) -> TensorRef:
        """Add an op; `other` is what it differs in in the other mode."""
        module = self.path(layer) if layer is not None else self.running[-1]
        ids = tuple(dict.fromkeys(name for each in inputs for name in self.origins(each)))
        if function in PARTS and not self.assembled.isdisjoint(ids):
            kind = Kind.OPAQUE  # which of what was written there is read cannot be told
        name = f"{function}_{self.count}"
        op = Op(
            id=name,
            kind=kind,
            site=Site(module, function, place),
            call=call_text(function, layer.name if layer else "", rate),
            inputs=ids,
            rate=rate,
            drops=drops,
            active=active,
            learned=learned or not self.parameters.isdisjoint(ids),
            window=window,
            mode=self.mode,
            depth=depth,
            reach=None if layer is None else self.reach(layer),
            has_running_stats=tracks,
            latent=latent,
            within=tuple(each.name for each in self.frames) if kind is Kind.RANDOM else (),
        )
        there = None
        if other is not None:
            call = call_text(function, layer.name if layer else "", other.get("rate", rate))
            there = replace(op, mode=self.sight.other, call=call, **other)
        self.count += 1
        self.keep(op, there)
        self.matters = self.matters or self.starts.has(op, there)
        if kind is Kind.PARAMETER:
            self.parameters.add(name)
        elif function == SETITEM or (kind in _WHOLE and not self.assembled.isdisjoint(ids)):
            self.assembled.add(name)
        return TensorRef((name,))

    @abstractmethod
    def keep(self, op: Op, other: Op | None) -> None:
        """Add an op to the record; `other` is what it is in the other mode, where that makes a difference."""

    def origins(self, value: Value) -> Iterator[str]:
        """The ops a value comes from."""
        for each in inside(value):
            kind: type = type(each)
            if kind is ByMode:  # whose sides are constants, or numbers that nobody knows
                continue
            if isinstance(each, TensorRef):
                yield from each.ids
            elif isinstance(each, Weight):
                yield from self.emit(Kind.PARAMETER, "parameter", (), place=None).ids

    def path(self, module: Module) -> str:
        """The module's path in the model; one that is not registered is named after where it runs."""
        known = self.paths.get(id(module))
        if known is not None:
            return known
        name = module.definition.name if isinstance(module, Instance) else getattr(module, "name", "")
        return f"{self.running[-1]}.<{name}>".lstrip(".")

    def training(self, module: Module) -> Value:
        """A registered module follows the model, unless its mode was set; one that is not is as it was built."""
        if "training" in module.cells:
            set_to: Value = module.cells["training"]
            if id(module) in self.preset:
                return self.sided(Unknown(varies=True), Constant(False))
            return Unknown(varies=True) if set_to == Constant(True) else set_to
        if id(module) in self.paths:
            return self.sided(Constant(True), Constant(False))
        return Constant(True) if self.reach(module) in (Reach.HIDDEN, Reach.NEW) else Unknown(True)

    def sided(self, train: Value, evaluation: Value) -> Value:
        """A value that depends on the mode."""
        found: Value = cast(Any, ByMode(self.sight, train, evaluation))
        return found

    def tested(self, node: ast.expr) -> tuple[bool | None, bool]:
        before, self.sight.looked = self.sight.looked, False
        found = super().tested(node)
        if self.sight.looked and is_plain(node) and not self.one_sided:
            self.sight.looked = self._otherwise(partial(super().tested, node)) != found
        self.sight.looked |= before
        return found

    def _eval_ifexp(self, node: ast.IfExp) -> Value:
        """Of a choice between constants, or numbers, that the mode makes, both sides are kept."""
        before, self.sight.looked = self.sight.looked, False
        test, doubt = self.tested(node.test)
        if (
            test is None
            or not self.sight.looked
            or self.one_sided
            or not all(map(is_plain, (node.test, node.body, node.orelse)))
        ):
            self.sight.looked |= before
            return self.chosen(node, test, doubt)
        self.sight.looked = before
        other, _ = self._otherwise(partial(super().tested, node.test))
        mine: Value = side(self.evaluate(node.body if test else node.orelse), self.mode)
        theirs = self._otherwise(partial(self.evaluate, node.body if other else node.orelse))
        theirs = side(theirs, self.sight.other)
        if other is None or not (isinstance(mine, (Constant, Unknown)) and isinstance(theirs, (Constant, Unknown))):
            self.sight.looked = True
            return mine
        return self.sided(mine, theirs) if self.mode is Mode.TRAIN else self.sided(theirs, mine)

    def _otherwise(self, make: Callable[[], Any]) -> Any:
        """What an expression would give in the other mode.

        Raises:
            Spoilt: it did more than give something.
        """
        before, steps = self._done(), self.steps
        with self.sight.turned():
            found = make()
        if self._done() != before:
            raise Spoilt
        self.steps = steps
        return found

    def _done(self) -> tuple[object, ...]:
        return self.count, len(self.log), len(self.made), len(self.doubts), self.cuts, self.seeded

    def reach(self, module: Module) -> Reach | None:
        """How the model keeps a module; None where that cannot be told."""
        if id(module) in self.paths:
            return Reach.REGISTERED
        if id(module) in self.hidden:
            return Reach.HIDDEN
        return Reach.NEW if any(module is each for each in self.made) else None
