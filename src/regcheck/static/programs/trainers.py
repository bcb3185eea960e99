"""Trainers of Lightning and transformers: what their methods do to the mode of a model."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from regcheck.core.usage import Backward
from regcheck.files.syntax import walk
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    OPEN,
    ClassDefinition,
    Instance,
    Module,
    UnknownObject,
    Value,
    argument,
    leaves,
)
from regcheck.static.models.inspection import modes

from .events import EventLog

_LIGHTNING = ("lightning", "pytorch_lightning")
_TRANSFORMERS = ("transformers.Trainer", "transformers.Seq2SeqTrainer")
_RESTORING = ("validate", "test")
_POSITION_OF_EVAL_DATASET = 5
_MAY_SWITCH = frozenset(("eval_dataset", "callbacks", "model_init", OPEN))
"""Arguments of transformers' trainer that may leave its model in another mode, or train another model."""
_LEAVING = ("save", "log", "push", "create_model_card")
_SWITCHING = frozenset(("eval", "train", "training", "freeze", "unfreeze"))


class Trainers(Part):
    """Follows the modes of models through the trainers that the program builds.

    Lightning's `fit`, `validate` and `test` leave a model in train mode if it was in train mode; about other modes its
    versions differ. transformers' `train` puts its model in train mode, and an evaluation puts it in eval mode.
    """

    lasting = ("_callbacks", "_models")

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._callbacks: dict[UnknownObject, tuple[Value, ...]] = {}
        self._models: dict[UnknownObject, tuple[Value, ast.expr]] = {}

    def built(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """The trainer that a call of another package builds; None if it builds none that can be followed."""
        package, _, last = name.rpartition(".")
        if last == "Trainer" and package.partition(".")[0] in _LIGHTNING:
            trainer = UnknownObject(True)
            self._callbacks[trainer] = tuple(kwargs.values())
            return trainer
        if name not in _TRANSFORMERS or not _MAY_SWITCH.isdisjoint(kwargs) or not isinstance(node, ast.Call):
            return None
        model = argument(args, kwargs, 0, "model")
        if len(args) >= _POSITION_OF_EVAL_DATASET or not isinstance(model, (Module, UnknownObject)):
            return None
        source = node.args[0] if node.args else next(each.value for each in node.keywords if each.arg == "model")
        trainer = UnknownObject(True)
        self._models[trainer] = model, source
        if isinstance(model, UnknownObject):
            trainer.parts["model"] = model
        return trainer

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """The result of a trainer's method; None if it is unknown code."""
        if not isinstance(owner, UnknownObject):
            return None
        if owner in self._models:
            return self._method_of_transformers(owner, name, node)
        model = argument(args, kwargs, 0, "model")
        if owner not in self._callbacks or name not in ("fit", *_RESTORING) or not isinstance(model, Instance):
            return None
        if modes(model)[0] is not True or self._may_switch(model, owner):
            return None
        if name == "fit":
            self._note_training(node)
        others = [value for name, value in kwargs.items() if name != "model"]
        return self.domain.opaque((*args[1:], *others), node)

    def _method_of_transformers(self, trainer: UnknownObject, name: str, node: ast.expr) -> Value | None:
        model, source = self._models[trainer]
        if name == "train":
            call = ast.Call(ast.Attribute(source, "train", ast.Load()), [], [])
            self.calls.method(model, "train", (), {}, ast.copy_location(call, node))
            self._note_training(node)
        elif not name.startswith(_LEAVING):
            if name != "model":
                self.domain.opaque((model,), node)
            return None
        return UnknownObject(True)

    def _note_training(self, node: ast.expr) -> None:
        """The trainer back-propagates, in a function of its own."""
        with self.state.within(replace(self.state.frame, name="optimizer_closure")):
            self.log.add(Backward, node)

    def _may_switch(self, model: Instance, trainer: UnknownObject) -> bool:
        """Whether the classes of a model and of its callbacks set modes themselves."""
        callbacks = [each for each in leaves(*self._callbacks[trainer]) if isinstance(each, Instance)]
        return any(sets_modes(each.definition.mro) for each in (model, *callbacks))


def sets_modes(classes: Sequence[ClassDefinition]) -> bool:
    """Whether the source of a class names a mode or what sets it."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in _SWITCHING for each in classes for node in walk(each.node)
    )
