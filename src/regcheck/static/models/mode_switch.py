"""A model's mode after `train()` and `eval()`, where classes in the model override these methods."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from regcheck.core.errors import CannotTrace
from regcheck.static.interpreter.domain import Args
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    VARYING,
    Constant,
    Function,
    Instance,
    Items,
    Module,
    Value,
    descendants,
    tick,
)
from regcheck.static.project.names import parameters_of

_ON, _OFF = Constant(True), Constant(False)
_STEP = 256
"""What one step of the interpreter may handle: setting a module's flag takes one."""
_CHILDREN = ("children", "named_children")


class ModeSwitch(Part):
    """Calls `train()` and then `eval()` of a model, as its user does: what `train()` leaves behind stays."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.running = False
        self._touched: dict[int, Module] = {}
        self._modes: dict[int, Value] = {}

    def run(self) -> bool | None:
        """Leaves the model as `eval()` does; whether that is more than every registered module in eval mode.

        None if the methods cannot be followed, or raise.
        """
        state, node = self.state, ast.Name("eval", ast.Load(), lineno=1, col_offset=0)
        registered = {id(each): each for _, each in descendants(self.model)}
        mark, began, cuts = len(state.trail), tick(), state.cuts
        self.running = True
        try:
            own = _own_train(self.model)
            if own is None or not _requests_mode(own):
                self.set_training(self.model, _ON, node)
            else:
                self.calls.method(self.model, "train", (_ON,), {}, node)
            self.calls.method(self.model, "eval", (), {}, node)
        except (CannotTrace, RecursionError):
            return None
        finally:
            self.running = False
        if state.cuts > cuts:
            return None
        self._modes = {key: each.cells.get("training", _ON) for key, each in (registered | self._touched).items()}
        others = [key for cells, key, _ in state.trail[mark:] if cells.born <= began and key != "training"]
        return bool(others) or any(self._modes[key] != (_OFF if key in registered else None) for key in self._modes)

    def mode_of(self, module: Module) -> Value | None:
        """The mode that the switch left a module in; None if it did not reach it, or code set another mode since."""
        mode: Value = module.cells.get("training", _ON)
        return mode if self.running or self._modes.get(id(module)) is mode else None

    def set_flag(self, module: Module, training: Value) -> None:
        self._touched[id(module)] = module
        self.state.set(module.cells, "training", training)

    def set_training(self, module: Module, training: Value, node: ast.AST) -> None:
        """`nn.Module.train`: sets the module's flag and calls `train` of its children."""
        self.state.spend(_STEP)
        self.set_flag(module, training)
        for _, child in module.children():
            own = _own_train(child)
            running = [each.function.node for each in self.state.frames if each.function is not None]
            if own is None:
                self.set_training(child, training, node)
            elif running.count(own.node) > 1:
                self.forget(child)
            else:
                self.calls.method(child, "train", (training,), {}, ast.Name("train", ast.Load()))

    def forget(self, module: Module) -> None:
        """Unknown code may set the modes of a module and its submodules."""
        for _, each in descendants(module):
            self.set_flag(each, VARYING)

    def method(self, module: Module, name: str, args: Args, node: ast.expr) -> Value | None:
        """Methods of `nn.Module` that overrides call; None for another one."""
        if name == "eval" and _own_train(module) is not None:
            return self.calls.method(module, "train", (_OFF,), {}, node)
        if name == "apply" and args:
            for _, each in descendants(module):
                self.calls.call(args[0], (each,), {}, node)
            return module
        parts = [*(module.children() if name in _CHILDREN else descendants(module))]
        if name in ("modules", "children"):
            return Items.of(tuple([each for _, each in parts]))
        if name in ("named_modules", "named_children"):
            return Items.of(tuple([Items.of((Constant(path), each), mutable=False) for path, each in parts]))
        return None


def overrides_of(model: Module) -> frozenset[int]:
    """The `train` and `eval` methods of the classes in a model, by the ids of their nodes."""
    classes = {each.definition for _, each in descendants(model) if isinstance(each, Instance)}
    methods = (each.method(name) for each in classes for name in ("train", "eval"))
    return frozenset([id(each.node) for each in methods if each is not None])


def overriding(module: Module) -> Iterator[Module]:
    """The uppermost of a module and its submodules whose classes override `train()`."""
    todo, seen = [module], set[int]()
    while todo:
        each = todo.pop()
        own = each.definition.method("train") if isinstance(each, Instance) else None
        if own is not None and _requests_mode(own):
            yield each
        elif id(each) not in seen:
            seen.add(id(each))
            todo += [child for _, child in each.children()]


def _own_train(module: Module) -> Function | None:
    """The `train` method of a module's class, if it overrides torch's.

    Raises:
        CannotTrace: `eval()` raises, because the method takes more than a mode.
    """
    own = module.definition.method("train") if isinstance(module, Instance) else None
    if own is not None and sum(default is None for _, default in _parameters(own)) > 1:
        raise CannotTrace("`eval()` calls a `train()` that takes more than a mode")
    return own


def _requests_mode(train: Function) -> bool:
    """Whether a `train` method takes a mode, and is not a training loop."""
    parameters = _parameters(train)
    default = parameters[0][1] if parameters else None
    if sum(each is None for _, each in parameters) > 1:
        return False
    return default is None or (isinstance(default, ast.Constant) and isinstance(default.value, bool))


def _parameters(method: Function) -> list[tuple[ast.arg, ast.expr | None]]:
    """The parameters after `self`, with their defaults."""
    return [*parameters_of(method.node.args)][1:]
