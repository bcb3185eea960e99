"""The cache of forwards: a forward that runs again in the same state, with equal inputs, is not interpreted again.

Most networks repeat one block many times, and many networks use the same blocks. The result of a registered module's
forward depends on the module's state, on its inputs and on little else. If it did nothing but emit ops, the cache emits
these ops again, renamed for the module and the inputs of the current call.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from functools import cached_property, partial
from itertools import chain

from regcheck.core.graph import Mode, Op, Site
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import STEP_SHARES, Work
from regcheck.static.interpreter.structural_keys import Incomparable, KeyInterner, StructuralKey, rebuild
from regcheck.static.interpreter.values import ClassDefinition, Function, Instance, Module, Value, tick

from .emit import Emitter


class OpNames(dict[str, str]):
    """The names of a cached forward's ops in the current call: its `inputs` by name, its own ops by number.

    An op's name ends with its number in the run; the cached ops begin at number `first`, now they begin at `start`.
    """

    def __init__(self, inputs: Mapping[str, str], first: int, start: int) -> None:
        super().__init__(inputs)
        self.first, self.start = first, start

    def __missing__(self, name: str) -> str:
        function, _, number = name.rpartition("_")
        if int(number) < self.first:
            raise KeyError(name)
        renamed = self[name] = f"{function}_{int(number) - self.first + self.start}"
        return renamed


@dataclass(frozen=True)
class CachedForward:
    """The effect of one forward: that of the module at `path`, called with the ops `ids` and the values `objects`.

    `track` are its ops, from number `first` on, and the cached forwards in it. `parameters` and `assembled` are the ops
    of its result that are in these sets of the emitter. `outer` is the number of frames around it. `depends_on_mode`
    says whether its course may depend on the mode, `matters` whether a rule can start from one of its ops.
    """

    path: str
    track: tuple[tuple[Op, Op | None] | CacheHit, ...]
    first: int
    count: int
    ids: tuple[str, ...]
    objects: tuple[object, ...]
    result: Value
    parameters: frozenset[str]
    assembled: frozenset[str]
    work: Work
    outer: int
    depends_on_mode: bool
    matters: bool

    @cached_property
    def ops(self) -> tuple[tuple[Op, Op | None, str | None], ...]:
        """The ops, each with the rest of its module's path, if that begins with `path`."""
        pairs = [pair for each in self.track for pair in (each.ops() if isinstance(each, CacheHit) else (each,))]
        return tuple([(op, other, _below(op.module, self.path)) for op, other in pairs])


@dataclass(frozen=True)
class CacheHit:
    """A cached forward in place of its ops: called by the module at `path`, inside of the functions `outer`."""

    forward: CachedForward
    names: OpNames
    path: str
    outer: tuple[str, ...]

    def ops(self) -> Iterator[tuple[Op, Op | None]]:
        for op, other, below in self.forward.ops:
            yield self._renamed(op, op.mode, below), other and self._renamed(other, other.mode, below)

    def ops_in(self, mode: Mode) -> Iterator[Op]:
        for op, other, below in self.forward.ops:
            yield self._renamed(op if other is None or op.mode is mode else other, mode, below)

    def _renamed(self, op: Op, mode: Mode, below: str | None) -> Op:
        site = op.site
        return Op(
            self.names[op.id],
            op.kind,
            site if below is None else Site(self.path + below, site.function, site.place),
            op.call,
            tuple([self.names[each] for each in op.inputs]),
            op.rate,
            op.drops,
            op.active,
            op.learned,
            op.shape,
            op.window,
            mode,
            op.depth,
            op.reach,
            op.has_running_stats,
            op.latent,
            op.by_default,
            (*self.outer, *op.within[self.forward.outer :]) if op.within else (),
            requires_grad=op.requires_grad,
            discarded=op.discarded,
            reused_mask=op.reused_mask,
            keep_name=op.keep_name,
            axis_arguments=op.axis_arguments,
            of_classes=op.of_classes,
            operands=tuple([self.names[each] if isinstance(each, str) else each for each in op.operands]),
        )


def expanded(track: Iterable[tuple[Op, Op | None] | CacheHit], mode: Mode) -> Iterator[Op]:
    """All ops of a track as they are in a mode."""
    for each in track:
        if isinstance(each, CacheHit):
            yield from each.ops_in(mode)
        else:
            op = each[0] if each[1] is None or each[0].mode is mode else each[1]
            yield op if op.mode is mode else op.moved(op.site, mode)


@dataclass
class ForwardCache:
    """The forwards that a project's models ran, by the key of the call and by mode (None: they do not depend on it)."""

    forwards: dict[Hashable, dict[Mode | None, CachedForward]] = field(default_factory=dict)
    interner: KeyInterner = field(default_factory=KeyInterner)


class ForwardRunner(Part):
    """Runs the forwards of modules, and takes from the cache those that ran before."""

    def __init__(self, cache: ForwardCache, emitter: Emitter, build_functions: set[int]) -> None:
        self.cache = cache
        self.emitter = emitter
        self.build_functions = build_functions
        self._built_by: dict[ClassDefinition, tuple[bool, ...]] = {}

    def run(self, module: Instance, forward: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """The result of a module's forward."""
        state, emitter = self.state, self.emitter
        path = emitter.modules.paths.get(id(module))
        if not path:
            return self.calls.call_function(forward, args, kwargs, node)
        key = StructuralKey(self.cache.interner, partial(self._module_key, path), emitter.parameters, emitter.assembled)
        try:
            call = key.of(module), key.of_call(args, kwargs)
        except Incomparable:
            return self.calls.call_function(forward, args, kwargs, node)
        is_loss = any("loss" in each.name.lower() for each in state.frames)
        outer = min(len(state.frames), len(STEP_SHARES))
        context = outer, bool(state.doubts), any(state.doubts), emitter.seeded, emitter.switched, is_loss
        by_mode = self.cache.forwards.setdefault((call, context), {})
        cached = by_mode.get(None) or by_mode.get(emitter.mode)
        if cached is not None:
            if state.fits(cached.work):
                return self._emit_again(cached, key, path)
            return self.calls.call_function(forward, args, kwargs, node)
        since, mark, created = tick(), len(state.trail), len(state.created)
        start, first, before = len(emitter.track), emitter.count, (state.cuts, len(state.doubts), emitter.seeded)
        with self._observed() as effect, state.measure() as work:
            result = self.calls.call_function(forward, args, kwargs, node)
        has_side_effect = (
            (state.cuts, len(state.doubts), emitter.seeded) != before
            or not state.running.isdisjoint(work.entered)
            or any(each.is_module for each in state.created[created:])
            or any(cells.born <= since for cells, _, _ in state.trail[mark:])
        )
        track, names = emitter.track[start:], OpNames({name: name for name in key.ids}, first, first)
        if has_side_effect or not _are_named(track, names):
            return result
        with suppress(Incomparable):
            by_mode[emitter.mode if effect.depends_on_mode else None] = CachedForward(
                path=path,
                track=tuple(track),
                first=first,
                count=emitter.count - first,
                ids=tuple(key.ids),
                objects=tuple(key.objects),
                result=rebuild(result, {id(each): each for each in key.objects}, names),
                parameters=frozenset(names.keys() & emitter.parameters),
                assembled=frozenset(names.keys() & emitter.assembled),
                work=work,
                outer=len(state.frames),
                depends_on_mode=effect.depends_on_mode,
                matters=effect.matters,
            )
        return result

    @contextmanager
    def _observed(self) -> Iterator[_Effect]:
        """Fills in, when the block ends, what the block's ops depend on."""
        emitter, tracker = self.emitter, self.emitter.tracker
        matters, observed = emitter.matters, tracker.observed
        emitter.matters = tracker.observed = False
        effect = _Effect()
        try:
            yield effect
        finally:
            effect.depends_on_mode, effect.matters = tracker.observed, emitter.matters
            emitter.matters, tracker.observed = matters or emitter.matters, observed or tracker.observed

    def _module_key(self, called: str, module: Module) -> Hashable:
        """What tells modules apart besides their contents: path, registration, the methods that construction ran."""
        modules = self.emitter.modules
        path = modules.paths.get(id(module))
        if path is not None and (path == called or path.startswith(f"{called}.")):
            path = path[len(called) :]
        built_by: tuple[bool, ...] | None = ()
        if isinstance(module, Instance):
            definition = module.definition
            built_by = self._built_by.get(definition)
            if built_by is None:
                methods = [node for each in definition.mro for node in each.methods.values()]
                built_by = tuple([id(node) in self.build_functions for node in methods])
                self._built_by[definition] = built_by
        return path, id(module) in modules.hidden, id(module) in modules.preset, built_by

    def _emit_again(self, cached: CachedForward, key: StructuralKey, path: str) -> Value:
        """Emits the ops of a cached forward, with the inputs of the current call."""
        state, emitter = self.state, self.emitter
        names = OpNames(dict(zip(cached.ids, key.ids, strict=True)), cached.first, emitter.count)
        emitter.track.append(CacheHit(cached, names, path, tuple([each.name for each in state.frames])))
        emitter.count += cached.count
        emitter.matters = emitter.matters or cached.matters
        emitter.tracker.observed |= cached.depends_on_mode
        emitter.parameters.update([names[each] for each in cached.parameters])
        emitter.assembled.update([names[each] for each in cached.assembled])
        state.charge(cached.work)
        objects = {id(each): current for each, current in zip(cached.objects, key.objects, strict=True)}
        result: Value = rebuild(cached.result, objects, names)
        return result


@dataclass
class _Effect:
    depends_on_mode: bool = False
    matters: bool = False


def _are_named(track: Iterable[tuple[Op, Op | None] | CacheHit], names: OpNames) -> bool:
    """Whether the inputs of all ops are inputs of the forward, or other ops of it."""
    inputs = (each.names.values() if isinstance(each, CacheHit) else each[0].inputs for each in track)
    try:
        for name in chain.from_iterable(inputs):
            names[name]
    except KeyError:
        return False
    return True


def _below(module: str, path: str) -> str | None:
    """The rest of a module's path after `path`; None if it does not begin with it."""
    return module[len(path) :] if module == path or module.startswith(f"{path}.") else None
