"""The base class of the parts that an interpreter is composed of."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from .attributes import Attributes
    from .calls import Calls
    from .containers import Containers
    from .declared_options import DeclaredOptions
    from .domain import Domain
    from .evaluator import Evaluator
    from .interpreter import Interpreter
    from .state import State
    from .statements import Statements


class Part:
    """One part of an interpreter. The others are its attributes, from the time that `connect` is called."""

    lasting: ClassVar[tuple[str, ...]] = ()
    """The attributes, sets and dicts, with facts about objects that outlive the program in which they come to be."""

    state: State
    domain: Domain
    containers: Containers
    attributes: Attributes
    evaluator: Evaluator
    calls: Calls
    options: DeclaredOptions
    statements: Statements

    def connect(self, interpreter: Interpreter) -> None:
        self.state = interpreter.state
        self.domain = interpreter.domain
        self.containers = interpreter.containers
        self.attributes = interpreter.attributes
        self.evaluator = interpreter.evaluator
        self.calls = interpreter.calls
        self.options = interpreter.options
        self.statements = interpreter.statements
