"""Builds the objects that the constructors of scanned classes build."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from typing import Any

from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.calls import Calls
from regcheck.static.interpreter.domain import Args, Domain, Kwargs
from regcheck.static.interpreter.interpreter import Interpreter
from regcheck.static.interpreter.state import STEP_SHARES, Frame, Work
from regcheck.static.interpreter.structural_keys import Incomparable, KeyInterner, StructuralKey, rebuild
from regcheck.static.interpreter.values import Cells, Constant, Function, Instance, Module, Value, tick
from regcheck.static.project.names import Definition, Project, parameters_of

_SWITCH = re.compile(r"sdpa|flash|xformers|mem(ory)?_?eff\w*_?att|drop", re.IGNORECASE)


@dataclass(frozen=True)
class _Result:
    """What a call without side effects gave: the result of a function, or all modules that a constructor built.

    `objects` are the values with an identity among its arguments.
    """

    values: tuple[Value, ...]
    objects: tuple[object, ...]
    work: Work


@dataclass
class ConstructorCache:
    """The results of constructors and of the functions that they call, by the keys of the calls.

    A constructor is in `built` with None after its first call: copies are made from the second call on.
    """

    interner: KeyInterner = field(default_factory=KeyInterner)
    built: dict[Hashable, _Result | None] = field(default_factory=dict)
    computed: dict[Hashable, _Result] = field(default_factory=dict)


class CachedCalls(Calls):
    """A call resolver that copies the results of calls that it has seen with equal arguments."""

    enabled = True

    def __init__(self, cache: ConstructorCache) -> None:
        self.cache = cache

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        positional = args if function.instance is None else (function.instance, *args)
        call = self._key((function.node, function.owner), positional, kwargs) if function.outer is None else None
        if call is None:
            return super().call_function(function, args, kwargs, node)
        key, arguments = call
        cached = self.cache.computed.get(key)
        if cached is not None and self.state.fits(cached.work):
            self.state.charge(cached.work)
            copy: Value = rebuild(cached.values[0], _replacements(cached.objects, arguments))
            return copy
        before, created = self._snapshot(), len(self.state.created)
        with self.state.measure() as work:
            result = super().call_function(function, args, kwargs, node)
        if len(self.state.created) == created and not self._has_side_effect(before, work):
            with suppress(Incomparable):
                self.cache.computed[key] = _result((result,), arguments, work)
        return result

    def construct(self, definition: Definition, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        call = self._key(definition, args, kwargs) if definition.outer is None else None
        if call is None:
            return super().construct(definition, args, kwargs, node)
        key, arguments = call
        cached = self.cache.built.get(key)
        if cached is not None and self.state.fits(cached.work):
            self.state.charge(cached.work)
            return self._copy(cached, arguments, node)
        before, created = self._snapshot(), len(self.state.created)
        with self.state.measure() as work:
            instance = super().construct(definition, args, kwargs, node)
        if key in self.cache.built and not self._has_side_effect(before, work):
            with suppress(Incomparable):
                self.cache.built[key] = _result(self.state.created[created:], arguments, work)
        else:
            self.cache.built.setdefault(key, None)
        return instance

    def _key(self, callee: object, args: Args, kwargs: Kwargs) -> tuple[Hashable, StructuralKey] | None:
        """The key of a call and of what else its course depends on; None if it has none."""
        if not self.enabled:
            return None
        interner, state = self.cache.interner, self.state
        arguments = StructuralKey(interner, _no_modules)
        try:
            call = arguments.of_call(args, kwargs)
        except Incomparable:
            return None
        receivers = interner.intern(tuple(map(id, arguments.receivers)), arguments.receivers)
        return (callee, call, receivers, min(len(state.frames), len(STEP_SHARES)), bool(state.doubts)), arguments

    def _snapshot(self) -> tuple[int, int, tuple[int, int]]:
        state = self.state
        return tick(), len(state.trail), (state.cuts, len(state.doubts))

    def _has_side_effect(self, before: tuple[int, int, tuple[int, int]], work: Work) -> bool:
        """Whether a call changed anything that existed before it, or depends on the functions that are running."""
        since, mark, counts = before
        state = self.state
        return (
            (state.cuts, len(state.doubts)) != counts
            or not state.running.isdisjoint(work.entered)
            or any(cells.born <= since for cells, _, _ in state.trail[mark:])
        )

    def _copy(self, cached: _Result, arguments: StructuralKey, node: ast.AST) -> Instance:
        objects = _replacements(cached.objects, arguments)
        copies = [rebuild(each, objects) for each in cached.values]
        self.state.created += copies
        instance = copies[0]
        assert isinstance(instance, Instance)
        instance.place = self.state.place(node)
        if instance.base is not None:
            instance.base.place = instance.place
        return instance


class Builder:
    """Builds objects of the classes of a project."""

    def __init__(self, project: Project, cache: ConstructorCache | None = None) -> None:
        calls = CachedCalls(cache or ConstructorCache())
        self.interpreter = Interpreter(project, Domain(), calls=calls)

    @property
    def entered(self) -> set[int]:
        """The functions that were entered, by the ids of their nodes."""
        return self.interpreter.state.entered

    @property
    def created(self) -> list[Module]:
        return self.interpreter.state.created

    def build(self, definition: Definition, otherwise: Value | None = None) -> Instance:
        """An object built without arguments; `otherwise` replaces the default of every parameter."""
        kwargs: dict[str, Value] = {}
        method = definition.method("__init__")
        if otherwise is not None and method is not None:
            spec = method.node.args
            kwargs = {each.arg: otherwise for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)[1:]}
        return self._construct(definition, kwargs)

    def build_switched_on(self, definition: Definition) -> Instance | None:
        """An object with those kinds of attention and dropout that are off by default; None if there are none.

        A caller that asks for a fast attention, say, runs a path that no object built without arguments runs.
        """
        method = definition.method("__init__")
        switches = _switches(method.node.args) if method is not None else []
        return self._construct(definition, dict.fromkeys(switches, Constant(True))) if switches else None

    def _construct(self, definition: Definition, kwargs: Mapping[str, Value]) -> Instance:
        parts = self.interpreter
        with parts.state.within(Frame(None, definition.source, Cells())):
            instance = Instance(parts.state.place(definition.node), definition=definition)
            parts.calls.initialize(instance, (), kwargs, definition.node)
        return instance


def _result(values: Sequence[Value], arguments: StructuralKey, work: Work) -> _Result:
    """Copies of values that a call gave: later code of the program may change the originals."""
    inputs = tuple(arguments.objects)
    objects = _replacements(inputs, arguments)
    return _Result(tuple([rebuild(each, objects) for each in values]), inputs, work)


def _replacements(objects: Sequence[object], arguments: StructuralKey) -> dict[int, Any]:
    """The current call's values in place of those of an earlier call with the same key."""
    receivers: dict[int, Any] = {id(each): each for each in arguments.receivers}
    return receivers | {id(each): current for each, current in zip(objects, arguments.objects, strict=True)}


def _no_modules(module: Module) -> Hashable:
    if module.is_module:  # later code may change it
        raise Incomparable
    return None


def _switches(spec: ast.arguments) -> list[str]:
    """The parameters that are false by default and whose names mention attention or dropout."""
    return [
        each.arg
        for each, default in parameters_of(spec)
        if isinstance(default, ast.Constant) and default.value is False and _SWITCH.search(each.arg)
    ]
