"""An abstract interpreter of Python, composed of parts.

The parts are the state, the containers, the attributes, the evaluator (expressions), the call resolver, the statements,
and the domain: what torch's calls mean. The same parts build models, lower a `forward` to ops, and read programs as
events; what differs between these is the domain, and those parts that a caller hands in instead of the ordinary ones.
"""

from __future__ import annotations

from regcheck.static.project.names import Project

from .attributes import Attributes
from .calls import Calls
from .containers import Containers
from .declared_options import DeclaredOptions
from .domain import Domain
from .evaluator import Evaluator
from .state import State
from .statements import Statements


class Interpreter:
    """The parts of one interpreter, connected to each other."""

    def __init__(
        self,
        project: Project,
        domain: Domain,
        *,
        evaluator: Evaluator | None = None,
        calls: Calls | None = None,
        statements: Statements | None = None,
    ) -> None:
        self.state = State(project, domain)
        self.domain = domain
        self.containers = Containers()
        self.attributes = Attributes()
        self.options = DeclaredOptions()
        self.evaluator = evaluator or Evaluator()
        self.calls = calls or Calls()
        self.statements = statements or Statements()
        parts = self.containers, self.attributes, self.options, self.evaluator, self.calls, self.statements
        for part in (domain, *parts):
            part.connect(self)
