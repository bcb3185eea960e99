"""Which parts of its models a program freezes: by `requires_grad`, by its optimizers, and by `eval()` on a part."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import field, replace
from functools import partial

from regcheck.core.frozen_norms import OwnedParameters, frozen_norms, norms_of_frozen_model
from regcheck.core.usage import Called
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    Constant,
    Either,
    Entries,
    Instance,
    Items,
    Module,
    ParameterOf,
    Parameters,
    Value,
    Weight,
    descendants,
    element,
    truth,
)
from regcheck.static.models.inspection import layer_of, parameter_names
from regcheck.static.torch_calls import setting
from regcheck.torch_api.layers import layer_named

from .events import EventLog
from .mode_restoration import is_generator


@dataclass
class _Program:
    """What one program freezes and trains. Modules are keyed by their ids.

    `optimized` are the modules whose parameters its optimizers hold, None where that is unknown. `perhaps` and `surely`
    are the modules whose parameters need gradients at a backward pass. `rewritten` are those whose parameters it
    changes by other means. `moving` holds the modules in train mode of each call that trains, by the index of its
    event, and of each call in `feeding`, whose result only goes into other models that are trained; `train_set_at`
    is the last `train()` of each module. `pins` counts the `eval()` calls of parts, `unused` are the pinned parts
    that it has not called since, `pinned_by_choice` those that it pins in a branch that its defaults do not take,
    `undone` those that a `train()` around them put back, `on_purpose` the norms in train mode by a call of their
    own.
    """

    optimized: set[int] | None = field(default_factory=set)
    has_optimizer: bool = False
    perhaps: set[int] = field(default_factory=set)
    surely: set[int] = field(default_factory=set)
    rewritten: set[int] = field(default_factory=set)
    moving: dict[int, frozenset[int]] = field(default_factory=dict)
    feeding: set[int] = field(default_factory=set)
    train_set_at: dict[int, Place] = field(default_factory=dict)
    pins: dict[int, int] = field(default_factory=dict)
    unused: set[int] = field(default_factory=set)
    pinned_by_choice: set[int] = field(default_factory=set)
    undone: set[int] = field(default_factory=set)
    on_purpose: set[int] = field(default_factory=set)


class Freezing(Part):
    """Follows what is frozen, and notes on each training call the frozen norms that it moves."""

    lasting = ("_copied_from",)

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._program = _Program()
        self._copied_from: dict[int, int] = {}

    def begin(self) -> None:
        """A program begins."""
        self._program = _Program()

    def set_parameter(self, owner: Module, name: str, value: Value) -> None:
        """`requires_grad` of one parameter is set."""
        trained = truth(value)
        if isinstance(owner.cells.get(name), Weight):
            self.state.set(owner.cells, name, Weight(trained))
            return
        set_to = value if trained is None else Constant(trained)
        self.state.set(owner.cells, f"{name}.requires_grad", set_to)
        of_all = {_switch(owner, each) for each in parameter_names(owner)}
        self.state.set(owner.cells, "requires_grad", Constant(trained) if of_all == {trained} else value)

    def add_optimizer(self, parameters: Value) -> None:
        """The program builds an optimizer of these parameters."""
        owners = _owners_in(parameters)
        modules = None if owners is None else {id(each) for owner in owners for _, each in descendants(owner)}
        program = self._program
        program.optimized = None if modules is None or program.optimized is None else program.optimized | modules
        program.has_optimizer = True

    def may_train(self, module: Module) -> bool:
        """Whether optimizers hold parameters of a module that need gradients; True where that is unknown."""
        program, within = self._program, [each for _, each in descendants(module)]
        may_step = (
            program.optimized is None
            or not program.has_optimizer
            or any(id(each) in program.optimized for each in within)
        )
        switches = {_switch(each, name) for each in within for name in parameter_names(each)}
        return may_step and switches != {False}

    def rewrite(self, owner: Module | None) -> None:
        """The program changes parameters of a module by hand."""
        if owner is not None:
            self._program.rewritten.update(id(each) for _, each in descendants(owner))

    def load(self, module: Module, node: ast.AST) -> None:
        """The program loads weights into a module; into a part from a live model, as teachers begin."""
        source = node.args[0] if isinstance(node, ast.Call) and node.args else None
        if isinstance(source, ast.Call) and isinstance(source.func, ast.Attribute) and source.func.attr == "state_dict":
            self.rewrite(None if self.log.is_model(module) else module)

    def copy(self, original: Module, copy: Module) -> None:
        """The program copies a module."""
        self._copied_from[id(copy)] = id(original)

    def use(self, module: Module) -> None:
        """The program calls a module, or hands it to unknown code; not in a branch that its defaults do not take."""
        program = self._program
        if program.unused:
            used = {id(each) for _, each in descendants(module)} & program.unused
            program.unused -= used & program.pinned_by_choice if self.state.is_off_by_default else used

    def set_mode(self, module: Module, training: bool | None, node: ast.AST) -> None:
        """`train()` or `eval()` of a module; None where the mode is unknown."""
        program, place = self._program, self.state.place(node)
        if training and self._restores_later():
            program.on_purpose.update(id(each) for _, each in descendants(module))
            self.use(module)
        for path, each in descendants(module):
            key = id(each)
            if not path:
                program.unused.discard(key)
                program.undone.discard(key)
            if training:
                program.train_set_at[key] = place
                if path and key in program.unused:
                    program.undone.add(key)
                    program.unused.discard(key)
        if training:
            program.pins.pop(id(module), None)
            if _moves(module):
                program.on_purpose.add(id(module))
        elif training is False:
            program.pins[id(module)] = program.pins.get(id(module), 0) + 1
            builds = self.state.frame.name.rpartition(".")[2] in ("__init__", "from_pretrained")
            is_habit = self.log.is_model(module) or builds or self.log.has_weights(module)
            if _moves(module) or not (is_habit or self.state.doubts):
                program.unused.add(id(module))
                program.pinned_by_choice.update([id(module)] if self.state.is_off_by_default else [])

    def _restores_later(self) -> bool:
        """Whether a generator is running: a context manager sets the mode back after the code that it surrounds."""
        return any(each.function is not None and is_generator(each.function) for each in self.state.frames)

    def train(self, losses: Iterable[Value]) -> None:
        """The program back-propagates losses, through the models that compute them and through what feeds these."""
        program, losses = self._program, tuple(losses)
        scored = {*self.log.origins(losses)}
        for index in self.log.sources(losses):
            event = self.log.events[index]
            if not isinstance(event, Called):
                continue
            within = [each for _, each in descendants(self.log.callees[index])]
            program.feeding.update({index} - scored)
            program.feeding -= scored
            for each in within if event.grad else ():
                switches = {_switch(each, name) for name in parameter_names(each)}
                program.surely.update({id(each)} if True in switches else ())
                program.perhaps.update({id(each)} if switches - {False} else ())
            if index not in program.moving and (event.grad or index not in scored):
                program.moving[index] = frozenset(
                    id(each) for each in within if each.cells.get("training", Constant(True)) == Constant(True)
                )

    def cut(self, end: int) -> None:
        """The log drops the events from an index on."""
        self._program.moving = {index: each for index, each in self._program.moving.items() if index < end}

    def end(self) -> None:
        """The program is over: notes on its training calls which frozen norms they move."""
        for index, training in self._program.moving.items():
            event, module = self.log.events[index], self.log.callees[index]
            assert isinstance(event, Called)
            pinned = tuple(
                path
                for path, each in descendants(module)
                if id(each) in self._program.undone & training and self._program.pins.get(id(each)) == 1
            )
            owners = [*self._owners(module, training)]
            feeds = index in self._program.feeding and id(module) not in self._copied_from
            frozen = norms_of_frozen_model(owners) if feeds else ()
            frozen = frozen or (frozen_norms(owners) if event.grad else ())
            if frozen or (pinned and event.grad):
                place = self._program.train_set_at.get(id(module))
                self.log.events[index] = replace(
                    event,
                    frozen_norms=frozen,
                    undone=pinned if event.grad else (),
                    train_set_at=place,
                    backpropagated=event.grad,
                    feeds_training=feeds,
                )

    def _owners(self, model: Module, training: frozenset[int]) -> Iterator[OwnedParameters]:
        program = self._program
        own_modes = [path for path, each in descendants(model) if _sets_own_mode(each)]
        ids = {id(each) for _, each in descendants(model)}
        for path, each in descendants(model):
            layer, names, key = layer_of(each), parameter_names(each), id(each)
            norm = layer is not None and layer_named(layer.name).is_norm
            if not (names or norm):
                continue
            may_step = program.optimized is None or not program.has_optimizer or key in program.optimized
            rewritten = key in program.rewritten or self._copied_from.get(key) in ids
            trained = None
            if not may_step or key not in program.perhaps:
                trained = False
            elif key in program.surely and not rewritten:
                trained = True
            moves = key in training and key not in program.on_purpose and _moves(each)
            keeps_mode = any(f"{path}.".startswith(f"{around}.") or not around for around in own_modes)
            yield OwnedParameters(path, None if rewritten else trained, norm, not names, moves and not keeps_mode)


def _switch(owner: Module, name: str) -> bool | None:
    """Whether a parameter of a module needs gradients; None if unknown."""
    weight = owner.cells.get(name)
    if isinstance(weight, Weight):
        return True if weight.requires_grad is None else weight.requires_grad
    return truth(owner.cells.get(f"{name}.requires_grad", owner.cells.get("requires_grad", Constant(True))))


def _moves(module: Module) -> bool:
    """Whether a module is a norm that moves running statistics in train mode."""
    layer = layer_of(module)
    if layer is None or not module.cells.keys().isdisjoint(("momentum", "track_running_stats")):
        return False
    if isinstance(module, Instance) and module.definition.method("forward") is not None:
        return False
    return layer_named(layer.name).updates_statistics(partial(setting, layer))


def _sets_own_mode(module: Module) -> bool:
    """Whether a module has a `train()` that is not followed, and may keep parts of it in eval mode."""
    return "train" in module.cells


def _owners_in(parameters: Value) -> list[Module] | None:
    """The modules whose parameters an optimizer gets; None where that is unknown."""
    if isinstance(parameters, (Parameters, ParameterOf)):
        return None if parameters.owner is None else [parameters.owner]
    if isinstance(parameters, Either):
        choices = [_owners_in(each) for each in parameters.options]
        return None if None in choices else [owner for each in choices for owner in each or ()]
    if isinstance(parameters, Entries):
        return _owners_in(parameters.cells.get("params", Constant(None)))
    if not isinstance(parameters, Items):
        return None
    owners: list[Module] = []
    for each in parameters.items:
        inner = _owners_in(element(each))
        if inner is None:
            return None
        owners += inner
    return owners
