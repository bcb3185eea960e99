"""Live models: which layers depend on the mode, the kinds of their parameters, their memory, their fingerprint."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterator
from functools import partial
from types import FunctionType
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.jit import ScriptModule
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from regcheck.core.usage import BIAS, NORM_SCALE, WEIGHT
from regcheck.files.escape import encode
from regcheck.keras_api import layer_tree
from regcheck.torch_api.functions import DRAWING, DROPPING, STATISTICS
from regcheck.torch_api.layers import BATCH_NORM, CONTAINERS, DROPOUT, NOISE, UNKNOWN, layer_of_class

_LAZY = (UninitializedParameter, UninitializedBuffer)
_NORM_NAME = re.compile(r"Norm(?:\dd)?$")
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "_FabricModule": "_original_module",
}
_DRAWING = DRAWING | {"rsample"}
_DROPPING = DROPPING.keys() | {f"{name}_" for name in DROPPING}
_readers: WeakKeyDictionary[type[nn.Module], tuple[frozenset[str], ...]] = WeakKeyDictionary()


def parts(module: nn.Module) -> Iterator[nn.Module]:
    """The module and every module in it, each once."""
    seen: set[int] = set()
    keras_layer = layer_tree.layer_class()
    todo = [module]
    while todo:
        each = todo.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            todo.extend(child for child in each._modules.values() if child is not None)
            if keras_layer is not None and isinstance(each, keras_layer):
                todo.extend(child for _, child in layer_tree.sublayers(each))


def depends_on_mode(layer: Any) -> str:
    """The kind of a layer whose result depends on its mode, or an empty string.

    A scripted layer counts if it was made from one of torch's own and its code still reads the mode; the code of a
    traced or frozen one does not.
    """
    if isinstance(layer, ScriptModule) and not _reads_mode(layer):
        return ""
    cls = class_of(layer)
    row = layer_of_class(cls)
    if row.by_mode:
        return row.mode_dependence(partial(_setting, layer))
    return _kind_by_code(layer)


def updates_statistics(layer: nn.Module) -> bool:
    """Whether a layer is a norm that moves running statistics in train mode, also while its parameters are frozen.

    A frozen norm of Keras does not.
    """
    if layer_tree.is_layer(layer):
        return False
    return bool(depends_on_mode(layer)) and layer_of_class(class_of(layer)).updates_statistics(partial(_setting, layer))


def is_norm(layer: nn.Module) -> bool:
    """Whether the parameters of a layer are the scale and the shift of a norm."""
    cls = class_of(layer)
    return layer_of_class(cls).is_norm or bool(_NORM_NAME.search(cls.__name__))


def _setting(layer: nn.Module, name: str) -> Any:
    """The value of a layer's setting; a norm keeps running statistics if it has the buffers."""
    if name == "track_running_stats":
        return layer.running_mean is not None
    return getattr(layer, name, UNKNOWN)


def class_of(layer: nn.Module) -> type[nn.Module]:
    """The class of a layer; for a scripted layer, its original torch.nn class."""
    if isinstance(layer, ScriptModule):
        home, _, name = layer._c._type().qualified_name().rpartition(".")
        made_from = getattr(nn, name, None) if home.startswith("__torch__.torch.nn.modules.") else None
        if isinstance(made_from, type):
            return made_from
    return type(layer)


def _reads_mode(layer: ScriptModule) -> bool:
    """Whether the code of a scripted layer asks for the layer's mode."""
    graphs = (layer._c._get_method(name).graph for name in layer._c._method_names())
    return any(node.s("name") == "training" for graph in graphs for node in graph.findAllNodes("prim::GetAttr"))


def _kind_by_code(layer: nn.Module) -> str:
    """What a layer of the user's own class does in a function that reads the mode, or an empty string."""
    readers = _mode_readers(type(layer))
    if not readers:
        return ""
    if _has_rate(layer):
        if any(not _DROPPING.isdisjoint(each) for each in readers):
            return DROPOUT
        if any(not _DRAWING.isdisjoint(each) for each in readers):
            return NOISE
    buffers = {name for name, each in layer._buffers.items() if each is not None}
    by_batch = any(not buffers.isdisjoint(each) and not STATISTICS.isdisjoint(each) for each in readers)
    return BATCH_NORM if by_batch else ""


def _mode_readers(cls: type[nn.Module]) -> tuple[frozenset[str], ...]:
    """The names that each function of a class uses which reads the mode, with those in the functions that it calls."""
    if cls not in _readers:
        _readers[cls] = tuple(each for each in _names_in_functions(cls) if "training" in each)
    return _readers[cls]


def _names_in_functions(cls: type[nn.Module]) -> Iterator[frozenset[str]]:
    """The names that each function of a class uses, with those in the user's functions that it names."""
    for base in cls.__mro__:
        if base.__module__.startswith("torch."):
            return
        for each in vars(base).values():
            function = inspect.unwrap(each) if isinstance(each, FunctionType) else None
            if isinstance(function, FunctionType):
                names = function.__code__.co_names
                named = [inspect.getattr_static(cls, name, function.__globals__.get(name)) for name in names]
                yield frozenset(names).union(*[one.__code__.co_names for one in named if _is_users(one)])


def _is_users(callee: Any) -> TypeGuard[FunctionType]:
    return isinstance(callee, FunctionType) and not (callee.__module__ or "").startswith("torch.")


def _has_rate(layer: nn.Module) -> bool:
    """False where a layer keeps rates, and all of them are zero."""
    rates = [
        value
        for name, value in vars(layer).items()
        if (name == "p" or "drop" in name) and isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return not rates or any(rates)


def is_training(layer: nn.Module) -> bool:
    """Whether a layer acts as in training: by its flag, or by the call that runs a Keras layer now."""
    return layer_tree.in_training(layer) if layer_tree.is_layer(layer) else layer.training


def mode_dependent(module: nn.Module) -> list[nn.Module]:
    """The layers whose result depends on their mode."""
    return [each for each in parts(module) if depends_on_mode(each)]


def modes(module: nn.Module) -> tuple[bool, tuple[str, ...]]:
    """Whether any layer acts as in training, and the kinds of the layers that do; if none does, of all that could."""
    kinds: dict[bool, dict[str, None]] = {True: {}, False: {}}
    for each in parts(module):
        kind = depends_on_mode(each)
        if kind:
            kinds[is_training(each)][kind] = None
    training = bool(kinds[True])
    return training, tuple(sorted(kinds[training]))


def bytes_of(module: nn.Module) -> int:
    """The memory that parameters and buffers take."""
    tensors = (each for part in parts(module) for each in (*part._parameters.values(), *part._buffers.values()))
    there = (each for each in tensors if each is not None and not isinstance(each, _LAZY))
    return sum(piece.nbytes for each in there for piece in stored(each))


def stored(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors that store a tensor's values: itself, or the indices and values of a sparse tensor."""
    if tensor.layout is torch.sparse_coo:
        return tensor._indices(), tensor._values()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return tensor.ccol_indices(), tensor.row_indices(), tensor.values()
    return (tensor,)


def has_learned_layers(module: nn.Module) -> bool:
    """Whether there are learned layers; the scale and shift of a norm do not count."""
    return any(layer_of_class(type(each)).learned or _holds_weights(each) for each in parts(module))


def _holds_weights(layer: nn.Module) -> bool:
    owned = [each for each in layer._parameters.values() if each is not None]
    norm = layer_of_class(type(layer)).is_norm
    return not norm and any(isinstance(each, _LAZY) or each.dim() > 1 for each in owned)


def kinds_of_parameters(module: nn.Module) -> Iterator[tuple[int, str]]:
    """Pairs of a trained parameter's id and its kind, for the parameters whose owner determines the kind."""
    for owner in parts(module):
        listed = layer_of_class(type(owner)).is_norm
        norm = listed or bool(_NORM_NAME.search(type(owner).__name__))
        for name, each in owner._parameters.items():
            if each is None or isinstance(each, _LAZY) or not each.requires_grad:
                continue
            if "bias" in name and (norm or each.dim() < 2):
                yield id(each), BIAS
            elif norm and (listed or each.dim() < 2):
                yield id(each), NORM_SCALE
            elif each.dim() > 1:
                yield id(each), WEIGHT


def is_lone_layer(module: nn.Module) -> bool:
    """Whether this is one of torch's own layers rather than something composed of them."""
    cls = class_of(module)
    composed = layer_of_class(cls).composed or any(base.__name__ in CONTAINERS for base in cls.__mro__)
    if layer_tree.is_layer(module):
        return not composed and cls.__module__.startswith("keras.src.layers.")
    return cls.__module__.startswith(("torch.nn.modules.", "torch.nn.utils.")) and not composed


def name_of(module: nn.Module) -> str:
    """The name of the model's class, inside of wrappers."""
    while type(module).__name__ in _WRAPPERS:
        inner = module._modules.get(_WRAPPERS[type(module).__name__])
        if inner is None:
            break
        module = inner
    return str(module.original_name) if isinstance(module, ScriptModule) else type(module).__name__


def fingerprint(module: nn.Module) -> str:
    """A hash that is equal for models of the same structure: classes, shapes, rates and switches by path.

    It does not depend on weights, modes or the process.
    """
    digest = hashlib.blake2b(digest_size=12)
    for number, (path, each) in enumerate(layer_tree.named_parts(module)):
        cls = type(each)
        if layer_tree.is_layer(each):  # Keras numbers the layers of a process in their names
            path = f"{number}:{[tuple(weight.shape) for weight in each.weights]}"
        made_from = each.original_name if isinstance(each, ScriptModule) else cls.__qualname__
        digest.update(encode(f"{path}:{cls.__module__}.{made_from}"))
        for name, tensor in (*each._parameters.items(), *each._buffers.items()):
            shape = None if tensor is None or isinstance(tensor, _LAZY) else tuple(tensor.shape)
            digest.update(encode(f"{name}{shape}"))
        for name, value in sorted(vars(each).items()):
            if name != "training" and _is_setting(value):
                digest.update(encode(f"{name}={value}"))
    return digest.hexdigest()


def _is_setting(value: object) -> bool:
    """Whether a value is a switch or a rate. Other numbers show in shapes, or count what differs between models."""
    return value is None or isinstance(value, bool) or (isinstance(value, float) and 0 <= value <= 1)
