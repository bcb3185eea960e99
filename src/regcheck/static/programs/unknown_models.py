"""Models of unknown classes: handed in, built by name or by another package. Only their modes are followed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from regcheck.files.dotted_name import last_name
from regcheck.static.interpreter.calls import SELF_RETURNING
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    VARYING,
    Cells,
    Constant,
    External,
    UnknownModel,
    UnknownObject,
    Value,
    argument,
    leaves,
)
from regcheck.static.project.names import parameters_of

from .events import EventLog

LEAVING_MODES = frozenset(
    "parameters named_parameters buffers named_buffers state_dict load_state_dict zero_grad get_parameter extra_repr"
    " register_forward_hook register_forward_pre_hook register_full_backward_hook modules named_modules children"
    " named_children get_submodule get_buffer double_ float_".split()
)
"""Methods of modules that leave the mode alone."""
BESIDE_MODES = frozenset(
    "update append add info log write scale unscale_ set_postfix set_epoch set_description".split()
)
"""Methods of other objects (averages, metrics, loggers) that leave alone the models that these were built from."""


class UnknownModels(Part):
    """Follows the modes of objects that may be models.

    An object is a model from the time that the program calls its `train()` or `eval()`. The mode of one that unknown
    code may switch is unknown: code that receives it, or that something was built from it.
    """

    lasting = ("_of_transformers",)

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._models: list[UnknownObject] = []
        self._of_transformers: set[UnknownObject] = set()

    def begin(self) -> None:
        """A program begins: nobody has set a mode."""
        for each in self._models:
            each.model.cells.pop("training", None)
        self._models.clear()

    def result_of(self, values: Iterable[Value], call: ast.Call) -> UnknownObject:
        """The result of unknown code that receives values."""
        origins = tuple([each for each in leaves(*values) if isinstance(each, UnknownObject)])
        result = UnknownObject(True, origins=origins)
        if last_name(call.func) == "from_pretrained" and self._names_transformers(call.func):
            self._of_transformers.add(result)
        return result

    def _names_transformers(self, node: ast.expr) -> bool:
        """Whether an expression names something of transformers."""
        value = self.state.project.resolve(self.state.frame.source, node)
        return isinstance(value, External) and value.name.startswith("transformers.")

    def _is_of_transformers(self, value: UnknownObject, node: ast.expr) -> bool:
        """Whether transformers loads an object, or what it was built from, or the annotation of its name says so."""
        if not self._of_transformers.isdisjoint({value, *_sources(value)}):
            return True
        function = self.state.frame.function
        if function is None or not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            return False
        annotations = (
            each.annotation
            for each, _ in parameters_of(function.node.args)
            if isinstance(node.func.value, ast.Name) and each.arg == node.func.value.id
        )
        return any(each is not None and self._names_transformers(each) for each in annotations)

    def copy_of(self, value: UnknownObject) -> UnknownObject:
        """A copy with a mode of its own."""
        copy = UnknownObject(value.varies, UnknownModel(None, Cells(value.model.cells), value.model.name))
        self.log.copies.add(id(copy.model))
        if self.is_model(copy):
            self._models.append(copy)
        return copy

    def is_model(self, value: Value) -> bool:
        """Whether the program has set the mode of an object."""
        return isinstance(value, UnknownObject) and "training" in value.model.cells

    def unsettle(self, value: UnknownObject) -> None:
        """Unknown code may set the mode of an object, and of its parts."""
        if value.name in ("train", "eval") and value.owner is not None:
            value = value.owner
        for each in value.within():
            self._forget_mode(each)

    def unsettle_all(self) -> None:
        """Unknown code may set any mode."""
        for each in self._models:
            self._forget_mode(each)

    def _forget_mode(self, value: UnknownObject) -> None:
        if self.is_model(value):
            self.state.set(value.model.cells, "training", VARYING)

    def method(self, owner: UnknownObject, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """The result of `owner.name(…)`; None if it is unknown code."""
        if name in ("train", "eval"):
            mode = Constant(False) if name == "eval" else argument(args, kwargs, 0, "mode", True)
            if isinstance(mode, Constant) and isinstance(mode.value, bool):
                self._set_mode(owner, mode, node)
            else:
                self._unsettle_related(owner)
                self.unsettle(owner)
            return owner
        if name in SELF_RETURNING and name != "apply":
            return owner
        if name in ("forward", "__call__") and self.is_model(owner):
            return self.domain.run_module(owner.model, args, kwargs, node)
        if name == "generate" and self.is_model(owner) and self._is_of_transformers(owner, node):
            return self.log.decide([self.domain.run_module(owner.model, args, kwargs, node)])
        if name in owner.parts and self.is_model(owner.parts[name]):
            return self.domain.run_module(owner.parts[name].model, args, kwargs, node)
        self._unsettle_related(owner)
        return None

    def _set_mode(self, owner: UnknownObject, mode: Constant, node: ast.expr) -> None:
        self._unsettle_related(owner)
        for each in _owners(owner):
            if each.model.cells.get("training") != mode:
                self._forget_mode(each)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner.model.name = ast.unparse(node.func.value)
        for each in owner.within():
            if each is owner or self.is_model(each):
                if not self.is_model(each):
                    self._models.append(each)
                self.domain.set_training(each.model, mode, node)

    def _unsettle_related(self, value: UnknownObject) -> None:
        """The mode of an object may change: that of what it was built from, and of what was built from it, may too."""
        for source in _sources(value):
            self.unsettle(source)
        wholes = {value, *_owners(value)}
        for each in self._models:
            if each is not value and not wholes.isdisjoint(_sources(each)):
                self._forget_mode(each)


def _owners(value: UnknownObject) -> Iterator[UnknownObject]:
    """The objects that an object is a part of, the nearest first."""
    while value.owner is not None:
        value = value.owner
        yield value


def _sources(value: UnknownObject) -> set[UnknownObject]:
    """The objects that an object was built from, directly or not."""
    sources: set[UnknownObject] = set()
    todo = [value]
    while todo:
        each = todo.pop()
        fresh = {origin for whole in (each, *_owners(each)) for origin in whole.origins} - sources
        sources |= fresh
        todo += fresh
    return sources - {value}
