"""Programs that train: which models an optimizer decays, and which weights a loss penalizes."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, replace

from regcheck.core import usage
from regcheck.core.usage import Penalized
from regcheck.static.interpreter.values import (
    Constant,
    Items,
    Module,
    Parameters,
    Several,
    TensorRef,
    Unknown,
    Value,
    argument,
    inner,
)
from regcheck.static.models.inspection import kinds_of_parameters

from .events import Args, Kwargs, ProgramInterpreter

_SUMS = ("sum", "mean")
_NORMS = ("torch.norm", "torch.linalg.norm", "torch.linalg.vector_norm")
_WEIGHT, _SQUARE, _SUM = "weight", "square", "sum"


@dataclass(frozen=True)
class Penalty(Unknown):
    """A parameter of a model, its square, or a sum of squares (or 2-norms) of such parameters, times a number."""

    model: usage.Model | None = None
    stage: str = _WEIGHT


@dataclass(frozen=True)
class PenalizedLoss(TensorRef):
    """A loss of a model with a penalty on its weights in it."""

    terms: tuple[Penalized, ...] = ()


class Training(ProgramInterpreter):
    """A program of which is known, too, what becomes of the parameters that its models are asked for."""

    def module_method(self, module: Module, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        found = super().module_method(module, name, args, kwargs, node)
        if name not in ("parameters", "named_parameters") or args or kwargs:
            return found
        model = None if self.doubts else self.subject(module)
        if name == "named_parameters":
            named = Items.of((Unknown(varies=True), Penalty(True, model)), mutable=False)
            return Items.of((Several(named),))
        frozen = b"requires_grad" in self.frame.source.content
        return Parameters(True, () if frozen else kinds_of_parameters(module), model)

    def iterated(self, value: Value) -> tuple[Value, ...]:
        if isinstance(value, Parameters):
            return (Several(Penalty(True, value.model)),)
        return super().iterated(value)

    def attribute(self, owner: Value, name: str) -> Value:
        if isinstance(owner, (Parameters, Penalty)):
            return Unknown(varies=True)
        return super().attribute(owner, name)

    def arithmetic(self, name: str, values: tuple[Value, ...], node: ast.AST) -> Value:
        found = super().arithmetic(name, values, node)
        if isinstance(found, TensorRef):
            terms = (*self._terms(values), *(self._term(values, node) if name == "add" else ()))
            return PenalizedLoss(found.ids, terms) if terms and name in ("add", "mul", "div") else found
        return _combined(name, values) or found

    def call_torch(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value | None:
        found = super().call_torch(name, args, kwargs, node)
        first = args[0] if args else None
        if isinstance(first, Penalty) and name in (*_NORMS, "torch.square", "torch.pow", "torch.sum", "torch.mean"):
            return _changed(first, name.rpartition(".")[2].replace("vector_norm", "norm"), args[1:], kwargs) or found
        if name == "torch.stack" and isinstance(first, Items):
            return _summed(first.items) or found
        return found

    def call_external(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        found = super().call_external(name, args, kwargs, node)
        if name == "builtins.sum" and args and isinstance(args[0], Items):
            return _summed(args[0].items) or found
        return found

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if isinstance(owner, PenalizedLoss) and name == "backward":
            self.events += owner.terms
        found = super().method(owner, name, args, kwargs, node)
        return _changed(owner, name, args, kwargs) or found if isinstance(owner, Penalty) else found

    def _terms(self, values: Sequence[Value]) -> tuple[Penalized, ...]:
        return tuple(term for each in values if isinstance(each, PenalizedLoss) for term in each.terms)

    def _term(self, values: Sequence[Value], node: ast.AST) -> tuple[Penalized, ...]:
        """The penalty among the values, where it surely acts on a model that the others come from."""
        called = {str(id(self.callees[each])) for each in self.origins(values)}
        sure = not self.doubts and self.world["grad"] == Constant(True)
        return tuple(
            Penalized(self.place(node), self.frame.name, model=each.model)
            for each in values
            if isinstance(each, Penalty) and each.stage == _SUM and each.model and each.model.key in called and sure
        )


def _changed(penalty: Penalty, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
    """What a function of a tensor makes of a penalty; None where that is no penalty."""
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
    """What arithmetic makes of penalties; None where that is no penalty."""
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
    positive = isinstance(other, Constant) and isinstance(other.value, (int, float)) and other.value > 0
    scaled = name == "mul" or (name == "div" and left is first)
    return first if scaled and positive and first.stage != _WEIGHT else None


def _summed(items: Sequence[Value]) -> Penalty | None:
    """The sum of penalties on one model; None where the items are anything else."""
    found = {inner(each) for each in items}
    first = found.pop() if len(found) == 1 else None
    return first if isinstance(first, Penalty) and first.stage == _SUM else None
