"""Building the object a class's constructor makes."""

from __future__ import annotations

import ast
import re

from .interpret import Interpreter
from .machine import Frame
from .names import Definition
from .values import Cells, Instance, Known, Value

_SWITCH = re.compile(r"sdpa|flash|xformers|mem(ory)?_?eff|drop", re.IGNORECASE)


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

    def switched_on(self, definition: Definition) -> Instance | None:
        """An instance that takes the kinds of attention and dropout which it leaves aside by default, if there are any.

        The other path through a fast attention, say, is run by all who ask for it, and by no instance that nobody
        asked anything of.
        """
        method = definition.method("__init__")
        switches = _switches(method.node.args) if method is not None and not isinstance(method.node, ast.Lambda) else []
        if not switches:
            return None
        with self.entered(Frame(None, definition.source, Cells())):
            instance = Instance(self.place(definition.node), definition=definition)
            self.initialize(instance, (), {name: Known(True) for name in switches}, definition.node)
        return instance


def _switches(spec: ast.arguments) -> list[str]:
    """The parameters of a constructor that are false by default and whose names speak of attention or dropout."""
    named = [*spec.posonlyargs, *spec.args]
    pairs = [*zip(named[len(named) - len(spec.defaults) :], spec.defaults, strict=True)]
    pairs += [(each, node) for each, node in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if node]
    return [
        each.arg
        for each, default in pairs
        if isinstance(default, ast.Constant) and default.value is False and _SWITCH.search(each.arg)
    ]
