"""Limits that a program puts on its weights: by a clamp, by `renorm`, or by scaling with a clamped norm."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass

from regcheck.core.usage import ConstraintNotKept
from regcheck.files.dotted_name import last_name
from regcheck.files.place import Place
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import Instance, Module, Unknown, Value, descendants

from .events import EventLog
from .penalties import LayerWeight, Penalty

_CLAMPS = frozenset("clamp clip clamp_min clamp_max".split())
_LIMITS = _CLAMPS | {"renorm"}
_NORMS = frozenset("norm vector_norm".split())
_BOUNDS = _CLAMPS | frozenset("clamp_ minimum min".split())
_SCALING = frozenset("mul_ div_ copy_".split())
_FILLING = re.compile(rb"\binit\.|(?:normal|uniform|orthogonal|eye|constant|fill|random|dirac|sparse|zero)_\(")
"""Fills weights: what limits them in the same function is a part of their initialization."""
_APPLYING = re.compile(rb"renorm|no_grad|\.data\b|weight\.cl(?:amp|ip)")
"""What a `forward` says that limits weights itself."""
_OF_STARTS = re.compile(r"(?:^|_)(?:init\w*|reset\w*|load\w*|convert\w*|quanti\w+|prun\w+|merge\w*)", re.IGNORECASE)
"""Found in the names of functions that prepare weights once."""


@dataclass(frozen=True)
class Limited(Unknown):
    """The limited weights of a module, which are not yet written back."""

    weights: Module | None = None
    call: str = ""


@dataclass
class _Constraint:
    """A limit that the program puts on the weights of a module, in a function that is running or the top of a file.

    Attributes:
        weights: the ids of the module and its parts.
        trained: the model that the program trains afterwards.
        loops: the loops that are running around it.
        passes: the number of backward passes since; those in a loop of their own count as many.
        is_inline: the function that applies it also trains.
    """

    place: Place
    frame: Frame
    weights: frozenset[int]
    call: str
    loops: tuple[ast.AST, ...]
    trained: Module | None = None
    passes: int = 0
    is_inline: bool = False


class Constraints(Part):
    """Adds an event for each limit that the program applies before it trains the weights and not again, or never."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._applied: list[_Constraint] = []
        self._trained: set[int] = set()

    def begin(self) -> None:
        """A program begins."""
        self._applied.clear()
        self._trained.clear()

    def limited(self, owner: Value | None, name: str) -> Limited | None:
        """The result of a function or method of torch on weights, if that limits them."""
        weights = _weights_of(owner)
        return Limited(True, weights=weights, call=name) if weights is not None and name in _LIMITS else None

    def write(self, owner: Value, name: str, value: Value, node: ast.AST) -> None:
        """The program writes to a parameter by an in-place method, `*=` or an assignment to its `data`."""
        weights = _weights_of(owner)
        if weights is None:
            return
        if isinstance(value, Limited):
            self._apply(weights, value.call, node)
        elif name.removesuffix("_") in _LIMITS and name.endswith("_"):
            self._apply(weights, name, node)
        elif name in _SCALING and _clamps_a_norm(self.state.frame, node):
            self._apply(weights, "norm", node)

    def _apply(self, weights: Module, call: str, node: ast.AST) -> None:
        ids = frozenset(id(each) for _, each in descendants(weights))
        if not ids.isdisjoint(self._trained):
            self._applied = [each for each in self._applied if each.weights.isdisjoint(ids)]
        elif not self._prepares(node):
            self._applied.append(
                _Constraint(self.state.place(node), self.state.frame, ids, call, tuple(self.log.loops))
            )

    def _prepares(self, node: ast.AST) -> bool:
        """Whether the running functions initialize or convert weights, or a hook of the file may limit them."""
        frame = self.state.frame
        names = [each.name.rpartition(".")[2] for each in self.state.frames if each.function is not None]
        if any(name != "__init__" and _OF_STARTS.search(name) for name in names):
            return True
        content = frame.source.content
        if frame.function is not None and not isinstance(frame.function.node, ast.Lambda):
            text = frame.source.text_of(frame.function.node)
        else:
            target = ast.unparse(_target(node)).removesuffix(".data").encode()
            text = b"\n".join(each for each in content.splitlines() if target in each)
        return _FILLING.search(text) is not None or b"parametriz" in content or b"_hook(" in content

    def _mentions(self, name: str) -> int:
        """How often the project names a function, its definition included."""
        word = re.compile(rb"\b%b\b" % re.escape(name.encode()))
        return sum(len(word.findall(each.content)) for each in self.state.project.sources)

    def train(self, losses: Iterable[Value]) -> None:
        """The program back-propagates losses."""
        for index in self.log.sources(losses):
            module = self.log.callees[index]
            within = {id(each) for _, each in descendants(module)}
            self._trained |= within
            for each in self._applied:
                if not each.weights.isdisjoint(within):
                    each.trained, each.passes = module, each.passes + (2 if {*self.log.loops} - {*each.loops} else 1)
                    each.is_inline = any(frame is each.frame for frame in self.state.frames)

    def end(self) -> None:
        """The program is over."""
        for each in self._applied:
            if each.trained is None or each.passes < 2 or not self.log.steps or _limits_itself(each.trained):
                continue
            name = each.frame.name.rpartition(".")[2]
            is_helper = each.frame.function is not None and not each.is_inline and name != "__init__"
            if not is_helper or self._mentions(name) <= 2:
                model = self.log.subject(each.trained)
                self.log.events.append(ConstraintNotKept(each.place, each.frame.name, model=model, call=each.call))


def _target(node: ast.AST) -> ast.AST:
    """The expression for the weights that a statement or call writes to."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.value
    return node.target if isinstance(node, ast.AugAssign) else node


def _limits_itself(model: Module) -> bool:
    """Whether a `forward` in a model may limit weights."""
    methods = [each.definition.method("forward") for _, each in descendants(model) if isinstance(each, Instance)]
    return any(
        _APPLYING.search(each.source.text_of(each.node)) is not None
        for each in methods
        if each is not None and not isinstance(each.node, ast.Lambda)
    )


def _weights_of(value: Value | None) -> Module | None:
    """The module whose weights a value is, without their biases."""
    if isinstance(value, LayerWeight):
        return value.layer if value.name == "weight" else None
    return value.module if isinstance(value, Penalty) and value.is_weight else None


def _clamps_a_norm(frame: Frame, node: ast.AST) -> bool:
    """Whether a function, or a statement of a file's top, computes a norm and clamps a value, as a max-norm does."""
    place = getattr(node, "lineno", 0)
    tops = (each for each in frame.source.tree.body if each.lineno <= place <= (each.end_lineno or place))
    scope = next(tops, None) if frame.function is None else frame.function.node
    calls = (each for each in ast.walk(scope) if isinstance(each, ast.Call)) if scope is not None else ()
    names = {last_name(each.func) for each in calls}
    return not names.isdisjoint(_NORMS) and not names.isdisjoint(_BOUNDS)
