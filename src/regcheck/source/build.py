"""Building the object a class's constructor makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from .calls import Args, Kwargs
from .interpret import Interpreter
from .machine import Frame
from .names import Definition, Project, parameters_of
from .portrait import Gallery, Incomparable, Portrait, twin
from .values import Cells, Instance, Known, Module, Value, now

_SWITCH = re.compile(r"sdpa|flash|xformers|mem(ory)?_?eff\w*_?att|drop", re.IGNORECASE)


@dataclass(frozen=True)
class _Built:
    """The modules that a constructor made, which nothing else has got hold of, its own first; what it was given."""

    made: tuple[Module, ...]
    objects: tuple[object, ...]
    steps: int


class Builder(Interpreter):
    """Interprets constructors. Of objects that are built of like arguments the third and later ones are copies."""

    copying = True

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._gallery = Gallery()
        self._built: dict[Hashable, _Built | None] = {}

    def built(self, definition: Definition, otherwise: Value | None = None) -> Instance:
        """An instance made without arguments; `otherwise` stands for every parameter in place of its default."""
        kwargs: dict[str, Value] = {}
        method = definition.method("__init__")
        if otherwise is not None and method is not None:
            spec = method.node.args
            kwargs = {each.arg: otherwise for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)[1:]}
        return self._made(definition, kwargs)

    def switched_on(self, definition: Definition) -> Instance | None:
        """An instance with the kinds of attention and dropout that it leaves aside by default; None if there are none.

        Whoever asks for a fast attention, say, runs a path that no instance runs of which nobody asked anything.
        """
        method = definition.method("__init__")
        switches = _switches(method.node.args) if method is not None else []
        return self._made(definition, dict.fromkeys(switches, Known(True))) if switches else None

    def _made(self, definition: Definition, kwargs: Mapping[str, Value]) -> Instance:
        with self.entered(Frame(None, definition.source, Cells())):
            instance = Instance(self.place(definition.node), definition=definition)
            self.initialize(instance, (), kwargs, definition.node)
        return instance

    def construct(self, definition: Definition, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        portrait = Portrait(self._gallery, _unmarked, set())
        try:
            if not self.copying or definition.outer is not None:
                raise Incomparable
            given = *map(portrait.of, args), tuple([(name, portrait.of(kwargs[name])) for name in kwargs])
        except Incomparable:
            return super().construct(definition, args, kwargs, node)
        running = tuple([id(each.function.node) for each in self.frames if each.function is not None])
        receivers = tuple(map(id, portrait.receivers))  # which live as long as what is built here
        key = definition, given, receivers, running, len(self.frames), bool(self.doubts)
        known = self._built.get(key)
        if known is not None and self.steps + known.steps <= self.limit:
            self.steps += known.steps
            return self._copy(known, portrait, node)
        since, mark, made, steps = now(), len(self.log), len(self.made), self.steps
        before = self.cuts, len(self.doubts)
        instance = super().construct(definition, args, kwargs, node)
        apart = (self.cuts, len(self.doubts)) == before and all(cells.born > since for cells, _, _ in self.log[mark:])
        if key in self._built and apart:
            objects: dict[int, Any] = {id(each): each for each in (*portrait.objects, *portrait.receivers)}
            try:
                copies = tuple([twin(each, objects) for each in self.made[made:]])
            except Incomparable:
                return instance
            self._built[key] = _Built(copies, tuple(portrait.objects), self.steps - steps)
        else:
            self._built.setdefault(key, None)
        return instance

    def _copy(self, known: _Built, portrait: Portrait, node: ast.AST) -> Instance:
        objects: dict[int, Any] = {id(each): each for each in portrait.receivers}
        objects |= {id(each): given for each, given in zip(known.objects, portrait.objects, strict=True)}
        copies = [twin(each, objects) for each in known.made]
        self.made += copies
        instance = copies[0]
        assert isinstance(instance, Instance)
        instance.place = self.place(node)
        if instance.base is not None:
            instance.base.place = instance.place
        return instance


def _unmarked(module: Module) -> Hashable:
    raise Incomparable


def _switches(spec: ast.arguments) -> list[str]:
    """The parameters of a constructor that are false by default and whose names speak of attention or dropout."""
    return [
        each.arg
        for each, default in parameters_of(spec)
        if isinstance(default, ast.Constant) and default.value is False and _SWITCH.search(each.arg)
    ]
