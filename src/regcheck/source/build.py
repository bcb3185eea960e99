"""Building the object a class's constructor makes."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from .interpret import Interpreter
from .machine import Frame
from .names import Definition
from .values import Cells, Instance, Known, Value

_SWITCH = re.compile(r"sdpa|flash|xformers|mem(ory)?_?eff\w*_?att|drop", re.IGNORECASE)


class Builder(Interpreter):
    """Interprets constructors."""

    def built(self, definition: Definition, otherwise: Value | None = None) -> Instance:
        """An instance made without arguments; `otherwise` stands for every parameter in place of its default."""
        kwargs: dict[str, Value] = {}
        method = definition.method("__init__")
        if otherwise is not None and method is not None:
            spec = method.node.args
            kwargs = {each.arg: otherwise for each in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)[1:]}
        return self._made(definition, kwargs)

    def switched_on(self, definition: Definition) -> Instance | None:
        """An instance with the kinds of attention and dropout that it leaves aside by default; None if there are none.

        Whoever asks for a fast attention, say, runs a path that no instance runs of which nobody asked anything.
        """
        method = definition.method("__init__")
        switches = _switches(method.node.args) if method is not None else []
        return self._made(definition, dict.fromkeys(switches, Known(True))) if switches else None

    def _made(self, definition: Definition, kwargs: Mapping[str, Value]) -> Instance:
        with self.entered(Frame(None, definition.source, Cells())):
            instance = Instance(self.place(definition.node), definition=definition)
            self.initialize(instance, (), kwargs, definition.node)
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
