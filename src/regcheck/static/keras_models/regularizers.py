"""L2 penalties of Keras layers, and the optimizers that step with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from regcheck.core.usage import Group, OptimizerInfo, Stepped
from regcheck.static.interpreter.values import NONE, Constant, LayerValue, Module, Value, by_default
from regcheck.static.torch_calls import number_of
from regcheck.torch_api.optimizers import COUPLED, DECAY

from .domain import Compilation, KerasObject

_OF_WEIGHTS = tuple(
    f"{weights}_regularizer" for weights in ("kernel", "recurrent", "embeddings", "depthwise", "pointwise")
)
_UPDATE_RULES = {each.lower(): each for each in COUPLED}
"""The adaptive optimizers by the names that `compile` takes, which ignore the case of class names."""
_DEFAULT_FACTOR = 0.01


def stepped(compilation: Compilation, layers: Iterable[Module]) -> Stepped | None:
    """The optimizer of a compiled model, with the largest L2 penalty of its layers as a decay in the gradient.

    None where it is not adaptive, has a decay of its own, which Keras applies beside the step, or no layer has one.
    """
    optimizer = by_default(compilation.optimizer)
    decay = optimizer.kwargs.get(DECAY, NONE) if isinstance(optimizer, KerasObject) else NONE
    name = str(optimizer.value) if isinstance(optimizer, Constant) else getattr(optimizer, "name", "")
    rule = _UPDATE_RULES.get(name.rpartition(".")[2].lower())
    largest = max(_penalties(layers), default=None)
    if rule is None or decay != NONE or largest is None:
        return None
    factor, penalty = largest
    group = Group(2 * factor, penalty=f"{penalty}=L2({factor:g})")
    place = optimizer.place if isinstance(optimizer, KerasObject) else compilation.place
    described = OptimizerInfo(str(place), rule, rule, (group,))
    return Stepped(place, compilation.function, optimizer=described)


def _penalties(layers: Iterable[Module]) -> Iterator[tuple[float, str]]:
    """The factors of the L2 penalties on weights of layers, each with the argument that sets it."""
    for layer in layers:
        if isinstance(layer, LayerValue):
            for name in _OF_WEIGHTS:
                factor = _factor(by_default(layer.kwargs.get(name, NONE)))
                if factor:
                    yield factor, name


def _factor(regularizer: Value) -> float | None:
    """The factor of a regularizer's squares; None where it has none, or the source does not say."""
    if isinstance(regularizer, Constant):
        return _DEFAULT_FACTOR if regularizer.value in ("l2", "L2") else None
    if not isinstance(regularizer, KerasObject):
        return None
    match regularizer.name.rpartition(".")[2].lower():
        case "l2":
            factor = regularizer.kwargs.get("l", regularizer.argument(0, "l2", _DEFAULT_FACTOR))
            return number_of(factor)
        case "l1l2" | "l1_l2":
            return number_of(regularizer.argument(1, "l2", 0.0))
    return None
