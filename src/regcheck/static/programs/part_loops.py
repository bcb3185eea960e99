"""Loops over the parts of a model: each part is an item, and tests of it are computed.

These are loops that freeze parts, set their modes, limit their weights or sum these up.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from regcheck.files.syntax import walk
from regcheck.static.interpreter.constant_folding import METHODS
from regcheck.static.interpreter.domain import Args
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    Constant,
    Container,
    External,
    Function,
    Instance,
    Items,
    LayerValue,
    Module,
    Value,
    descendants,
    truth,
)
from regcheck.static.models.inspection import layer_of, parameter_names
from regcheck.static.project.names import Definition
from regcheck.torch_api.layers import layer_named

from .penalties import Penalty

_LISTS = frozenset("parameters named_parameters modules named_modules children named_children".split())
_SWITCHES = frozenset("requires_grad requires_grad_ eval train momentum track_running_stats".split())
_MODULE_LISTS = frozenset("modules named_modules children named_children".split())
_LIMITS = frozenset("clamp clamp_ clip clip_ clamp_min_ clamp_max_ renorm renorm_ mul_ copy_".split())
_MAGNITUDES = frozenset("pow norm square abs".split())
_NAME_TESTS = frozenset(("endswith", "startswith"))
_MOST_PARTS = 512
"""A model of more parts than this is not listed."""


class PartLoops(Part):
    """Lists the parts of a model for the loops that switch some of them, or that sum up the weights of layers."""

    def __init__(self) -> None:
        self._depth = 0
        self._switching: dict[ast.expr, bool] = {}
        """Whether a loop over an expression lists parts, memoized."""
        self._summing: dict[ast.expr, bool] = {}
        """Whether a comprehension over an expression lists them, memoized."""

    @property
    def is_listing(self) -> bool:
        """Whether the current loop is one over the parts of a model: it runs for each, and its tests are computed."""
        return self._depth > 0

    @property
    def longest(self) -> int:
        """A loop over more items than this is treated as one over an unknown number of items."""
        return 2 * _MOST_PARTS if self.is_listing else 4

    @contextmanager
    def looping(self, over: ast.expr, body: Sequence[ast.stmt]) -> Iterator[None]:
        """Runs the block for a loop with this body over an expression."""
        if over not in self._switching:
            listed = not _LISTS.isdisjoint(_attributes_in([over]))
            switches = listed and not _SWITCHES.isdisjoint(_attributes_in(body))
            self._switching[over] = switches or _sums_up(over, body)
        with self._listing(self._switching[over]):
            yield

    @contextmanager
    def summing(self, over: ast.expr, body: Sequence[ast.expr]) -> Iterator[None]:
        """Runs the block for a comprehension with these expressions over another one."""
        if over not in self._summing:
            self._summing[over] = _sums_up(over, body)
        with self._listing(self._summing[over]):
            yield

    @contextmanager
    def _listing(self, lists: bool) -> Iterator[None]:
        self._depth += lists
        try:
            yield
        finally:
            self._depth -= lists

    def parts(self, module: Module, name: str) -> Value | None:
        """The result of `module.modules()`, `module.named_parameters()` and so on; None where it is not listed."""
        if not self.is_listing or name not in _LISTS:
            return None
        within = [*descendants(module)]
        if len(within) > _MOST_PARTS or any("*" in path for path, _ in within):
            return None
        pairs: list[tuple[str, Value]] = [*within]
        if name.endswith("children"):
            pairs = [each for each in within if each[0] and "." not in each[0]]
        elif name.endswith("parameters"):
            pairs = [
                (
                    f"{path}.{each}" if path else each,
                    Penalty(True, owner, each, module=module, layers=_with_weight(owner, each)),
                )
                for path, owner in within
                for each in parameter_names(owner)
            ]
        if not name.startswith("named"):
            return Items.of(tuple([value for _, value in pairs]))
        return Items.of(tuple([Items.of((Constant(path), value), mutable=False) for path, value in pairs]))

    @contextmanager
    def applying(self, function: Value) -> Iterator[None]:
        """Runs the block for a function that a model applies to each of its parts."""
        if isinstance(function, Instance):
            function = function.definition.method("__call__") or function
        body = function.node.body if isinstance(function, Function) else []
        names = _attributes_in(body if isinstance(body, list) else [body])
        with self._listing(not (_SWITCHES | _LIMITS).isdisjoint(names)):
            yield

    def test(self, name: str, args: Args) -> Value | None:
        """The result of a test of a part or of its name, where it can be computed."""
        if not self.is_listing:
            return None
        if name == "isinstance" and len(args) == 2 and isinstance(args[0], Module):
            classes = args[1].items if isinstance(args[1], Items) else (args[1],)
            answers = [_is_instance(args[0], each) for each in classes]
            return Constant(True) if True in answers else None if None in answers else Constant(False)
        if name in ("any", "all") and len(args) == 1 and isinstance(args[0], Items):
            answers = [truth(each) for each in args[0].items]
            decisive = name == "any"
            answer = Constant(not decisive) if None not in answers and args[0].exact else None
            return Constant(decisive) if decisive in answers else answer
        if name == "chain":
            return Items.of(tuple([item for each in args for item in self.containers.items_of(each)]))
        return self.class_of(args[0]) if name == "type" and len(args) == 1 and isinstance(args[0], Module) else None

    def class_of(self, module: Module) -> Value | None:
        """The class of a part; None where it is not known."""
        if not self.is_listing:
            return None
        if isinstance(module, Instance):
            return module.definition
        return External(f"torch.nn.{module.name}") if isinstance(module, (LayerValue, Container)) else None

    def text_method(self, owner: Value, name: str, args: Args) -> Value | None:
        """The result of a method of a part's name, or of the name of its class, where it can be computed."""
        if not self.is_listing or (str, name) not in METHODS:
            return None
        text, arguments = _text(owner), [_texts(each) if isinstance(each, Items) else _text(each) for each in args]
        return None if text is None or None in arguments else self.state.compute(METHODS[str, name], text, *arguments)

    def comparison(self, op: ast.cmpop, left: Value, right: Value) -> Value | None:
        """The result of comparing a part's name or class with others, where it can be computed."""
        if not self.is_listing:
            return None
        classes = (External, Definition)
        if isinstance(op, (ast.Eq, ast.NotEq)) and isinstance(left, classes) and isinstance(right, classes):
            return Constant((left == right) is isinstance(op, ast.Eq))
        if isinstance(op, (ast.In, ast.NotIn)):
            text, others = _text(left), _texts(right) if isinstance(right, Items) else _text(right)
            if text is not None and others is not None:
                return Constant((text in others) is isinstance(op, ast.In))
        return None


def _sums_up(over: ast.expr, body: Sequence[ast.AST]) -> bool:
    """Whether a loop over modules computes magnitudes of their weights, or one over parameters those of some names."""
    names, nodes = _attributes_in(body), [each for node in body for each in walk(node)]
    powers = any(isinstance(each, (ast.BinOp, ast.AugAssign)) and isinstance(each.op, ast.Pow) for each in nodes)
    if _MAGNITUDES.isdisjoint(names) and not powers:
        return False
    listed = _attributes_in([over])
    if "named_parameters" in listed:
        compared = [op for each in nodes if isinstance(each, ast.Compare) for op in each.ops]
        return not _NAME_TESTS.isdisjoint(names) or any(isinstance(op, (ast.In, ast.NotIn)) for op in compared)
    tests = any(isinstance(each, ast.Name) and each.id == "isinstance" for each in nodes)
    return "weight" in names and (tests or not _MODULE_LISTS.isdisjoint(listed))


def _attributes_in(nodes: Sequence[ast.AST]) -> set[str]:
    """The names of the attributes in some nodes."""
    return {each.attr for node in nodes for each in walk(node) if isinstance(each, ast.Attribute)}


def _with_weight(owner: Module, name: str) -> frozenset[int]:
    """The layer, by its id, that a parameter is a weight of; none for a bias."""
    return frozenset(() if name.startswith("bias") else (id(owner),))


def _text(value: Value) -> str | None:
    return value.value if isinstance(value, Constant) and isinstance(value.value, str) else None


def _texts(items: Items) -> tuple[str, ...] | None:
    """The texts in a sequence; None if it may hold anything else."""
    texts = tuple(each for each in map(_text, items.items) if each is not None)
    return texts if len(texts) == len(items.items) else None


def _is_instance(module: Module, cls: Value) -> bool | None:
    """Whether a module is an instance of a class; None if unknown."""
    if isinstance(cls, Definition):
        return isinstance(module, Instance) and cls in module.definition.mro
    if not isinstance(cls, External) or not cls.name.startswith("torch.nn."):
        return None
    name, layer = cls.name.rpartition(".")[2], layer_of(module)
    if name == "Module":
        return True
    if isinstance(module, Container) or layer is None:
        base = module.base if isinstance(module, Instance) else module
        return isinstance(base, Container) and base.name == name
    row, own = layer_named(name), layer_named(layer.name)
    if not name.startswith("_"):
        return layer.name == name
    return bool(row.function) and row.function == own.function if row.function else None
