"""Attributes: of objects, classes, layers, modules and packages."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from regcheck.static.project.names import Definition
from regcheck.torch_api.layers import layer_named

from .state import OUTER, Frame, Machine
from .values import (
    Bound,
    Cells,
    Configuration,
    Constant,
    Container,
    Either,
    External,
    Function,
    Instance,
    LayerValue,
    Module,
    Super,
    TensorRef,
    Unknown,
    UnknownSetting,
    Value,
    Weight,
    fallen_back_on,
)


class Attributes(Machine):
    """The evaluator of attributes."""

    def constant(self, node: ast.expr, frame: Frame) -> Value:
        """A constant or a function bound at the top of a file or a class; objects with a state are not constants."""
        if len(self.frames) > 60:
            return Unknown()
        with self.entered(frame):
            value = self.evaluate(node)
        return Unknown() if isinstance(value, (Module, TensorRef)) else value

    def _eval_attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.evaluate(node.value), node.attr)

    def attribute(self, owner: Value, name: str) -> Value:
        if isinstance(owner, External):
            return self.project.member(owner, name)
        if isinstance(owner, Either):
            options = [each for each in owner.options if each != Constant(None)]
            return self.join([self.attribute(each, name) for each in options]) if options else Unknown()
        if isinstance(owner, Instance):
            return self._instance_attribute(owner, name)
        if isinstance(owner, Module) and name == "training":
            return self.training(owner)
        if isinstance(owner, LayerValue):
            return self._layer_attribute(owner, name)
        if isinstance(owner, Container) and name in owner.entries:
            inner: Value = owner.entries[name]
            return inner
        if isinstance(owner, Definition):
            method = owner.method(name)
            return method or self._class_constant(owner, name)
        if isinstance(owner, Super):
            return self._super_attribute(owner, name)
        if isinstance(owner, Configuration):
            return UnknownSetting() if name in owner.zeros else Unknown()
        if isinstance(owner, Unknown):
            return owner
        if isinstance(owner, TensorRef):
            return self.opaque((owner,), ast.Name(name, ast.Load()))
        return Bound(owner, name)

    def _instance_attribute(self, owner: Instance, name: str) -> Value:
        if name in owner.cells and name != "training":
            found: Value = owner.cells[name]
            return found
        if name == "training" and owner.definition.is_module:
            return self.training(owner)
        method = owner.definition.method(name)
        if method is not None:
            decorators = {each.id for each in _decorators(method) if isinstance(each, ast.Name)}
            if "staticmethod" in decorators:
                return method
            method.instance = owner
            if decorators & {"property", "cached_property"}:
                return self.call(method, (), {}, ast.Name(name, ast.Load()))
            return method
        if owner.base is not None:
            return self.attribute(owner.base, name)
        found = self._class_constant(owner.definition, name)
        return found if found != Unknown() else self.missing(owner, name)

    def missing(self, owner: Instance, name: str) -> Value:
        """An attribute that is neither set nor defined in the scanned files: inherited from elsewhere."""
        return Bound(owner, name) if owner.definition.is_module else Unknown()

    def _class_constant(self, owner: Definition, name: str) -> Value:
        found = owner.constant(name)
        if found is None:
            return Unknown()
        frame = Frame(None, found[0].source, Cells({OUTER: owner.outer}), owner.name)
        return fallen_back_on(self.constant(found[1], frame))

    def _super_attribute(self, owner: Super, name: str) -> Value:
        if not isinstance(owner.instance, Instance):
            return Unknown()
        method = owner.instance.definition.method(name, owner.after)
        if method is None:
            return Bound(owner, name)
        method.instance = owner.instance
        return method

    def _layer_attribute(self, owner: LayerValue, name: str) -> Value:
        if name in ("weight", "bias", "in_proj_weight", "in_proj_bias"):
            return Weight()
        row = layer_named(owner.name)
        if row.function and row.rate is not None and name == row.rate.name:
            return owner.argument(*row.rate)
        return owner.kwargs.get(name, Bound(owner, name) if not owner.args else Unknown())


def _decorators(function: Function) -> Sequence[ast.expr]:
    return [] if isinstance(function.node, ast.Lambda) else function.node.decorator_list
