"""What the calls of torch, and everything else that is not scanned code, mean to an interpreter.

`Domain` itself knows nothing of torch's functions: that is enough to build the object that a constructor builds. Models
(`models.domain`) answer with ops, programs (`programs.domain`) with events.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence

from regcheck.static.project.files import Source

from .part import Part
from .values import (
    VARYING,
    Cells,
    Constant,
    Instance,
    Module,
    TensorRef,
    Value,
    descendants,
    unknown_from,
)

Args = tuple[Value, ...]
Kwargs = Mapping[str, Value]


class Domain(Part):
    """The questions that an interpreter asks about values; a result of None means: as for any other value."""

    observes_uses = False
    """Whether it matters which values a program uses, even in an expression whose result is unknown."""

    def globals_of(self, source: Source) -> Cells | None:
        """The names that running a file binds, where the interpreter has not run it; None: what its text says."""
        return None

    def opaque(self, values: Iterable[Value], node: ast.AST) -> Value:
        """The result of an operation that is not followed, on these values."""
        return unknown_from(values)

    def join_tensors(self, values: Sequence[Value]) -> Value:
        """The value that is one of several, some of them tensors."""
        return VARYING

    def join_parameters(self, values: Sequence[Value]) -> Value | None:
        """The value that is one of these, among which are parameters; None where they have nothing in common."""
        return None

    def joined_with_default(self, joined: Value, default: Value) -> Value:
        """The join of values of which one is the value unless the user of the program changes a setting."""
        return joined

    def arithmetic(self, name: str, values: Args, node: ast.AST) -> Value:
        """The result of an operator on values that are not constants."""
        return self.opaque(values, node)

    def zero_product(self, values: Args, node: ast.AST) -> Value:
        """The product of values of which one is the constant zero."""
        return Constant(0.0)

    def item(self, owner: Value, key: Value, node: ast.AST) -> Value:
        """`owner[key]` of a value that is no container."""
        return self.opaque((owner, key), node)

    def after_write(self, owner: Value, key: Value, value: Value, target: ast.Subscript) -> Value:
        """A tensor after `owner[key] = value`."""
        return self.opaque((owner, value), target)

    def items_of(self, value: Value) -> tuple[Value, ...] | None:
        """The items of a value that is no container."""
        return None

    def attribute(self, owner: Value, name: str) -> Value | None:
        """`owner.name`."""
        return None

    def are_same(self, left: Module, right: Module) -> bool | None:
        """Whether two modules are one object; None where a module may stand for several."""
        return None

    def class_of(self, module: Module) -> Value | None:
        """`module.__class__`."""
        return None

    def setting(self, owner: Instance, name: str, value: Value) -> Value:
        """An attribute of an object whose value is a constant or unknown."""
        return value

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """`owner.name(…)`."""
        return None

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """`module.name(…)`, where the scanned class of the module does not define the method."""
        return None

    def run_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        """`module(…)`."""
        return self.opaque((module, *args, *kwargs.values()), node)

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A call of a function or class by its canonical name, before the interpreter's own meaning of it."""
        return None

    def torch_function(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        """A call of a function of torch by its canonical name."""
        return None

    def function_result(self, values: Sequence[Value]) -> Value:
        """The result of the function in the current frame, which returns one of these values."""
        return self.state.join(values)

    def branch(self, tensors: Sequence[TensorRef]) -> None:
        """Values computed from ops select one of several alternatives."""

    def leave_function(self, node: ast.stmt) -> None:
        """The function in the current frame ends after this statement."""

    def observe_format(self, value: Value) -> None:
        """The program writes a value into a string."""

    def training(self, module: Module) -> Value:
        """The mode of a module."""
        mode: Value = module.cells.get("training", Constant(True))
        return mode

    def set_training(self, module: Module, training: Value, node: ast.AST) -> None:
        """`train()` or `eval()` of a module."""
        for _, each in descendants(module):
            self.state.set(each.cells, "training", training)

    def assign_training(self, owner: Value, training: Value, node: ast.AST) -> None:
        """`owner.training = …`: submodules keep their modes."""
        if isinstance(owner, Module):
            self.state.set(owner.cells, "training", training)

    def copy_of(self, value: Value) -> Value:
        """A copy of a value."""
        return value
