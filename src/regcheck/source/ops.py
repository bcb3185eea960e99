"""The ops that one forward has made so far, and the modules that made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from regcheck.core.graph import Drops, Kind, Mode, Op, Place, Reach, Site
from regcheck.core.vocabulary import call_text

from .hidden import hidden_in
from .interpret import Interpreter
from .names import Project
from .values import (
    Either,
    Entries,
    Instance,
    Items,
    Known,
    Layer,
    Maybe,
    Module,
    Several,
    Traced,
    Unknown,
    Value,
    Weight,
    descendants,
    now,
)

SETITEM = "setitem"
_PARTS = frozenset("getitem chunk split tensor_split unbind narrow select index_select gather take".split())
_WHOLE = (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE, Kind.JOIN)


class Kept:
    """How a model keeps its modules: the paths of the registered, the ids of those hidden, of those with a mode set."""

    def __init__(self, model: Module) -> None:
        self.model = model
        registered = [*descendants(model)]
        self.paths = {id(module): path for path, module in registered}
        self.hidden = hidden_in(model)
        self.preset = frozenset(id(each) for _, each in registered if "training" in each.cells)


class Ops(Interpreter):
    """The record of one forward in one mode."""

    def __init__(self, project: Project, kept: Kept, mode: Mode, ran: set[int]) -> None:
        super().__init__(project)
        self.model = kept.model
        self.mode = mode
        self.built_by = ran
        self.ops: dict[str, Op] = {}
        self.parameters: set[str] = set()
        self.assembled: set[str] = set()
        self.paths = kept.paths
        self.hidden = kept.hidden
        self.preset = kept.preset
        self.running: list[str] = [""]
        self.seeded = False
        self.began = now()
        self.turns: Counter[tuple[str, str, Place | None]] = Counter()

    def emit(
        self,
        kind: Kind,
        function: str,
        inputs: Sequence[Value],
        *,
        place: Place | None,
        layer: Layer | None = None,
        rate: float | None = None,
        drops: Drops | None = None,
        active: bool | None = False,
        learned: bool = False,
        window: bool = False,
        depth: int | None = None,
        tracks: bool = True,
        latent: bool = False,
    ) -> Traced:
        """Add an op."""
        module = self.path(layer) if layer is not None else self.running[-1]
        turn = self.turns[module, function, place]
        self.turns[module, function, place] += 1
        ids = tuple(dict.fromkeys(name for each in inputs for name in self.origins(each)))
        name = f"{function}_{len(self.ops)}"
        if function in _PARTS and not self.assembled.isdisjoint(ids):
            kind = Kind.OPAQUE  # which of what was written there is read cannot be told
        op = Op(
            id=name,
            kind=kind,
            site=Site(module, function, place, turn),
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
            tracks=tracks,
            latent=latent,
            within=tuple(each.name for each in self.frames) if kind is Kind.RANDOM else (),
        )
        self.add(op)
        return Traced((name,))

    def add(self, op: Op) -> None:
        """Write an op down, and remember those that are parameters, or were written to in part."""
        self.ops[op.id] = op
        if op.kind is Kind.PARAMETER:
            self.parameters.add(op.id)
        elif op.site.function == SETITEM or (op.kind in _WHOLE and not self.assembled.isdisjoint(op.inputs)):
            self.assembled.add(op.id)

    def origins(self, value: Value) -> Iterator[str]:
        """The ops a value comes from."""
        if isinstance(value, Traced):
            yield from value.ids
        elif isinstance(value, Weight):
            yield from self.emit(Kind.PARAMETER, "parameter", (), place=None).ids
        elif isinstance(value, (Items, Maybe)):
            for each in value.items:
                yield from self.origins(each)
        elif isinstance(value, Several):
            yield from self.origins(value.item)
        elif isinstance(value, Entries):
            for each in value.cells.values():
                yield from self.origins(each)
        elif isinstance(value, Either):
            for each in value.options:
                yield from self.origins(each)

    def path(self, module: Module) -> str:
        """The module's path in the model; one that is not registered is named after where it runs."""
        known = self.paths.get(id(module))
        if known is not None:
            return known
        name = module.definition.name if isinstance(module, Instance) else getattr(module, "name", "")
        return f"{self.running[-1]}.<{name}>".lstrip(".")

    def training(self, module: Module) -> Value:
        """A registered module follows the model, unless its mode was set; one that is not is as it was built."""
        mine = self.mode is Mode.TRAIN
        if "training" in module.cells:
            set_to: Value = module.cells["training"]
            if id(module) in self.preset:
                return Unknown(varies=True) if mine else Known(False)
            return Unknown(varies=True) if set_to == Known(True) else set_to
        if id(module) in self.paths:
            return Known(mine)
        return Known(True) if self.reach(module) in (Reach.HIDDEN, Reach.NEW) else Unknown(True)

    def reach(self, module: Module) -> Reach | None:
        """How the model keeps a module; None where that cannot be told."""
        if id(module) in self.paths:
            return Reach.REGISTERED
        if id(module) in self.hidden:
            return Reach.HIDDEN
        return Reach.NEW if any(module is each for each in self.made) else None
