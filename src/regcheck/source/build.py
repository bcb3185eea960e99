"""Building the object a class's constructor makes."""

from __future__ import annotations

from .interpret import Interpreter
from .machine import Frame
from .names import Definition
from .values import Cells, Instance, Value


class Builder(Interpreter):
    """Interprets constructors."""

    def built(self, definition: Definition, otherwise: Value | None = None) -> Instance:
        """An instance made without arguments; `otherwise` stands for every parameter in place of its default."""
        with self.entered(Frame(None, definition.source, Cells())):
            kwargs: dict[str, Value] = {}
            method = definition.method("__init__")
            if otherwise is not None and method is not None:
                spec = method.node.args
                kwargs = {each.arg: otherwise for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)[1:]}
            instance = Instance(self.place(definition.node), definition=definition)
            self.initialize(instance, (), kwargs, definition.node)
        return instance
