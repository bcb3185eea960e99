"""Limits that a program puts on its weights: by a clamp, by `renorm`, or by scaling with a clamped norm."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable

from regcheck.core.usage import ConstraintNotKept
from regcheck.files.dotted_name import last_name
from regcheck.files.place import Place
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.state import Frame
from regcheck.static.interpreter.values import ClassDefinition, Instance, Module, Unknown, Value, argument, descendants
from regcheck.static.project.files import Source
from regcheck.static.torch_calls import number_of

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
_OF_CALLERS = re.compile(r"__|on_|test_|configure_|forward|\w+_step$")
"""Begins the names of functions that a library calls."""
_OF_WEIGHTS = re.compile(r"weight|\.data\b|param|^[pw]$")
"""Found in expressions for weights."""


@dataclass(frozen=True)
class _Limit:
    """The function of torch that limits weights, and the limits as far as source says them; see `ConstraintNotKept`."""

    call: str
    lowest: float | None = None
    highest: float | None = None
    axis: int | None = None

    @classmethod
    def of(cls, call: str, args: Args, kwargs: Kwargs) -> _Limit:
        """The limit by a call; `args` are those after the weights."""

        def number(position: int, name: str) -> float | None:
            return number_of(argument(args, kwargs, position, name))

        match call.removesuffix("_"):
            case "renorm":
                axis = number(1, "dim") if number(0, "p") == 2 else None
                highest = number(2, "maxnorm") if axis is not None else None
                return cls(call, None, highest, None if axis is None else int(axis))
            case "clamp_min":
                return cls(call, number(0, "min"))
            case "clamp_max":
                return cls(call, None, number(0, "max"))
            case _:
                return cls(call, number(0, "min"), number(1, "max"))


@dataclass(frozen=True)
class Limited(Unknown):
    """The limited weights of a module, which are not yet written back."""

    weights: Module | None = None
    limit: _Limit = _Limit("")


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
    limit: _Limit
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
        self._around: dict[ClassDefinition | Source, Module] = {}
        """The files and classes that train, and those of the trained models, each with a model that is trained."""

    def begin(self) -> None:
        """A program begins."""
        self._applied.clear()
        self._trained.clear()
        self._around.clear()

    def limited(self, owner: Value | None, name: str, args: Args, kwargs: Kwargs) -> Limited | None:
        """The result of a function or method of torch on weights, if that limits them; `args` are those after these."""
        weights = _weights_of(owner)
        if weights is None or name not in _LIMITS:
            return None
        return Limited(True, weights=weights, limit=_Limit.of(name, args, kwargs))

    def write(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> None:
        """The program writes to a parameter by an in-place method, `*=` or an assignment to its `data`."""
        weights = _weights_of(owner)
        if weights is None:
            return
        value = args[0] if args else None
        if isinstance(value, Limited):
            self._apply(weights, value.limit, node)
        elif name.removesuffix("_") in _LIMITS and name.endswith("_"):
            self._apply(weights, _Limit.of(name, args, kwargs), node)
        elif name in _SCALING and _clamps_a_norm(self.state.frame, node):
            self._apply(weights, _Limit("norm"), node)

    def _apply(self, weights: Module, limit: _Limit, node: ast.AST) -> None:
        ids = frozenset(id(each) for _, each in descendants(weights))
        if not ids.isdisjoint(self._trained):
            self._applied = [each for each in self._applied if each.weights.isdisjoint(ids)]
        elif not self._prepares(node):
            self._applied.append(
                _Constraint(self.state.place(node), self.state.frame, ids, limit, tuple(self.log.loops))
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

    def _mentions(self, source: Source, name: str) -> int:
        """How often a file and those that import it name a function of the file, its definition included."""
        word = re.compile(rb"\b%b\b" % re.escape(name.encode()))
        self.state.project.mentioned.add(name)
        users = (each for each in self.state.project.sources if source.tail in each.imported_words)
        mentions = {each: len(word.findall(each.content)) for each in {source, *users}}
        self.state.project.modules.reached.update(each for each, count in mentions.items() if count)
        return sum(mentions.values())

    def train(self, losses: Iterable[Value]) -> None:
        """The program back-propagates losses."""
        for index in self.log.sources(losses):
            module = self.log.callees[index]
            owners = (each.function.owner for each in self.state.frames if each.function is not None)
            parts = (each.definition for _, each in descendants(module) if isinstance(each, Instance))
            files = (each.source for each in self.state.frames)
            self._around |= {each: module for each in (*owners, *parts, *files) if each is not None}
            within = {id(each) for _, each in descendants(module)}
            self._trained |= within
            for each in self._applied:
                if not each.weights.isdisjoint(within):
                    each.trained, each.passes = module, each.passes + (2 if {*self.log.loops} - {*each.loops} else 1)
                    each.is_inline = any(frame is each.frame for frame in self.state.frames)

    def end(self) -> None:
        """The program is over."""
        if self.log.steps:
            self._find_uncalled()
        for each in self._applied:
            if each.trained is None or each.passes < 2 or not self.log.steps or _limits_itself(each.trained):
                continue
            name = each.frame.name.rpartition(".")[2]
            is_helper = each.frame.function is not None and not each.is_inline and name != "__init__"
            if not is_helper or self._mentions(each.frame.source, name) <= 2:
                model = self.log.subject(each.trained)
                paths = tuple(path for path, part in descendants(each.trained) if id(part) in each.weights)
                event = ConstraintNotKept(
                    each.place, each.frame.name, model=model, layers=paths, **dataclasses.asdict(each.limit)
                )
                self.log.events.append(event)

    def _find_uncalled(self) -> None:
        """Adds an event for each function and method that limits weights and that no code names."""
        for owner, module in self._around.items():
            source = owner if isinstance(owner, Source) else owner.source
            body = owner.tree.body if isinstance(owner, Source) else owner.node.body
            for node in body if source.analyzed else ():
                if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                call = _limit_in(node)
                named = _OF_CALLERS.match(node.name) or _OF_STARTS.search(node.name)
                if not call or named or _FILLING.search(source.text_of(node)) or self._mentions(source, node.name) != 1:
                    continue
                if not _limits_itself(module):
                    place, model = Place(source.path, node.lineno), self.log.subject(module)
                    event = ConstraintNotKept(place, node.name, model=model, call=call, uncalled=node.name)
                    self.log.events.append(event)


def _limit_in(function: ast.AST) -> str:
    """The function of torch by which a function limits weights in place; empty where it limits none."""
    for each in walk(function):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute):
            name = each.func.attr
            in_place = name.endswith("_") and name.removesuffix("_") in _LIMITS
            if in_place and _OF_WEIGHTS.search(ast.unparse(each.func.value)):
                return name
    return ""


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
    calls = (each for each in walk(scope) if isinstance(each, ast.Call)) if scope is not None else ()
    names = {last_name(each.func) for each in calls}
    return not names.isdisjoint(_NORMS) and not names.isdisjoint(_BOUNDS)
