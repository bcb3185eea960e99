"""The ops that one forward emits, and the modules that run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from regcheck.core.graph import Drops, Kind, Mode, Op, Operand, Reach, Site
from regcheck.files.place import Place
from regcheck.static.interpreter.mode_values import ModeTracker
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    Constant,
    Instance,
    Items,
    LayerValue,
    Module,
    Several,
    TensorRef,
    Unknown,
    Value,
    Weight,
    by_default,
    descendants,
    leaves,
    truth,
)
from regcheck.torch_api.functions import MASKING, PARTS, call_text

from .built_once import is_built_once
from .class_counts import width_counts_classes
from .unregistered import unregistered_modules

if TYPE_CHECKING:
    from .forward_cache import CacheHit

SETITEM = "setitem"
_PREDICTING = (Kind.LINEAR, Kind.CONV)
_WHOLE = (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE, Kind.JOIN)


class RegisteredModules:
    """How a model keeps its modules.

    `paths` are those of the registered modules by id; `hidden` and `preset` are the ids of the modules in plain lists
    and dicts, and of those whose mode the constructor sets.
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        registered = [*descendants(model)]
        self.paths = {id(module): path for path, module in registered}
        self.hidden = unregistered_modules(model)
        self.preset = frozenset([id(each) for _, each in registered if "training" in each.cells])

    def path_below(self, module: Module, parent: str) -> str:
        """The module's path in the model; an unregistered one is named after the path of the module that runs it."""
        path = self.paths.get(id(module))
        if path is not None:
            return path
        name = module.definition.name if isinstance(module, Instance) else getattr(module, "name", "")
        return f"{parent}.<{name}>".lstrip(".")


class Emitter(Part):
    """Records the ops of one forward in one mode.

    `track` holds each op with what it is in the other mode, if that differs, or a cached forward in place of its ops.
    """

    def __init__(self, modules: RegisteredModules, mode: Mode) -> None:
        self.modules = modules
        self.mode = mode
        self.tracker = ModeTracker(mode)
        self.maybe_cached: set[int] = set()
        """The ids of the modules that functions with a decorator of the project built: an earlier call may have."""
        self.track: list[tuple[Op, Op | None] | CacheHit] = []
        self.count = 0
        """The number of ops, those of cached forwards included."""
        self.matters = False
        """Whether a rule can start from one of the ops."""
        self.parameters: set[str] = set()
        self.trained: dict[str, bool | None] = {}
        """Which parameters the source says are trained, and which are not."""
        self.assembled: set[str] = set()
        """The ops whose result was written to in part."""
        self.drawn: set[str] = set()
        """The random draws, and the ops computed from these alone."""
        self.coin_tosses: dict[str, Value] = {}
        """The probability of each distribution of zeros and ones that does not depend on tensors, by its op."""
        self.running: list[str] = [""]
        """The paths of the modules that are running."""
        self.seeded = False
        self.switched = False
        """Whether the model's own `train()` and `eval()` have set the modes."""

    def emit(
        self,
        kind: Kind,
        function: str,
        inputs: Iterable[Value],
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
        by_default: str = "",
        requires_grad: bool | None = None,
        discarded: bool = False,
        reused_mask: str = "",
        keep_name: str = "",
        axis_arguments: tuple[tuple[str, Any], ...] = (),
        operands: Iterable[Value] = (),
        other: Mapping[str, Any] | None = None,
    ) -> TensorRef:
        """Adds an op; `other` holds the fields that differ in the other mode.

        `operands` are the arguments of a function that masks are made with (see `Op.operands`).
        """
        module = self.running[-1] if layer is None else self.modules.path_below(layer, self.running[-1])
        ids = tuple(dict.fromkeys(self.origins(inputs)))
        if function in PARTS and not self.assembled.isdisjoint(ids):
            kind = Kind.OPAQUE  # it may read any part of what was written
        name = f"{function}_{self.count}"
        layer_name = "" if layer is None else layer.name
        op = Op(
            id=name,
            kind=kind,
            site=Site(module, function, place),
            call=call_text(function, layer_name, rate),
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
            by_default=by_default,
            within=tuple([each.name for each in self.state.frames]) if kind is Kind.RANDOM else (),
            requires_grad=self._is_trained(layer, learned, ids) if requires_grad is None else requires_grad,
            discarded=discarded,
            reused_mask=reused_mask,
            keep_name=keep_name,
            axis_arguments=axis_arguments,
            operands=tuple(_operands(operands)) if operands and function in MASKING else (),
            of_classes=kind in _PREDICTING and layer is not None and width_counts_classes(layer),
        )
        in_other = None
        if other is not None:
            call = call_text(function, layer_name, other.get("rate", rate))
            in_other = replace(op, mode=self.tracker.other, call=call, **other)
        self.count += 1
        self.track.append((op, in_other))
        self.matters = self.matters or self.state.project.starts.has(op, in_other)
        if kind is Kind.PARAMETER:
            self.parameters.add(name)
            self.trained[name] = requires_grad
        elif function == SETITEM or (kind in _WHOLE and not self.assembled.isdisjoint(ids)):
            self.assembled.add(name)
        if (kind is Kind.RANDOM and active) or (ids and self.drawn.issuperset(ids)):
            self.drawn.add(name)
        return TensorRef((name,))

    def _is_trained(self, layer: LayerValue | None, learned: bool, ids: Iterable[str]) -> bool | None:
        """Whether a layer with parameters, or any parameter among some ops, is trained, if the source says so."""
        if layer is not None:
            cells = layer.cells
            is_told = learned and "requires_grad" in cells and "requires_grad" not in cells.doubtful
            return truth(cells["requires_grad"]) if is_told else None
        trained = [self.trained.get(each) for each in ids if each in self.parameters]
        return any(trained) if trained and None not in trained else None

    def origins(self, values: Iterable[Value]) -> list[str]:
        """The ops that values come from; a learned parameter is emitted."""
        ids: list[str] = []
        for value in values:
            kind: type = type(value)
            if kind is TensorRef:
                ids += value.ids  # type: ignore[union-attr]
            elif kind is not Constant and kind is not Unknown:
                for each in leaves(value):
                    kind = type(each)
                    if kind is TensorRef:
                        ids += each.ids
                    elif kind is Weight:
                        trained = each.requires_grad
                        ids += self.emit(Kind.PARAMETER, "parameter", (), place=None, requires_grad=trained).ids
        return ids

    def reach(self, module: Module) -> Reach | None:
        """How the model keeps a module; None if that is not known."""
        if id(module) in self.modules.paths:
            return Reach.REGISTERED
        if id(module) in self.modules.hidden:
            return Reach.HIDDEN
        if id(module) in self.maybe_cached or not any(module is each for each in self.state.created):
            return None
        return Reach.REGISTERED if is_built_once(self.modules.model, module, self.modules.paths) else Reach.NEW


def _operands(values: Iterable[Value]) -> Iterator[Operand]:
    """The arguments of a call as an op holds them, those in sequences one by one."""
    for each in values:
        value = by_default(each)
        if isinstance(value, Items):
            yield from _operands(value.items)
        elif isinstance(value, Several):
            yield from _operands((value.item,))
        elif isinstance(value, TensorRef):
            yield value.ids[0] if len(value.ids) == 1 else None
        elif isinstance(value, Constant) and isinstance(value.value, (int, float)):
            yield float(value.value)
        else:
            yield ... if isinstance(value, Unknown) and value.sizes else None
