"""The parameters of models in a program: which models an optimizer decays, and which weights a loss penalizes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field, replace

from regcheck.core import usage
from regcheck.core.usage import Called, Penalized, PenaltyWithoutGradient
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    VARYING,
    Constant,
    Container,
    Instance,
    Items,
    LayerValue,
    Module,
    ParameterOf,
    Parameters,
    Several,
    TensorRef,
    Unknown,
    Value,
    Weight,
    argument,
    clause_of,
    descendants,
    element,
)
from regcheck.static.models.inspection import kinds_of_parameters, parameter_names
from regcheck.static.torch_calls import number_of
from regcheck.torch_api.layers import layer_named

from .events import EventLog
from .freezing import Freezing

_IN_PLACE = re.compile(
    rb"\.(?:copy|add|sub|mul|div|lerp|addcmul|addcdiv|set|fill|normal|uniform)_\(|\.data\s*=|\]\s*[-+*/]?=[^=]"
)
"""What a file says that may write into a tensor or an item of a container."""
_LOOPED = re.compile(rb"\bfor ([\w\s,()]+?) in\b")
_AUGMENTED = re.compile(rb"^[ \t]*(\w+)\s*[-+*/]=", re.MULTILINE)
_WEIGHT, _MAGNITUDE, _SUM = "weight", "magnitude", "sum"
_SUMS = ("sum", "mean")
_TWO = (Constant(2), Constant(2.0))
_MAGNITUDES = frozenset(("abs", "absolute", "square", "pow", "norm"))
_REDUCTIONS = frozenset("sum mean norm max amax fsum".split())
_RESHAPING = frozenset(
    "view reshape flatten ravel clone contiguous to cpu cuda float double half type array asarray as_tensor"
    " concatenate hstack cat stack sqrt squeeze".split()
)
"""Methods and functions whose result is zero where the weights are, as far as they reduce or sum nothing."""
_FLATTENING = frozenset("view reshape flatten ravel contiguous clone".split())
"""Methods and functions whose result has the same elements."""
_CONCATENATING = frozenset("cat concat concatenate hstack".split())
_LEAVING = {each: f".{each}()" for each in ("detach", "item", "numpy", "tolist")} | {"data": ".data"}
"""The methods and the attribute of a tensor that take it out of the graph, as source writes them."""
_TO_NUMBERS = {"builtins.float": "float()", "torch.tensor": "torch.tensor()"}
"""Functions that copy a tensor out of the graph, as source writes them."""
_L2_FUNCTIONS = frozenset(
    "torch.norm torch.linalg.norm torch.linalg.vector_norm torch.square torch.pow torch.sum torch.mean torch.flatten"
    " torch.ravel torch.reshape".split()
)
_ON_NUMBERS = ("numpy", "numpy.linalg", "math")
_JOINING = frozenset("cat concat stack hstack concatenate sum fsum tensor".split())
"""Functions that take a list of tensors."""
_KEEPING = frozenset("mean sum squeeze float scale".split())
"""Methods and functions whose result holds the terms of a loss that they are given."""


@dataclass(frozen=True)
class Penalty(ParameterOf):
    """A parameter of a model, the magnitudes of its elements, or a sum of such magnitudes, times a number.

    Attributes:
        model: the model whose parameters these are, if that is certain.
        module: that model as a value.
        by_default: a clause for messages where the number is a default.
        layers: the layers, by their ids, whose weights these are, if the program names them one by one.
        is_l2: it consists of squares, or of 2-norms, of whole parameters times a number above zero.
        lost_by: the code that took it out of the graph, as source writes it; empty where it has a gradient.
    """

    model: usage.Model | None = field(default=None, kw_only=True)
    module: Module | None = field(default=None, kw_only=True)
    layers: frozenset[int] = field(default=frozenset(), kw_only=True)
    stage: str = field(default=_WEIGHT, kw_only=True)
    by_default: str = field(default="", kw_only=True)
    is_l2: bool = field(default=True, kw_only=True)
    lost_by: str = field(default="", kw_only=True)

    @property
    def is_weight(self) -> bool:
        """Whether it is a whole parameter, and no magnitude of one."""
        return self.stage == _WEIGHT


@dataclass(frozen=True)
class LayerWeight(Weight):
    """The weight or the bias of a layer, or of any layer of a model, by its name."""

    name: str = field(default="weight", kw_only=True)
    layer: Module | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class PartOf(Unknown):
    """Any part of a module."""

    module: Module | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Zero(Unknown):
    """A tensor of zeros, which penalties are added to."""


@dataclass(frozen=True)
class PenalizedLoss(TensorRef):
    """A loss of a model that contains penalties on the model's weights."""

    terms: tuple[Penalized | PenaltyWithoutGradient, ...] = ()


class Penalties(Part):
    """Follows the parameters that a program asks its models for."""

    def __init__(self, log: EventLog, freezing: Freezing) -> None:
        self.log = log
        self.freezing = freezing

    def parameters(self, module: Module, name: str) -> Value:
        """The result of `module.parameters()` or `module.named_parameters()`."""
        model = None if self.state.doubts else self.log.subject(_owner_of_all(module))
        if name == "named_parameters":
            each = Penalty(True, model=model, module=module)
            return Items.of((Several(Items.of((VARYING, each), mutable=False)),))
        may_freeze = b"requires_grad" in self.state.frame.source.content
        return Parameters(True, () if may_freeze else kinds_of_parameters(module), model, module)

    def parts(self, module: Module, name: str) -> Value | None:
        """The result of `module.modules()`, `module.named_modules()` and so on; None of another method."""
        part = PartOf(True, module=module)
        if name in ("named_modules", "named_children"):
            return Items.of((Several(Items.of((VARYING, part), mutable=False)),))
        return Items.of((Several(part),)) if name in ("modules", "children") else None

    def items_of(self, value: Value) -> tuple[Value, ...] | None:
        if not isinstance(value, Parameters):
            return None
        return (Several(Penalty(True, value.owner, model=value.model, module=value.owner)),)

    def arithmetic(self, name: str, values: Sequence[Value], result: Value, node: ast.AST) -> Value:
        """The result of an operator, which is `result` unless there are penalties among the values."""
        if not isinstance(result, TensorRef):
            if name == "sub" and any(isinstance(each, Zero) for each in values) and self._rewrites_tensors:
                return result
            return self._computed(_combined(name, [_penalty(each) or each for each in values])) or result
        if name not in ("add", "mul", "div"):
            return result
        terms = (*self._terms(values), *(self._added(values, node) if name == "add" else ()))
        return _with_terms(result, terms)

    @property
    def _rewrites_tensors(self) -> bool:
        """Whether the file may write into tensors that it keeps, so that zeros need not stay zero."""
        content = self.state.frame.source.content
        looped = {name for each in _LOOPED.findall(content) for name in re.findall(rb"\w+", each)}
        return _IN_PLACE.search(content) is not None or not looped.isdisjoint(_AUGMENTED.findall(content))

    def _terms(self, values: Iterable[Value]) -> Iterator[Penalized | PenaltyWithoutGradient]:
        for each in values:
            if isinstance(each, PenalizedLoss):
                yield from each.terms

    def _added(self, values: Sequence[Value], node: ast.AST) -> Iterator[Penalized | PenaltyWithoutGradient]:
        """The penalty among the terms of a sum, if it certainly acts on a model that the other terms come from."""
        if not self.log.has_gradients:
            return
        where = self.state.place(node), self.state.frame.name
        callees = self.log.callees_of(values)
        models, keys = {id(each) for each in callees}, {self.log.key_of(each) for each in callees}
        for each in values:
            if not isinstance(each, Penalty) or each.stage != _SUM:
                continue
            if each.lost_by:
                if each.module is not None and self._is_trained(each.module, values):
                    model = self.log.subject(each.module)
                    yield PenaltyWithoutGradient(*where, model=model, lost_by=each.lost_by)
            elif each.is_l2 and each.model and not self.state.doubts:
                inside = {id(part) for _, part in descendants(each.owner)} if each.owner is not None else set()
                if each.model.key in keys or not models.isdisjoint(inside):
                    yield Penalized(*where, model=each.model, by_default=each.by_default)
            elif each.is_l2 and each.layers and not self.state.doubts:
                for callee in {id(model): model for model in self.log.callees_of(values)}.values():
                    if _weighted_layers(callee) <= each.layers:
                        model = self.log.subject(_owner_of_all(callee))
                        yield Penalized(*where, model=model, by_default=each.by_default)

    def _is_trained(self, module: Module, losses: Sequence[Value]) -> bool:
        """Whether the program trains a module, and losses come from a call of it, of a part or of a model around it."""
        for index in self.log.origins(losses):
            event, callee = self.log.events[index], self.log.callees[index]
            related = any(each is module for _, each in descendants(callee)) or any(
                each is callee for _, each in descendants(module)
            )
            if related and isinstance(event, Called) and event.grad:
                return self.freezing.may_train(module)
        return False

    def keep_terms(self, name: str, values: Sequence[Value], result: Value, node: ast.AST) -> Value:
        """The result of a function on losses, with the terms of these losses if its result holds them."""
        if name in ("add", "add_"):
            return self.arithmetic("add", values[:2], result, node)
        return _with_terms(result, tuple(self._terms(values))) if name in _KEEPING else result

    def join_losses(self, values: Iterable[Value], joined: TensorRef) -> Value:
        """One of several losses; a term without a gradient has no effect whichever it is."""
        terms = [each for each in self._terms(values) if isinstance(each, PenaltyWithoutGradient)]
        return _with_terms(joined, tuple(dict.fromkeys(terms)))

    def join(self, values: Sequence[Value]) -> Value | None:
        """One of several values, if each is zero or a penalty without a gradient."""
        lost = [each for each in values if isinstance(each, Penalty) and each.lost_by and each.stage == _SUM]
        rest = [each for each in values if each not in lost]
        return lost[0] if lost and all(isinstance(each, Zero) or number_of(each) == 0 for each in rest) else None

    def attribute(self, owner: Value, name: str) -> Value | None:
        """`owner.name`, if that is a penalty, or the weight or the bias of a layer."""
        if isinstance(owner, (LayerValue, PartOf)) and name in ("weight", "bias"):
            return LayerWeight(name=name, layer=owner if isinstance(owner, LayerValue) else owner.module)
        penalty = _penalty(owner)
        return _changed(penalty, name, (), {}) if penalty is not None and name == "data" else None

    def external(self, name: str, args: Args, kwargs: Kwargs, node: ast.AST) -> Value | None:
        """The result of a function of another package, if that is a penalty, or a loss with penalties."""
        package = name.rpartition(".")[0]
        if package in _ON_NUMBERS or name in ("builtins.abs", "builtins.float"):
            return self._result_of(name, args, kwargs)
        if name != "builtins.sum" or not (args and isinstance(args[0], Items)):
            return None
        items = [element(each) for each in args[0].items]
        if any(isinstance(each, TensorRef) for each in items):
            return self.arithmetic("add", items, self.log.consume(items), node)
        return _joined(args)

    def torch_function(self, name: str, args: Args, kwargs: Kwargs) -> Value | None:
        """The result of a torch function, if that is a penalty, or zero."""
        last = name.rpartition(".")[2]
        if last in ("zeros", "zeros_like") or (last == "tensor" and number_of(argument(args, kwargs, 0, "data")) == 0):
            return Zero(True)
        if last == "parameters_to_vector" and args and isinstance(args[0], Parameters):
            return self._computed(Penalty(True, args[0].owner, model=args[0].model, module=args[0].owner))
        return self._result_of(name, args, kwargs)

    def _result_of(self, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
        package, _, last = name.rpartition(".")
        last = "norm" if last in ("vector_norm", "matrix_norm") else last
        listed = bool(args) and isinstance(args[0], Items)
        penalty = (_joined(args) if last in _JOINING else None) if listed else _penalty(args[0]) if args else None
        if penalty is None:
            return None
        if name in _TO_NUMBERS or package in _ON_NUMBERS:
            penalty = replace(penalty, lost_by=penalty.lost_by or _TO_NUMBERS.get(name, f"{name}()"))
        if listed or name in _TO_NUMBERS:
            stage_is_l2 = penalty.stage == _SUM if last == "stack" else last in _CONCATENATING and penalty.stage != _SUM
            return self._computed(replace(penalty, is_l2=penalty.is_l2 and stage_is_l2))
        is_l2 = penalty.is_l2 and name in _L2_FUNCTIONS
        return self._computed(_changed(replace(penalty, is_l2=is_l2), last, args[1:], kwargs))

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs) -> Value | None:
        """The result of a tensor's method, if that is a penalty, or zero."""
        if isinstance(owner, Zero):
            return owner if name in _RESHAPING else None
        penalty = _penalty(owner)
        return None if penalty is None else self._computed(_changed(penalty, name, args, kwargs))

    def _computed(self, penalty: Penalty | None) -> Penalty | None:
        """A penalty that the program computes here: without gradients, it is out of the graph."""
        if penalty is None or penalty.lost_by or self.log.has_gradients is not False:
            return penalty
        return replace(penalty, lost_by="torch.no_grad()")


def _with_terms(result: Value, terms: tuple[Penalized | PenaltyWithoutGradient, ...]) -> Value:
    return PenalizedLoss(result.ids, terms) if terms and isinstance(result, TensorRef) else result


def _penalty(value: Value) -> Penalty | None:
    """The parameter, or what is computed from parameters, that a value is."""
    if isinstance(value, LayerWeight):
        layers = frozenset((id(value.layer),)) if value.name == "weight" else frozenset[int]()
        return Penalty(True, module=value.layer, layers=layers)
    return value if isinstance(value, Penalty) else None


def _joined(args: Args) -> Penalty | None:
    """The penalty that stands for all items of the list in the first argument, if they are alike."""
    items = [element(each) for each in args[0].items] if args and isinstance(args[0], Items) else []
    penalties = [each for each in map(_penalty, items) if each is not None]
    if not penalties or len(penalties) < len(items):
        return None
    first, *others = dict.fromkeys(penalties)
    if not others:
        return first
    if len({(each.stage, bool(each.lost_by)) for each in penalties}) > 1:
        return None
    layers = _layers_of(penalties)
    if all(each.is_l2 for each in penalties) and layers:
        return replace(first, layers=layers)
    return replace(first, is_l2=False, model=None) if first.lost_by else None


def _layers_of(penalties: Sequence[Penalty]) -> frozenset[int]:
    """The layers of several penalties, if each is one on layers; else empty."""
    return (
        frozenset[int]().union(*(each.layers for each in penalties))
        if all(p.layers for p in penalties)
        else frozenset()
    )


def _owner_of_all(module: Module) -> Module:
    """The part of a module that has all its parameters, as the network that a task wraps."""
    while isinstance(module, Instance) and not parameter_names(module):
        parts = {id(child): child for _, child in module.children() if _has_parameters(child)}
        inner = next(iter(parts.values()), None)
        if len(parts) != 1 or not isinstance(inner, (Instance, Container)):
            break
        module = inner
    return module


def _has_parameters(module: Module) -> bool:
    return any(parameter_names(each) for _, each in descendants(module))


def _weighted_layers(module: Module) -> frozenset[int]:
    """The ids of the layers in a module whose weight is no norm's scale."""
    layers = [each for _, each in descendants(module) if isinstance(each, LayerValue)]
    return frozenset(
        id(each) for each in layers if "weight" in parameter_names(each) and not layer_named(each.name).is_norm
    )


def _changed(penalty: Penalty, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
    """The result of a tensor function on a penalty, if that is a penalty."""
    changed = _changed_l2(penalty, name, args, kwargs) if penalty.is_l2 else None
    if changed is not None:
        return changed
    if name in _LEAVING:
        return replace(penalty, lost_by=penalty.lost_by or _LEAVING[name])
    stage = penalty.stage
    along_axis = len(args) > 1 or not kwargs.keys().isdisjoint(("dim", "axis"))
    if name in _RESHAPING:
        pass
    elif stage == _SUM:
        if name not in _MAGNITUDES | _REDUCTIONS:
            return None
    elif stage == _WEIGHT:
        exponent = argument(args, kwargs, 0, "exponent")
        if name not in _MAGNITUDES or (name == "pow" and exponent not in _TWO):
            return None
        stage = _SUM if name == "norm" and not along_axis else _MAGNITUDE
    elif name in _REDUCTIONS:
        stage = _MAGNITUDE if along_axis or (args and name != "norm") else _SUM
    elif name not in _MAGNITUDES:
        return None
    return replace(penalty, stage=stage, is_l2=False)


def _changed_l2(penalty: Penalty, name: str, args: Args, kwargs: Kwargs) -> Penalty | None:
    """The result of a tensor function on an L2 penalty, if that is one."""
    if name in _FLATTENING and penalty.stage != _SUM:
        return penalty
    if penalty.stage == _SUM:
        return penalty if name in _SUMS or name in _RESHAPING else None
    if penalty.stage == _MAGNITUDE:
        return replace(penalty, stage=_SUM) if name in _SUMS and not (args or kwargs) else None
    if name == "square" or (name == "pow" and argument(args, kwargs, 0, "exponent") in _TWO):
        return replace(penalty, stage=_MAGNITUDE)
    order = argument(args, kwargs, 0, "ord" if "ord" in kwargs else "p", 2)
    of_all = len(args) + len(kwargs) < 2 and kwargs.keys() <= {"p", "ord"}
    euclidean = of_all and order in (*_TWO, Constant("fro"))
    return replace(penalty, stage=_SUM) if name == "norm" and euclidean else None


def _combined(name: str, values: Sequence[Value]) -> Penalty | None:
    """The result of an operator on penalties, if that is a penalty."""
    left, right = (*values, None)[:2]
    penalties = [each for each in values if isinstance(each, Penalty)]
    if not penalties or len(values) != 2:
        return None
    first = penalties[0]
    if len(penalties) == 2:
        return _of_two(name, first, penalties[1])
    other = right if left is first else left
    if name == "pow" and left is first and other in _TWO:
        return first if first.is_l2 and first.stage == _SUM else _changed(first, name, (Constant(2),), {})
    if name == "sub" and left is first and isinstance(other, Zero):
        return first  # the distance of weights from zero
    if name == "add":
        return first if first.stage == _SUM or (first.lost_by and isinstance(other, Constant)) else None
    if not (name == "mul" or (name == "div" and left is first)) or isinstance(other, (Weight, TensorRef)):
        return None
    positive = other is not None and (number_of(other) or 0) > 0
    is_l2 = first.is_l2 and positive and first.stage != _WEIGHT
    return replace(first, is_l2=is_l2, by_default=first.by_default or clause_of(other))


def _of_two(name: str, one: Penalty, other: Penalty) -> Penalty | None:
    """The result of an operator on two penalties, of which both or none have a gradient."""
    if bool(one.lost_by) is not bool(other.lost_by):
        return None
    layers = _layers_of((one, other))
    are_l2 = one.is_l2 and other.is_l2 and one.model == other.model and bool(layers) is bool(one.layers)
    if name == "mul" and one.stage == other.stage == _WEIGHT and one.module is other.module:
        return replace(one, stage=_MAGNITUDE, is_l2=are_l2)
    if name == "add" and one.stage == other.stage == _SUM:
        return replace(one, is_l2=are_l2, layers=layers) if are_l2 or one.lost_by else None
    return None
