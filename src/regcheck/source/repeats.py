"""Forwards that are met again: what was interpreted in the same state, and of like inputs, is copied.

A network is mostly the same block many times over, and many networks are made of the same blocks. What interpreting a
registered module gives depends on its state, on what it is given and on little else; where nothing but ops came of it,
those ops are made once more, under the names of the module that is called now.
"""

from __future__ import annotations

import ast
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from regcheck.core.graph import Mode, Op, Site

from .calls import DEEPEST, SHARES
from .names import Definition, Project
from .ops import Kept, Ops
from .portrait import Gallery, Incomparable, Portrait, like
from .values import Function, Instance, Module, Value, now

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]


@dataclass(frozen=True)
class Recording:
    """What came of interpreting a forward, which was given these ops (`ids`) and `objects`.

    `ops` are those that it made, each with the end of its module's path where that begins with the path of the module
    called. `entered` are the functions that were run, up to `depth` deep, the first one under `outer` others. `asked`
    says whether anything depended on the mode.
    """

    ops: tuple[tuple[Op, str | None], ...]
    ids: tuple[str, ...]
    objects: tuple[object, ...]
    result: Value
    steps: int
    entered: frozenset[int]
    depth: int
    outer: int
    asked: bool


@dataclass
class Repeats:
    """The forwards that a project's models have run so far: by what they were given, and by mode where that matters."""

    recorded: dict[Hashable, dict[Mode | None, Recording]] = field(default_factory=dict)
    gallery: Gallery = field(default_factory=Gallery)


class Repeating(Ops):
    """The record of one forward, in which what is met again is copied."""

    def __init__(self, project: Project, kept: Kept, mode: Mode, ran: set[int], repeats: Repeats) -> None:
        super().__init__(project, kept, mode, ran)
        self.repeats = repeats
        self.entries: list[int] = []
        self.deepest = 0
        self.asked = False
        self._built: dict[Definition, tuple[bool, ...]] = {}

    def training(self, module: Module) -> Value:
        self.asked = True
        return super().training(module)

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
        portrait = Portrait(self.repeats.gallery, partial(self._mark, path), self.parameters, self.assembled)
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

    def _fits(self, found: Recording) -> bool:
        """Whether interpreting the forward would run into no limit that it did not run into when it was recorded."""
        running = {id(each.function.node) for each in self.frames if each.function is not None}
        return (
            self.steps + found.steps <= self.limit
            and len(self.frames) + found.depth <= DEEPEST
            and running.isdisjoint(found.entered)
        )

    def _record(
        self,
        known: dict[Mode | None, Recording],
        portrait: Portrait,
        path: str,
        forward: Function,
        args: Args,
        kwargs: Kwargs,
        node: ast.AST,
    ) -> Value:
        """Interpret the forward, and remember what came of it if that was nothing but ops."""
        since, mark, ops, steps, made = now(), len(self.log), len(self.ops), self.steps, len(self.made)
        entered, cuts, doubts, seeded = len(self.entries), self.cuts, len(self.doubts), self.seeded
        deepest, asked = self.deepest, self.asked
        self.deepest, self.asked = len(self.frames), False
        try:
            result = self.call_function(forward, args, kwargs, node)
            depth, depends = self.deepest - len(self.frames), self.asked
        finally:
            self.deepest, self.asked = max(deepest, self.deepest), asked or self.asked
        running = {id(each.function.node) for each in self.frames if each.function is not None}
        functions = frozenset(self.entries[entered:])
        plain = (
            (self.cuts, len(self.doubts), self.seeded) == (cuts, doubts, seeded)
            and running.isdisjoint(functions)
            and not any(each.is_module for each in self.made[made:])
            and all(cells.born > since for cells, _, _ in self.log[mark:])
        )
        if not plain:
            return result
        fresh = [*islice(reversed(self.ops.values()), len(self.ops) - ops)][::-1]
        names = dict.fromkeys((*portrait.ids, *(each.id for each in fresh)))
        same = {name: name for name in names}
        if not all(name in same for each in fresh for name in each.inputs):
            return result
        try:
            kept = like(result, same, {id(each): each for each in portrait.objects})
        except Incomparable:
            return result
        known[self.mode if depends else None] = Recording(
            tuple([(each, _end(each.module, path)) for each in fresh]),
            tuple(portrait.ids),
            tuple(portrait.objects),
            kept,
            self.steps - steps,
            functions,
            depth,
            len(self.frames),
            depends,
        )
        return result

    def _again(self, found: Recording, portrait: Portrait, path: str) -> Value:
        """Make the ops of a recording once more, of what is given now."""
        names = dict(zip(found.ids, portrait.ids, strict=True))
        outer = tuple([each.name for each in self.frames])
        for op, end in found.ops:
            site, where = op.site, op.site.module if end is None else path + end
            turn = self.turns[where, site.function, site.place]
            self.turns[where, site.function, site.place] = turn + 1
            name = names[op.id] = f"{site.function}_{len(self.ops)}"
            again = Op(
                name,
                op.kind,
                Site(where, site.function, site.place, turn),
                op.call,
                tuple([names[each] for each in op.inputs]),
                op.rate,
                op.drops,
                op.active,
                op.learned,
                op.shape,
                op.window,
                self.mode,
                op.depth,
                op.reach,
                op.tracks,
                op.latent,
                (*outer, *op.within[found.outer :]) if op.within else (),
            )
            self.add(again)
        self.steps += found.steps
        self.asked |= found.asked
        self.entries += found.entered
        self.deepest = max(self.deepest, len(self.frames) + found.depth)
        objects = {id(each): now for each, now in zip(found.objects, portrait.objects, strict=True)}
        result: Value = like(found.result, names, objects)
        return result


def _end(module: str, path: str) -> str | None:
    inside = module == path or module.startswith(f"{path}.")
    return module[len(path) :] if inside else None
