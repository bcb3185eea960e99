"""Attributes of objects, classes, layers and modules."""

from __future__ import annotations

import ast

from regcheck.files.dotted_name import decorator_names
from regcheck.static.project.names import Definition
from regcheck.torch_api.layers import layer_named

from .config_defaults import configuration_of
from .part import Part
from .state import OUTER, Frame
from .values import (
    FIXED,
    OPEN,
    VARYING,
    Bound,
    Cells,
    ClassDefinition,
    Configuration,
    Constant,
    Container,
    Either,
    External,
    Instance,
    LayerValue,
    Module,
    Namespace,
    Setting,
    Super,
    TensorRef,
    Unknown,
    UnknownObject,
    Value,
    Weight,
    as_default,
    attributes_as_dict,
    options_of,
)

_MOST_FRAMES = 60
"""Inside of more frames than this no constant of a file or class is evaluated."""
_WEIGHTS = ("weight", "bias", "in_proj_weight", "in_proj_bias")


class Attributes(Part):
    """Looks up attributes."""

    def attribute(self, owner: Value, name: str) -> Value:
        """`owner.name`."""
        kind = type(owner)
        if name.startswith("__"):
            if name == "__dict__":
                if isinstance(owner, External):
                    return External(f"{owner.name}.{name}")
                return attributes_as_dict(owner) or FIXED
            if name == "__class__" and isinstance(owner, Module):
                return self.domain.class_of(owner) or Bound(owner, name)
            if name == "__name__" and kind is External:
                return Constant(owner.name.rpartition(".")[2])  # type: ignore[union-attr]
        if kind is Instance:
            return self._of_instance(owner, name)  # type: ignore[arg-type]
        if kind is External:
            return self.state.project.member(owner, name)
        value = self.domain.attribute(owner, name)
        if value is not None:
            return value
        if isinstance(owner, Either):
            options = options_of(owner)
            return self.state.join([self.attribute(each, name) for each in options]) if options else FIXED
        if isinstance(owner, Module) and name == "training":
            return self.domain.training(owner)
        if isinstance(owner, LayerValue):
            return self._of_layer(owner, name)
        if isinstance(owner, Container) and name in owner.entries:
            entry: Value = owner.entries[name]
            return entry
        if isinstance(owner, Definition):
            return owner.method(name) or self._class_constant(owner, name)
        if isinstance(owner, Super):
            return self._of_super(owner, name)
        if isinstance(owner, Configuration):
            return owner.settings.get(name, FIXED)
        if isinstance(owner, Setting):
            return Unknown(owner.varies)
        if isinstance(owner, UnknownObject):
            return owner.part(name)
        if isinstance(owner, Unknown):
            return owner
        if isinstance(owner, Namespace):
            return self._of_namespace(owner, name)
        if isinstance(owner, TensorRef):
            return self.domain.opaque((owner,), ast.Name(name, ast.Load()))
        return _wrapped(owner, name)

    def _of_namespace(self, owner: Namespace, name: str) -> Value:
        value: Value = owner.cells.get(name, VARYING if OPEN in owner.cells else Bound(owner, name))
        return value

    def constant(self, node: ast.expr, frame: Frame) -> Value:
        """The value of an expression at the top of a file or a class; one with a state is unknown."""
        if len(self.state.frames) > _MOST_FRAMES:
            return FIXED
        with self.state.within(frame):
            value = self.evaluator.evaluate(node)
        if isinstance(value, Instance) and not value.is_module:
            return configuration_of(self.state.project, value)
        return FIXED if isinstance(value, (Module, TensorRef)) else value

    def _of_instance(self, owner: Instance, name: str) -> Value:
        if name == "training" and owner.definition.is_module:
            return self.domain.training(owner)
        value = self._member(owner, name)
        return self.domain.setting(owner, name, value) if isinstance(value, (Constant, Unknown)) else value

    def _member(self, owner: Instance, name: str) -> Value:
        """An attribute in the order of Python: of the object, its class and bases, and their torch base."""
        if name in owner.cells and name != "training":
            value: Value = owner.cells[name]
            return value
        method = owner.definition.method(name)
        if method is not None:
            assert not isinstance(method.node, ast.Lambda)
            decorators = decorator_names(method.node)
            if "staticmethod" in decorators:
                return method
            method.instance = owner
            if not decorators.isdisjoint(("property", "cached_property")):
                return self.calls.call(method, (), {}, ast.Name(name, ast.Load()))
            return method
        if owner.base is not None:
            return self.attribute(owner.base, name)
        value = self._class_constant(owner.definition, name)
        if value == FIXED and owner.definition.is_module:
            return _wrapped(owner, name)  # a base class outside of the scanned files may define it
        return value

    def _class_constant(self, owner: ClassDefinition, name: str) -> Value:
        assignment = owner.constant(name)
        if assignment is None:
            return FIXED
        definition, node = assignment
        frame = Frame(None, definition.source, Cells({OUTER: owner.outer}), owner.name)
        return as_default(self.constant(node, frame))

    def _of_super(self, owner: Super, name: str) -> Value:
        if not isinstance(owner.instance, Instance):
            return FIXED
        method = owner.instance.definition.method(name, owner.after)
        if method is None:
            return Bound(owner, name)
        method.instance = owner.instance
        return method

    def _of_layer(self, owner: LayerValue, name: str) -> Value:
        if name in _WEIGHTS:
            return Weight()
        row = layer_named(owner.name)
        if row.function and row.rate is not None and name == row.rate.name:
            return owner.argument(*row.rate)
        return owner.kwargs.get(name, Bound(owner, name) if not owner.args else FIXED)


def _wrapped(owner: Value, name: str) -> Value:
    """An attribute that is not known; a model in `DataParallel`, as whose wrapper it counts, is its own `module`."""
    return owner if name == "module" and isinstance(owner, Module) else Bound(owner, name)
