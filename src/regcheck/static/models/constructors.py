"""Building the object a class's constructor makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from regcheck.static.interpreter.calls import DEEPEST, SHARES, Args, Kwargs
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.statements import Interpreter
from regcheck.static.interpreter.structural_keys import Incomparable, KeyInterner, StructuralKey, twin
from regcheck.static.interpreter.values import Cells, Constant, Function, Instance, Module, Value, now
from regcheck.static.project.names import Definition, Project, parameters_of

_SWITCH = re.compile(r"sdpa|flash|xformers|mem(ory)?_?eff\w*_?att|drop", re.IGNORECASE)


@dataclass(frozen=True)
class _Work:
    """What a call took: `entered` are the functions that were run, up to `depth` deep."""

    steps: int
    entered: frozenset[int]
    depth: int


@dataclass(frozen=True)
class _Computed:
    """What a function gave that left nothing else behind, and what it was given."""

    result: Value
    objects: tuple[object, ...]
    work: _Work


@dataclass(frozen=True)
class _Built:
    """The modules that a constructor made, which nothing else has got hold of, its own first; what it was given."""

    made: tuple[Module, ...]
    objects: tuple[object, ...]
    work: _Work


@dataclass
class ConstructorCache:
    """What constructors have built and computed so far, by what they were given."""

    gallery: KeyInterner = field(default_factory=KeyInterner)
    built: dict[Hashable, _Built | None] = field(default_factory=dict)
    computed: dict[Hashable, _Computed] = field(default_factory=dict)


class Builder(Interpreter):
    """Interprets constructors. Of objects that are built of like arguments the third and later ones are copies.

    So is what a function gave that is called with the same constants.
    """

    copying = True

    def __init__(self, project: Project, memory: ConstructorCache | None = None) -> None:
        super().__init__(project)
        self._memory = memory or ConstructorCache()
        self._deepest = 0

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
        return self._made(definition, dict.fromkeys(switches, Constant(True))) if switches else None

    def _made(self, definition: Definition, kwargs: Mapping[str, Value]) -> Instance:
        with self.entered(Frame(None, definition.source, Cells())):
            instance = Instance(self.place(definition.node), definition=definition)
            self.initialize(instance, (), kwargs, definition.node)
        return instance

    def _enter_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        self._deepest = max(self._deepest, len(self.frames))
        return super()._enter_function(function, args, kwargs, node)

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        own = () if function.instance is None else (function.instance,)
        plain = self.copying and function.outer is None
        key = self._key((function.node, function.owner), (*own, *args), kwargs) if plain else None
        if key is None:
            return super().call_function(function, args, kwargs, node)
        memory, (name, portrait) = self._memory.computed, key
        known = memory.get(name)
        if known is not None and self._fits(known.work):
            self._take(known.work)
            result: Value = twin(known.result, _now(known.objects, portrait))
            return result
        since, mark, made, before = now(), len(self.log), len(self.made), (self.cuts, len(self.doubts))
        with self._watched() as work:
            result = super().call_function(function, args, kwargs, node)
        apart = (self.cuts, len(self.doubts)) == before and len(self.made) == made
        if apart and work and all(cells.born > since for cells, _, _ in self.log[mark:]):
            with suppress(Incomparable):
                objects = tuple(portrait.objects)
                memory[name] = _Computed(twin(result, _now(objects, portrait)), objects, work[0])
        return result

    def construct(self, definition: Definition, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        key = self._key(definition, args, kwargs) if self.copying and definition.outer is None else None
        if key is None:
            return super().construct(definition, args, kwargs, node)
        memory, (name, portrait) = self._memory.built, key
        known = memory.get(name)
        if known is not None and self._fits(known.work):
            self._take(known.work)
            return self._copy(known, portrait, node)
        since, mark, made, before = now(), len(self.log), len(self.made), (self.cuts, len(self.doubts))
        with self._watched() as work:
            instance = super().construct(definition, args, kwargs, node)
        apart = (self.cuts, len(self.doubts)) == before and all(cells.born > since for cells, _, _ in self.log[mark:])
        if name in memory and apart and work:
            given = tuple(portrait.objects)
            objects = _now(given, portrait)
            with suppress(Incomparable):
                memory[name] = _Built(tuple([twin(each, objects) for each in self.made[made:]]), given, work[0])
        else:
            memory.setdefault(name, None)
        return instance

    def _key(self, called: object, args: Args, kwargs: Kwargs) -> tuple[Hashable, StructuralKey] | None:
        """What a call is given, and what else its course depends on; None where that cannot be told."""
        gallery = self._memory.gallery
        portrait = StructuralKey(gallery, _unmarked)
        try:
            given = *map(portrait.of, args), tuple([(name, portrait.of(kwargs[name])) for name in kwargs])
        except Incomparable:
            return None
        receivers = gallery.number(tuple(map(id, portrait.receivers)), portrait.receivers)
        return (called, given, receivers, min(len(self.frames), len(SHARES)), bool(self.doubts)), portrait

    @contextmanager
    def _watched(self) -> Iterator[list[_Work]]:
        """Tell what is done inside, unless that depends on the functions that are running already."""
        steps, deepest, ran = self.steps, self._deepest, self.ran
        self._deepest, self.ran = len(self.frames), set()
        found: list[_Work] = []
        try:
            yield found
        finally:
            entered, depth = frozenset(self.ran), self._deepest - len(self.frames)
            self._deepest, self.ran = max(deepest, self._deepest), ran | entered
            if self._running.isdisjoint(entered):
                found.append(_Work(self.steps - steps, entered, depth))

    @property
    def _running(self) -> set[int]:
        return {id(each.function.node) for each in self.frames if each.function is not None}

    def _fits(self, work: _Work) -> bool:
        """Whether interpreting the call would run into no limit that it did not run into when it was first made."""
        return (
            self.steps + work.steps <= self.limit
            and len(self.frames) + work.depth <= DEEPEST
            and self._running.isdisjoint(work.entered)
        )

    def _take(self, work: _Work) -> None:
        self.steps += work.steps
        self.ran |= work.entered
        self._deepest = max(self._deepest, len(self.frames) + work.depth)

    def _copy(self, known: _Built, portrait: StructuralKey, node: ast.AST) -> Instance:
        objects = _now(known.objects, portrait)
        copies = [twin(each, objects) for each in known.made]
        self.made += copies
        instance = copies[0]
        assert isinstance(instance, Instance)
        instance.place = self.place(node)
        if instance.base is not None:
            instance.base.place = instance.place
        return instance


def _now(objects: Sequence[object], portrait: StructuralKey) -> dict[int, Any]:
    """What stands, in the call at hand, for the objects that an earlier one was given."""
    found: dict[int, Any] = {id(each): each for each in portrait.receivers}
    return found | {id(each): now for each, now in zip(objects, portrait.objects, strict=True)}


def _unmarked(module: Module) -> Hashable:
    if module.is_module:  # which may be changed later on
        raise Incomparable
    return None


def _switches(spec: ast.arguments) -> list[str]:
    """The parameters of a constructor that are false by default and whose names speak of attention or dropout."""
    return [
        each.arg
        for each, default in parameters_of(spec)
        if isinstance(default, ast.Constant) and default.value is False and _SWITCH.search(each.arg)
    ]
