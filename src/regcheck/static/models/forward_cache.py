"""Forwards that are met again: what was interpreted in the same state, and of like inputs, is copied.

A network is mostly the same block many times over, and many networks are made of the same blocks. What interpreting a
registered module gives depends on its state, on what it is given and on little else; where nothing but ops came of it,
those ops are made once more, under the names of the module that is called now.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain

from regcheck.core.graph import Mode, Op, Site
from regcheck.static.interpreter.calls import DEEPEST, SHARES
from regcheck.static.interpreter.structural_keys import Incomparable, KeyInterner, StructuralKey, like
from regcheck.static.interpreter.values import Function, Instance, Module, Value, now
from regcheck.static.project.names import Definition, Project

from .emit import Ops, RegisteredModules

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]


class Names(dict[str, str]):
    """What ops are called that are made again: those `given` by other names, and those made then by other numbers.

    An op's name ends with its number among the ops of its forward; the recorded ones begin with number `first`.
    """

    def __init__(self, given: Mapping[str, str], first: int, now: int) -> None:
        super().__init__(given)
        self.first, self.now = first, now

    def __missing__(self, name: str) -> str:
        function, _, number = name.rpartition("_")
        if int(number) < self.first:
            raise KeyError(name)
        found = self[name] = f"{function}_{int(number) - self.first + self.now}"
        return found


@dataclass(frozen=True)
class CachedForward:
    """What came of interpreting the forward of the module at `path`, which was given these ops (`ids`) and `objects`.

    `track` are the ops that it made, from number `first` on, and the forwards met again. `parameters` and `assembled`
    are those among the ops of its result. `entered` are the functions that were run, up to `depth` deep, the first one
    under `outer` others. `asked` says whether anything depended on the mode, and `matters` whether a rule could find
    anything.
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
    steps: int
    entered: frozenset[int]
    depth: int
    outer: int
    asked: bool
    matters: bool

    @cached_property
    def ops(self) -> tuple[tuple[Op, Op | None, str | None], ...]:
        """The ops, with the end of each one's module's path where that begins with the path of the module called."""
        pairs = [pair for each in self.track for pair in (each.ops() if isinstance(each, CacheHit) else (each,))]
        return tuple([(op, other, _end(op.module, self.path)) for op, other in pairs])


@dataclass(frozen=True)
class CacheHit:
    """A forward met again, by the module at `path` under the functions `outer`: a recording's ops, of other ones."""

    found: CachedForward
    names: Names
    path: str
    outer: tuple[str, ...]

    def ops(self) -> Iterator[tuple[Op, Op | None]]:
        for op, other, end in self.found.ops:
            yield self._again(op, op.mode, end), other and self._again(other, other.mode, end)

    def ops_in(self, mode: Mode) -> Iterator[Op]:
        for op, other, end in self.found.ops:
            yield self._again(op if other is None or op.mode is mode else other, mode, end)

    def _again(self, op: Op, mode: Mode, end: str | None) -> Op:
        site = op.site
        return Op(
            self.names[op.id],
            op.kind,
            site if end is None else Site(self.path + end, site.function, site.place),
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
            (*self.outer, *op.within[self.found.outer :]) if op.within else (),
        )


def expanded(track: Iterable[tuple[Op, Op | None] | CacheHit], mode: Mode) -> Iterator[Op]:
    """All ops of a track, as they are in that mode."""
    for each in track:
        if isinstance(each, CacheHit):
            yield from each.ops_in(mode)
        else:
            op = each[0] if each[1] is None or each[0].mode is mode else each[1]
            yield op if op.mode is mode else replace(op, mode=mode)


@dataclass
class ForwardCache:
    """The forwards that a project's models have run so far: by what they were given, and by mode where that matters."""

    recorded: dict[Hashable, dict[Mode | None, CachedForward]] = field(default_factory=dict)
    gallery: KeyInterner = field(default_factory=KeyInterner)


class CachingEmitter(Ops):
    """The record of one forward, in which what is met again is copied."""

    def __init__(
        self, project: Project, kept: RegisteredModules, mode: Mode, ran: set[int], repeats: ForwardCache
    ) -> None:
        super().__init__(project, kept, mode, ran)
        self.repeats = repeats
        self.track: list[tuple[Op, Op | None] | CacheHit] = []
        self.entries: list[int] = []
        self.deepest = 0
        self._built: dict[Definition, tuple[bool, ...]] = {}

    def keep(self, op: Op, other: Op | None) -> None:
        self.track.append((op, other))

    def _enter_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        self.entries.append(id(function.node))
        self.deepest = max(self.deepest, len(self.frames))
        if len(self.frames) > DEEPEST:
            self.cuts += 1
        return super()._enter_function(function, args, kwargs, node)

    def forwarded(self, module: Instance, forward: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        """What the forward of a module gives."""
        path = self.paths.get(id(module))
        if not path:
            return self.call_function(forward, args, kwargs, node)
        portrait = StructuralKey(self.repeats.gallery, partial(self._mark, path), self.parameters, self.assembled)
        try:
            given = (
                portrait.of(module),
                *map(portrait.of, args),
                tuple([(name, portrait.of(kwargs[name])) for name in kwargs]),
            )
        except Incomparable:
            return self.call_function(forward, args, kwargs, node)
        in_loss = any("loss" in each.name.lower() for each in self.frames)
        outer = min(len(self.frames), len(SHARES))
        key = given, outer, bool(self.doubts), any(self.doubts), self.seeded, in_loss
        known = self.repeats.recorded.setdefault(key, {})
        found = known.get(None) or known.get(self.mode)
        if found is None:
            return self._record(known, portrait, path, forward, args, kwargs, node)
        if not self._fits(found):
            return self.call_function(forward, args, kwargs, node)
        return self._again(found, portrait, path)

    def _mark(self, called: str, module: Module) -> Hashable:
        """What tells a module from others, besides what it is made of: its path, and how it is kept and was built."""
        path = self.paths.get(id(module))
        if path is not None and (path == called or path.startswith(f"{called}.")):
            path = path[len(called) :]
        built: tuple[bool, ...] = ()
        if isinstance(module, Instance):
            known = self._built.get(module.definition)
            if known is None:
                methods = [node for each in module.definition.mro for node in each.methods.values()]
                known = self._built[module.definition] = tuple([id(node) in self.built_by for node in methods])
            built = known
        return path, id(module) in self.hidden, id(module) in self.preset, built

    def _fits(self, found: CachedForward) -> bool:
        """Whether interpreting the forward would run into no limit that it did not run into when it was recorded."""
        running = {id(each.function.node) for each in self.frames if each.function is not None}
        return (
            self.steps + found.steps <= self.limit
            and len(self.frames) + found.depth <= DEEPEST
            and running.isdisjoint(found.entered)
        )

    def _record(
        self,
        known: dict[Mode | None, CachedForward],
        portrait: StructuralKey,
        path: str,
        forward: Function,
        args: Args,
        kwargs: Kwargs,
        node: ast.AST,
    ) -> Value:
        """Interpret the forward, and remember what came of it if that was nothing but ops."""
        since, mark, steps, made = now(), len(self.log), self.steps, len(self.made)
        start, first, matters, self.matters = len(self.track), self.count, self.matters, False
        entered, cuts, doubts, seeded = len(self.entries), self.cuts, len(self.doubts), self.seeded
        deepest, looked = self.deepest, self.sight.looked
        self.deepest, self.sight.looked = len(self.frames), False
        try:
            result = self.call_function(forward, args, kwargs, node)
            depth, depends, telling = self.deepest - len(self.frames), self.sight.looked, self.matters
        finally:
            self.matters = matters or self.matters
            self.deepest, self.sight.looked = max(deepest, self.deepest), looked or self.sight.looked
        running = {id(each.function.node) for each in self.frames if each.function is not None}
        functions = frozenset(self.entries[entered:])
        plain = (
            (self.cuts, len(self.doubts), self.seeded) == (cuts, doubts, seeded)
            and running.isdisjoint(functions)
            and not any(each.is_module for each in self.made[made:])
            and all(cells.born > since for cells, _, _ in self.log[mark:])
        )
        track = self.track[start:]
        names = Names({name: name for name in portrait.ids}, first, first)
        if not plain or not _are_named(track, names):
            return result
        try:
            kept = like(result, names, {id(each): each for each in portrait.objects})
        except Incomparable:
            return result
        known[self.mode if depends else None] = CachedForward(
            path,
            tuple(track),
            first,
            self.count - first,
            tuple(portrait.ids),
            tuple(portrait.objects),
            kept,
            frozenset(names.keys() & self.parameters),
            frozenset(names.keys() & self.assembled),
            self.steps - steps,
            functions,
            depth,
            len(self.frames),
            depends,
            telling,
        )
        return result

    def _again(self, found: CachedForward, portrait: StructuralKey, path: str) -> Value:
        """Make the ops of a recording once more, of what is given now."""
        names = Names(dict(zip(found.ids, portrait.ids, strict=True)), found.first, self.count)
        self.track.append(CacheHit(found, names, path, tuple([each.name for each in self.frames])))
        self.count += found.count
        self.matters = self.matters or found.matters
        self.steps += found.steps
        self.sight.looked |= found.asked
        self.entries += found.entered
        self.deepest = max(self.deepest, len(self.frames) + found.depth)
        self.parameters.update([names[each] for each in found.parameters])
        self.assembled.update([names[each] for each in found.assembled])
        objects = {id(each): now for each, now in zip(found.objects, portrait.objects, strict=True)}
        result: Value = like(found.result, names, objects)
        return result


def _are_named(track: Iterable[tuple[Op, Op | None] | CacheHit], names: Names) -> bool:
    """Whether ops were made of nothing but others that were given, or made along with them."""
    given = (each.names.values() if isinstance(each, CacheHit) else each[0].inputs for each in track)
    try:
        for name in chain.from_iterable(given):
            names[name]
    except KeyError:
        return False
    return True


def _end(module: str, path: str) -> str | None:
    inside = module == path or module.startswith(f"{path}.")
    return module[len(path) :] if inside else None
