"""What a built model is, as far as its mode and its use go."""

from __future__ import annotations

from collections.abc import Hashable

from regcheck.core.usage import BIAS, NORM_SCALE, WEIGHT
from regcheck.static.interpreter.values import (
    Constant,
    Container,
    Either,
    Entries,
    External,
    Function,
    Instance,
    Items,
    LayerValue,
    Maybe,
    Module,
    Partial,
    Several,
    TensorRef,
    Unknown,
    Value,
    Weight,
    descendants,
    truth,
)
from regcheck.static.project.names import Definition
from regcheck.torch_api.functions import DROPPING, LAYERS, LEARNED, kind_of

_RECURRENT = ("LSTM", "GRU", "RNN")
_LEARNING = frozenset(name for name, function in LAYERS.items() if kind_of(function) in LEARNED) | {
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "TransformerDecoderLayer",
    "Transformer",
}

_SWITCHES: dict[str, tuple[int, bool]] = {
    "linear": (2, True),
    "bilinear": (3, True),
    **{f"conv{rank}d": (7, True) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": (7, True) for rank in (1, 2, 3)},
    "batch_norm": (3, True),
    "instance_norm": (3, False),
    "layer_norm": (2, True),
    "rms_norm": (2, True),
    "group_norm": (3, True),
}
"""By what a layer calls: the position of its `bias`, or of a norm's `affine`, and what that is by default."""


def depends_on_mode(layer: LayerValue) -> str:
    """The kind of a layer whose result is known to depend on its mode, or an empty string."""
    function = LAYERS.get(layer.name, "")
    if function == "batch_norm":
        return "" if layer.argument(4, "track_running_stats", True) == Constant(False) else "batch norm"
    if function in DROPPING or layer.name in _RECURRENT:
        place = (0, "p", 0.5) if function and "dropout" in function else (2, "dropout", 0.0)
        rate = layer.argument(*place) if layer.name not in _RECURRENT else Constant(0.0)
        return (
            "dropout" if isinstance(rate, Constant) and isinstance(rate.value, (int, float)) and rate.value > 0 else ""
        )
    return ""


def modes(model: Module) -> tuple[bool | None, tuple[str, ...]]:
    """Whether any layer acts as in training (None: cannot be told), and the kinds of layer that depend on it."""
    acting: dict[object, set[str]] = {}
    for _, each in descendants(model):
        kind = depends_on_mode(each) if isinstance(each, LayerValue) else ""
        if kind:
            training = each.cells.get("training", Constant(True))
            acting.setdefault(training.value if isinstance(training, Constant) else None, set()).add(kind)
    for state in (True, None, False):
        if state in acting:
            return state, tuple(sorted(acting[state]))
    own = model.cells.get("training", Constant(True))
    return (bool(own.value) if isinstance(own, Constant) else None), ()


def has_learned_layers(model: Module) -> bool:
    """Whether there are learned layers beside those that depend on the mode."""
    for _, each in descendants(model):
        if isinstance(each, LayerValue) and each.name in _LEARNING:
            return True
        if isinstance(each, Instance) and any(isinstance(value, Weight) for value in each.cells.values()):
            return True
    return False


def kinds_of_parameters(model: Module) -> tuple[str, ...]:
    """The kinds of parameter that a model is certain to have."""
    return tuple(kind for kind in (WEIGHT, BIAS, NORM_SCALE) if kind in _certain_kinds(model, set()))


def _certain_kinds(model: Module, seen: set[int]) -> set[str]:
    if id(model) in seen:
        return set()
    seen.add(id(model))
    if isinstance(model, LayerValue):
        function = LAYERS.get(model.name, "")
        place, by_default = _SWITCHES.get(function, (0, None))
        if by_default is None or model.name.startswith("Lazy"):  # whose arguments stand elsewhere
            return set()
        if kind_of(function) in LEARNED:
            return {WEIGHT, *([BIAS] if truth(model.argument(place, "bias", True)) else [])}
        name = "elementwise_affine" if function in ("layer_norm", "rms_norm") else "affine"
        if not truth(model.argument(place, name, by_default)):
            return set()
        shift = model.argument(3 if function == "layer_norm" else 99, "bias", function != "rms_norm")
        return {NORM_SCALE, *([BIAS] if truth(shift) else [])}
    cells = model.entries if isinstance(model, Container) else model.cells
    inside = [each for name, each in cells.items() if name not in cells.doubtful]
    if isinstance(model, Instance) and model.base is not None:
        inside.append(model.base)
    kinds = (_certain_kinds(each, seen) for each in inside if isinstance(each, Module) and each.is_module)
    return set[str]().union(*kinds)


def identity(model: Module) -> object:
    """What stands for all models built like this one: their class, or the expression that builds them."""
    return model.definition if isinstance(model, Instance) else model.place


def likeness(value: Value, known: dict[int, int] | None = None) -> Hashable:
    """What two models have in common that are the same but for the sizes of their layers.

    Of whole numbers only those below four are told apart: larger ones are widths and depths. What is met again, as an
    object that several layers share, is told by its number in `known`.
    """
    if isinstance(value, Constant):
        small = not isinstance(value.value, int) or value.value < 4
        telling = value.value if small and isinstance(value.value, (int, float, str)) else None
        return (type(value.value), telling, value.default)
    known = {} if known is None else known
    if id(value) in known:
        return known[id(value)]
    known[id(value)] = len(known)
    parts: list[Hashable] = [type(value).__name__]
    if isinstance(value, Module):
        parts += [value.place if not isinstance(value, Instance) else value.definition]
        parts += [(name, likeness(each, known)) for name, each in value.cells.items()]
    if isinstance(value, LayerValue):
        parts += [value.name, *(likeness(each, known) for each in value.args)]
        parts += [(name, likeness(each, known)) for name, each in value.kwargs.items()]
    elif isinstance(value, Container):
        parts += [(name, likeness(each, known)) for name, each in value.entries.items()]
    elif isinstance(value, Instance):
        parts += [value.base and likeness(value.base, known)]
    elif isinstance(value, (Items, Maybe)):
        parts += [likeness(each, known) for each in value.items]
    elif isinstance(value, Either):
        parts += [likeness(each, known) for each in value.options]
    elif isinstance(value, Several):
        parts += [likeness(value.item, known)]
    elif isinstance(value, Entries):
        parts += [(name, likeness(each, known)) for name, each in value.cells.items()]
    elif isinstance(value, Function):
        parts += [value.node, value.instance is not None and likeness(value.instance, known)]
    elif isinstance(value, Partial):
        parts += [likeness(each, known) for each in (value.callee, *value.args, *value.kwargs.values())]
    elif isinstance(value, (Unknown, TensorRef, External, Definition)):
        parts += [value]
    return tuple(parts)


def name_of(model: Module) -> str:
    if isinstance(model, Instance):
        return model.definition.name.rpartition(".")[2]
    return model.name if isinstance(model, (LayerValue, Container)) else "model"


def single(value: Value) -> Value:
    """A value without the alternative that there is none."""
    if isinstance(value, Either):
        rest = [each for each in value.options if each != Constant(None)]
        return rest[0] if len(rest) == 1 else Unknown(varies=True)
    return value
