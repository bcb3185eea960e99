"""Properties of a built model: its mode and what depends on it, its parameters, its identity, its structure."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

from regcheck.core.graph import Kind
from regcheck.core.usage import BIAS, NORM_SCALE, WEIGHT
from regcheck.files.dotted_name import is_self
from regcheck.static.interpreter.values import (
    VARYING,
    ClassDefinition,
    Configuration,
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
    ParameterOf,
    Parameters,
    Partial,
    Setting,
    Several,
    TensorRef,
    Unknown,
    UnknownModel,
    UnknownObject,
    Value,
    Weight,
    by_default,
    descendants,
    modules_in,
    truth,
)
from regcheck.static.project.names import Definition
from regcheck.torch_api.functions import DROPPING, LEARNED
from regcheck.torch_api.layers import BATCH_NORM, DROPOUT, FOREIGN_LAYERS, NO_LAYER, NOISE, UNKNOWN, Layer, layer_named
from regcheck.torch_api.losses import LOSS_LAYERS

from .mode_gates import TrainOnly, train_only


def depends_on_mode(model: Module) -> frozenset[str]:
    """The kinds of layer that a module is, or is composed of copies of, whose result depends on the mode.

    Its registered submodules do not count: each is a module of its own.
    """
    layer = layer_of(model)
    row = NO_LAYER if layer is None else layer_named(layer.name)
    if layer is not None and row.by_mode:
        kind = row.mode_dependence(partial(_assumed_setting, layer, row))
    else:
        kind = _dependence_of_class(model) if isinstance(model, Instance) else ""
    inside = (each for copied in _copied(model) for _, each in descendants(copied))
    return frozenset([kind] if kind else []).union(*map(depends_on_mode, inside))


def _assumed_setting(layer: LayerValue, row: Layer, name: str) -> Any:
    """A setting of a layer: by default where its user chooses it, and acting where a rate or a depth is unknown."""
    value = _number(layer.argument(*row.arguments[name]))
    if value is UNKNOWN and row.rate is not None and name == row.rate.name:
        return DROPPING["dropout"].rate.default
    return 2 if value is UNKNOWN and row.depth is not None and name == row.depth.name else value


def _number(value: Value) -> Any:
    """A constant, or the number that a setting has by default."""
    default = by_default(value)
    is_number = isinstance(default, Constant) and isinstance(default.value, (int, float))
    return default.value if isinstance(default, Constant) and (is_number or default is value) else UNKNOWN


def layer_of(model: Module) -> LayerValue | None:
    """The layer of torch.nn that a module is, or that its class derives from."""
    base = model.base if isinstance(model, Instance) else model
    return base if isinstance(base, LayerValue) else None


def _copied(model: Module) -> Iterator[Module]:
    """The layer that a `TransformerEncoder` or `TransformerDecoder` stacks copies of."""
    layer = layer_of(model)
    row = NO_LAYER if layer is None else layer_named(layer.name)
    if layer is not None and row.copies:
        yield from modules_in(layer.argument(*row.arguments[row.copies]))


def _dependence_of_class(model: Instance) -> str:
    """The kind of layer that a class of the program's own is, if its result depends on the mode."""
    row = FOREIGN_LAYERS.get(name_of(model))
    if row is not None:
        return row.mode_dependence(partial(_attribute, model))
    kinds = {each.kind for each in train_only(model.definition) if _acts(model, each)}
    return next((kind for kind in (DROPOUT, BATCH_NORM, NOISE) if kind in kinds), "")


def _acts(model: Instance, action: TrainOnly) -> bool:
    """Whether what a class does in train mode changes results, by the numbers that the model has for it."""
    if action.kind == DROPOUT:
        rate = _rate(model, action.rate)
        return rate is UNKNOWN or bool(layer_named("Dropout").mode_dependence({"p": rate}.get))
    return action.kind == BATCH_NORM or not any(_is_zero(_attribute(model, each)) for each in action.settings)


def _is_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


def _attribute(model: Instance, name: str) -> Any:
    return _number(model.cells.get(name, VARYING))


def _rate(model: Instance, node: ast.expr | None) -> Any:
    """The rate in a call: the default, a number, or a number that an attribute of the model holds."""
    if node is None:
        return DROPPING["dropout"].rate.default
    if isinstance(node, ast.Constant):
        return node.value
    owned = isinstance(node, ast.Attribute) and is_self(node.value)
    return _attribute(model, node.attr) if isinstance(node, ast.Attribute) and owned else UNKNOWN


def modes(model: Module) -> tuple[bool | None, tuple[str, ...]]:
    """Whether any layer acts as in training (None: unknown), and the kinds of layer that depend on the mode."""
    acting: dict[object, set[str]] = {}
    if isinstance(model, UnknownModel):
        mode = model.cells.get("training")
        return (bool(mode.value) if isinstance(mode, Constant) else None), ()
    for _, each in descendants(model):
        kinds = depends_on_mode(each)
        if kinds:
            training = each.cells.get("training", Constant(True))
            acting.setdefault(training.value if isinstance(training, Constant) else None, set()).update(kinds)
    for state in (True, None, False):
        if state in acting:
            return state, tuple(sorted(acting[state]))
    own = model.cells.get("training", Constant(True))
    return (bool(own.value) if isinstance(own, Constant) else None), ()


def has_learned_layers(model: Module) -> bool:
    """Whether there are learned layers beside those that depend on the mode; of an unknown model they are assumed."""
    if isinstance(model, UnknownModel):
        return True
    for _, each in descendants(model):
        layer = layer_of(each)
        if layer is not None and layer_named(layer.name).learned:
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
        return _kinds_of_layer(model)
    cells = model.entries if isinstance(model, Container) else model.cells
    inside = [each for name, each in cells.items() if name not in cells.doubtful]
    if isinstance(model, Instance) and model.base is not None:
        inside.append(model.base)
    kinds = (_certain_kinds(each, seen) for each in inside if isinstance(each, Module) and each.is_module)
    return set[str]().union(*kinds)


def _kinds_of_layer(model: LayerValue) -> set[str]:
    """The kinds of parameter that a layer with a single weight, or a norm, is certain to have."""
    row = layer_named(model.name)
    bias = row.arguments.get("bias")
    biases = {BIAS} if bias is not None and truth(model.argument(*bias)) else set[str]()
    if row.scale is not None:
        return {NORM_SCALE, *biases} if truth(model.argument(*row.scale)) else set()
    single = bias is not None and row.kind in LEARNED and row.kind is not Kind.RECURRENT
    return {WEIGHT, *biases} if single else set()


def parameter_names(model: Module) -> tuple[str, ...]:
    """The names of the parameters that a module registers itself; of a layer, its weight and its bias."""
    own = tuple(name for name, value in model.cells.items() if isinstance(value, Weight))
    layer = layer_of(model)
    row = NO_LAYER if layer is None else layer_named(layer.name)
    scale, bias = row.scale, row.arguments.get("bias")
    if layer is None or not (row.learned if scale is None else truth(layer.argument(*scale)) is not False):
        return own
    has_bias = bias is None or truth(layer.argument(*bias)) is not False
    return tuple(dict.fromkeys((*own, "weight", *(("bias",) if has_bias else ()))))


def identity(model: Module) -> Hashable:
    """The key that models of one class share, or those that one expression constructs; the same in every process."""
    return _position(model.definition) if isinstance(model, Instance) else model.place


def _position(value: ClassDefinition | Function) -> tuple[str, int, int]:
    """The file, line and column of the definition of a class or a function."""
    return value.source.path, value.node.lineno, value.node.col_offset


_WITHOUT_FORWARD = ("torch.nn.Module", ".LightningModule", "builtins.object", "abc.ABC")


LOSS_WORDS = ("loss", "criterion", "cross_entropy", "kl_div")
"""Found in the lower-case names of functions and classes that compute a loss."""


def is_loss(module: Module) -> bool:
    """Whether a module is a loss: one of torch, or of a class that is named for one."""
    if isinstance(module, LayerValue):
        return module.name in LOSS_LAYERS
    return isinstance(module, Instance) and any(word in name_of(module).lower() for word in LOSS_WORDS)


def is_function(module: Module) -> bool:
    """Whether a module of the program's own class is a mere function: it learns nothing, and has no mode.

    So is a loss of the program's own. A part that is not known may learn.
    """
    if not isinstance(module, Instance) or has_learned_layers(module) or modes(module)[1]:
        return False
    cells = (value for _, each in descendants(module) for value in each.cells.values())
    return not any(isinstance(value, UnknownObject) for value in cells)


def parts_of(owner: Module) -> list[Module]:
    """The modules that are registered in a module and run in its `forward`; none if it has no `forward`.

    A module without one is no model, but a training task or a pair of networks: its parts are models of their own.
    """
    is_model = owner.is_module and not (isinstance(owner, Instance) and owner.base is None and _lacks_forward(owner))
    return [each for _, each in owner.children()] if is_model else []


def _lacks_forward(owner: Instance) -> bool:
    definition = owner.definition
    if definition.method("forward") is not None or not isinstance(definition, Definition):
        return False
    outside = (base for each in definition.mro for base in each.bases if not isinstance(base, Definition))
    return all(isinstance(base, External) and base.name.endswith(_WITHOUT_FORWARD) for base in outside)


def likeness(model: Module) -> str:
    """A digest that is equal for models of the same structure whose layers may differ in size.

    Integers from four on count as equal: they are widths and depths. A layer or container that occurs again is replaced
    by its number. Nothing in the digest depends on the process.
    """
    return hashlib.blake2b(repr(_likeness(model, {})).encode(errors="replace"), digest_size=16).hexdigest()


def _likeness(value: Value, numbers: dict[int, int]) -> Hashable:
    """A key with the representation that is equal for like values; `numbers` numbers the objects that occurred."""
    if isinstance(value, Constant):
        small = not isinstance(value.value, int) or value.value < 4
        telling = value.value if small and isinstance(value.value, (int, float, str)) else None
        return (type(value.value), telling, value.default)
    if type(value) in (Unknown, TensorRef, External, Weight):
        return value
    if id(value) in numbers:
        return numbers[id(value)]
    numbers[id(value)] = len(numbers)
    parts: list[Hashable] = [type(value).__name__]
    if isinstance(value, Module):
        parts += [identity(value)]
        parts += [(name, _likeness(each, numbers)) for name, each in value.cells.items()]
    if isinstance(value, LayerValue):
        parts += [value.name, *(_likeness(each, numbers) for each in value.args)]
        parts += [(name, _likeness(each, numbers)) for name, each in value.kwargs.items()]
    elif isinstance(value, Container):
        parts += [(name, _likeness(each, numbers)) for name, each in value.entries.items()]
    elif isinstance(value, Instance):
        parts += [value.base and _likeness(value.base, numbers)]
    elif isinstance(value, (Items, Maybe)):
        parts += [_likeness(each, numbers) for each in value.items]
    elif isinstance(value, Either):
        parts += [_likeness(each, numbers) for each in value.options]
    elif isinstance(value, Several):
        parts += [_likeness(value.item, numbers)]
    elif isinstance(value, Entries):
        parts += [(name, _likeness(each, numbers)) for name, each in value.cells.items()]
    elif isinstance(value, Function):
        parts += [_position(value), value.instance is not None and _likeness(value.instance, numbers)]
    elif isinstance(value, Partial):
        parts += [_likeness(each, numbers) for each in (value.callee, *value.args, *value.kwargs.values())]
    elif isinstance(value, UnknownObject):
        parts += [value.varies]
    elif isinstance(value, Setting):
        parts += [value.origin, _likeness(value.default, numbers)]
    elif isinstance(value, Configuration):
        parts += [(name, _likeness(each, numbers)) for name, each in value.settings.items()]
    elif isinstance(value, (Parameters, ParameterOf)):
        parts += [value.varies, value.owner is not None and _likeness(value.owner, numbers)]
    elif isinstance(value, Definition):
        parts += [_position(value)]
    elif isinstance(value, Unknown):
        parts += [value.varies, value.sizes]
    elif isinstance(value, TensorRef):
        parts += [value.ids]
    return tuple(parts)


def name_of(model: Module) -> str:
    if isinstance(model, Instance):
        return model.definition.name.rpartition(".")[2]
    return model.name if isinstance(model, (LayerValue, Container, UnknownModel)) else "model"


def single(value: Value) -> Value:
    """The value without its alternative None; unknown if several others are left."""
    if isinstance(value, Either):
        rest = [each for each in value.options if each != Constant(None)]
        return rest[0] if len(rest) == 1 else Unknown(varies=True)
    return value
