"""The parameters of models in a program: which models an optimizer decays, and which weights a loss penalizes."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from regcheck.core import usage
from regcheck.core.usage import Penalized
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    VARYING,
    Constant,
    Items,
    Module,
    ParameterOf,
    Parameters,
    Several,
    TensorRef,
    Value,
    argument,
    clause_of,
    descendants,
    element,
)
from regcheck.static.models.inspection import kinds_of_parameters
from regcheck.static.torch_calls import number_of

from .events import EventLog

_SUMS = ("sum", "mean")
_FUNCTIONS = frozenset(
    "torch.norm torch.linalg.norm torch.linalg.vector_norm torch.square torch.pow torch.sum torch.mean".split()
)
_WEIGHT, _SQUARE, _SUM = "weight", "square", "sum"


@dataclass(frozen=True)
class Penalty(ParameterOf):
    """A parameter of a model, its square, or a sum of squares (or 2-norms) of such parameters, times a number.

    `by_default` is a clause for messages where the number is a default.
    """

    model: usage.Model | None = field(default=None, kw_only=True)
    stage: str = field(default=_WEIGHT, kw_only=True)
    by_default: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class PenalizedLoss(TensorRef):
    """A loss of a model that contains penalties on the model's weights."""

    terms: tuple[Penalized, ...] = ()


class Penalties(Part):
    """Follows the parameters that a program asks its models for."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def parameters(self, module: Module, name: str) -> Value:
        """The result of `module.parameters()` or `module.named_parameters()`."""
        model = None if self.state.doubts else self.log.subject(module)
        if name == "named_parameters":
            return Items.of((Several(Items.of((VARYING, Penalty(True, model=model)), mutable=False)),))
        may_freeze = b"requires_grad" in self.state.frame.source.content
        return Parameters(True, () if may_freeze else kinds_of_parameters(module), model, module)

    def items_of(self, value: Value) -> tuple[Value, ...] | None:
        return (Several(Penalty(True, value.owner, model=value.model)),) if isinstance(value, Parameters) else None

    def arithmetic(self, name: str, values: Args, result: Value, node: ast.AST) -> Value:
        """The result of an operator, which is `result` unless there are penalties among the values."""
        if not isinstance(result, TensorRef):
            return _combined(name, values) or result
        terms = [term for each in values if isinstance(each, PenalizedLoss) for term in each.terms]
        if name == "add":
            terms += self._added(values, node)
        return PenalizedLoss(result.ids, tuple(terms)) if terms and name in ("add", "mul", "div") else result

    def _added(self, values: Args, node: ast.AST) -> Iterable[Penalized]:
        """The penalty among the terms of a sum, if it certainly acts on a model that the other terms come from."""
        models = {id(each) for each in self.log.callees_of(values)}
        if self.state.doubts or not self.log.has_gradients:
            return
        for each in values:
            if not (isinstance(each, Penalty) and each.stage == _SUM and each.model):
                continue
            inside = {id(part) for _, part in descendants(each.owner)} if each.owner is not None else set()
            if each.model.key in map(str, models) or not models.isdisjoint(inside):
                where = self.state.place(node), self.state.frame.name
                yield Penalized(*where, model=each.model, by_default=each.by_default)

    def torch_function(self, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
        """The result of a torch function, if that is a penalty."""
        first = args[0] if args else None
        if isinstance(first, Penalty) and name in _FUNCTIONS:
            return _changed(first, name.rpartition(".")[2].replace("vector_norm", "norm"), args[1:], kwargs)
        return self.summed(args) if name == "torch.stack" else None

    def method(self, owner: Penalty, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
        """The result of a tensor's method, if that is a penalty."""
        return _changed(owner, name, args, kwargs)

    def summed(self, args: Args) -> Penalty | None:
        """The sum of the list in the first argument, if its items are penalties on one model."""
        items = {element(each) for each in args[0].items} if args and isinstance(args[0], Items) else set()
        first = items.pop() if len(items) == 1 else None
        return first if isinstance(first, Penalty) and first.stage == _SUM else None


def _changed(penalty: Penalty, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
    """The result of a tensor function on a penalty, if that is a penalty."""
    if penalty.stage == _SUM:
        return penalty if name in _SUMS else None
    if penalty.stage == _SQUARE:
        return replace(penalty, stage=_SUM) if name in _SUMS and not (args or kwargs) else None
    if name == "square" or (name == "pow" and argument(args, kwargs, 0, "exponent") in (Constant(2), Constant(2.0))):
        return replace(penalty, stage=_SQUARE)
    order = argument(args, kwargs, 0, "ord" if "ord" in kwargs else "p", 2)
    of_all = len(args) + len(kwargs) < 2 and kwargs.keys() <= {"p", "ord"}
    euclidean = of_all and order in (Constant(2), Constant(2.0), Constant("fro"))
    return replace(penalty, stage=_SUM) if name == "norm" and euclidean else None


def _combined(name: str, values: Sequence[Value]) -> Penalty | None:
    """The result of an operator on penalties, if that is a penalty."""
    left, right = (*values, None)[:2]
    penalties = [each for each in values if isinstance(each, Penalty)]
    if not penalties or len(values) != 2:
        return None
    stages = {(each.stage, each.model) for each in penalties}
    first = penalties[0]
    if len(penalties) == 2:
        if name == "mul" and stages == {(_WEIGHT, first.model)}:
            return replace(first, stage=_SQUARE)
        return first if name == "add" and stages == {(_SUM, first.model)} else None
    other = right if left is first else left
    if name == "pow" and left is first and first.stage != _SQUARE and other in (Constant(2), Constant(2.0)):
        return replace(first, stage=_SQUARE if first.stage == _WEIGHT else _SUM)
    if name == "add":
        return first if first.stage == _SUM else None
    positive = other is not None and (number_of(other) or 0) > 0
    scaled = name == "mul" or (name == "div" and left is first)
    if not (scaled and positive and first.stage != _WEIGHT):
        return None
    return replace(first, by_default=first.by_default or clause_of(other))
