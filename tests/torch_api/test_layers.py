"""The table of layers holds what the installed torch does: classes, signatures, calls, weights, modes."""

from __future__ import annotations

import copy
import inspect
import re
import runpy
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from regcheck.engine.scan import scan
from regcheck.runtime import models as live
from regcheck.static.interpreter.values import Constant, LayerValue
from regcheck.static.models import inspection as static
from regcheck.torch_api.arguments import BY_KEYWORD
from regcheck.torch_api.layers import CONTAINERS, FOREIGN_LAYERS, LAYERS, UNKNOWN, layer_named, layer_of_class
from regcheck.torch_api.losses import LOSS_LAYERS, LOSSES
from regcheck.tracing.call_interceptor import name_of

CLASSES = {name: each for name, each in vars(nn).items() if isinstance(each, type) and issubclass(each, nn.Module)}

ABSTRACT = {"Module", "Container", "RNNBase", "RNNCellBase"}
"""Classes of torch.nn that have no `forward` of their own."""

NOTHING_TO_SAY = {
    *("Fold", "Unfold", "CosineSimilarity", "PairwiseDistance", "CrossMapLRN2d"),
    *("ParameterList", "ParameterDict", "DataParallel"),
}
"""Classes of torch.nn that neither learn, drop, draw nor depend on the mode, and that no rule has a use for."""

NEWER = {"bias"}
"""Keyword-only arguments that the oldest torch supported does not have."""


def signature_of(cls: type) -> Mapping[str, inspect.Parameter]:
    """The parameters of a constructor, without `self`; of overloads the first, which spells them out."""
    overloads = typing.get_overloads(cls.__init__) if hasattr(typing, "get_overloads") else []
    made = inspect.signature(overloads[0] if overloads else cls.__init__)
    return dict([*made.parameters.items()][1:])


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_of_torch_is_in_one_place(name: str) -> None:
    """Each class of torch.nn is a layer, a container, a loss, abstract, or on the list of those with nothing to say."""
    places = (LAYERS, CONTAINERS, LOSS_LAYERS, ABSTRACT - LAYERS.keys(), NOTHING_TO_SAY)
    assert [name in each for each in places].count(True) == 1


def test_the_table_names_no_class_that_torch_does_not_have() -> None:
    """Each row stands for a class of torch.nn, or for a private one that others derive from."""
    private = {base.__name__ for each in CLASSES.values() for base in each.__mro__}
    assert LAYERS.keys() <= CLASSES.keys() | private
    assert CLASSES.keys() >= NOTHING_TO_SAY


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_arguments_stand_where_torch_takes_them(name: str) -> None:
    """Each argument in the table has the position and the default that the class's constructor gives it."""
    cls = CLASSES.get(name) or next(b for c in CLASSES.values() for b in c.__mro__ if b.__name__ == name)
    if name in ("LSTM", "GRU", "RNN") and not hasattr(typing, "get_overloads"):
        pytest.skip("this Python does not keep overloads")
    parameters = signature_of(cls)
    positions = [each for each, one in parameters.items() if one.kind is not one.KEYWORD_ONLY]
    for each in LAYERS[name].arguments.values():
        if each.name not in parameters:
            assert each.position == BY_KEYWORD
            assert each.name in NEWER
            continue
        default = parameters[each.name].default
        assert each.default == (None if default is inspect.Parameter.empty else default)
        assert each.position == (positions.index(each.name) if each.name in positions else BY_KEYWORD)


def maps(rank: str, channels: int = 4) -> torch.Tensor:
    return torch.randn(3, channels, *[6] * int(rank)) * 3 + 1


def sample(name: str, settings: Mapping[str, Any]) -> tuple[nn.Module, tuple[Any, ...]]:
    """A small layer of a class with these settings, and an input."""
    build: Callable[..., nn.Module] = CLASSES[name]
    rank = found[1] if (found := re.search(r"(\d)d$", name)) else ""
    given: tuple[Any, ...] = ()
    inputs: tuple[Any, ...] = (maps(rank or "0"),)
    if name in ("Linear", "LazyLinear"):
        given = (4, 5)[name == "LazyLinear" :]
    elif name == "Bilinear":
        given, inputs = (4, 4, 5), (maps("0"), maps("0"))
    elif "Conv" in name:
        given = (4, 5, 3)[name.startswith("Lazy") :]
    elif name.startswith("Embedding"):
        given, inputs = (7, 4), (torch.randint(7, (3, 5)),)
    elif name.endswith("Cell"):
        given = (4, 5)
    elif name in ("LSTM", "GRU", "RNN"):
        given, inputs = (4, 5), (torch.randn(6, 3, 4),)
    elif name == "MultiheadAttention":
        given, inputs = (4, 2), (torch.randn(6, 3, 4),) * 3
    elif "Transformer" in name:
        block = {"d_model": 4, "nhead": 2, "dim_feedforward": 8}
        inputs = (torch.randn(6, 3, 4),) * (1 if "Encoder" in name else 2)
        if name in ("TransformerEncoder", "TransformerDecoder"):
            return build(CLASSES[f"{name}Layer"](**block, **settings), 2), inputs
        layers = {} if name.endswith("Layer") else {"num_encoder_layers": 1, "num_decoder_layers": 1}
        return build(**block, **layers, **settings), inputs
    elif "BatchNorm" in name or "InstanceNorm" in name:
        given, inputs = (() if name.startswith("Lazy") else (4,)), (maps(rank or "2"),)
    elif name in ("LayerNorm", "RMSNorm"):
        given = (4,)
    elif name == "GroupNorm":
        given = (2, 4)
    elif name == "LocalResponseNorm":
        given, inputs = (2,), (maps("2"),)
    elif name == "Threshold":
        given = (0.1, 20.0)
    elif "Softmax" in name or name in ("Softmin", "GLU"):
        given = () if name == "Softmax2d" else (1,)
    elif name == "Unflatten":
        given = (1, (2, 2))
    elif "LPPool" in name:
        given = (2, 2)
    elif "Adaptive" in name:
        given = (2,)
    elif "FractionalMaxPool" in name:
        given, settings = (2,), {"output_size": 3, **settings}
    elif "MaxUnpool" in name:
        given, inputs = (2,), unpooled(rank)
    elif "Pool" in name:
        given = (2,)
    elif "Pad" in name:
        given = (1, *[0.5] * ("Constant" in name))
    elif "Upsampl" in name:
        given, inputs = (None, 2), (maps("2"),)
    elif "Shuffle" in name or "Unshuffle" in name:
        given, inputs = (2,), (maps("2"),)
    return build(*given, **settings), inputs


def depends_on_mode(layer: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether the layer gives other results in train mode than in eval mode, from one seed."""

    def run(training: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        result = copy.deepcopy(layer).train(training)(*inputs)
        flat = result if isinstance(result, tuple) else (result,)
        return [each for each in flat if isinstance(each, torch.Tensor)]

    with torch.no_grad():
        return not all(torch.allclose(one, two, atol=1e-4) for one, two in zip(run(True), run(False), strict=True))


PUBLIC = sorted(LAYERS.keys() & CLASSES.keys() - ABSTRACT)
_RATES = ({"dropout": 0.5}, {"dropout": 0.0})
_STATISTICS = ({"track_running_stats": True}, {"track_running_stats": False})
SETTINGS: dict[str, tuple[Mapping[str, Any], ...]] = {
    **{name: ({"p": 0.5}, {"p": 0.0}, {"p": 1.0}) for name in PUBLIC if "Dropout" in name},
    **{name: _STATISTICS for name in PUBLIC if "BatchNorm" in name or "InstanceNorm" in name},
    **{
        name: ({"dropout": 0.5, "num_layers": 2}, {"dropout": 0.5}, {"num_layers": 2})
        for name in ("LSTM", "GRU", "RNN")
    },
    **{name: _RATES for name in PUBLIC if "Transformer" in name or name == "MultiheadAttention"},
    "RReLU": ({"lower": 0.2, "upper": 0.2}, {"lower": 0.0, "upper": 1.0}),
}
"""Settings beside the defaults under which each layer that can depend on its mode is run."""

CASES = [(name, settings) for name in PUBLIC for settings in ({}, *SETTINGS.get(name, ()))]
IDS = [f"{name}-{settings or 'default'}" for name, settings in CASES]


def test_each_layer_that_can_depend_on_its_mode_is_tried_both_ways() -> None:
    """For each layer that the table says can depend on its mode, there are settings with which it does and does not."""
    capable = {name for name in PUBLIC if LAYERS[name].by_mode or LAYERS[name].copies}
    assert capable == SETTINGS.keys()


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
@pytest.mark.filterwarnings("ignore:dropout option adds dropout:UserWarning")  # one of the cases does
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")  # as it says, the layer is not batch first
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")  # they are meant
def test_a_layer_depends_on_its_mode_where_the_table_says(name: str, settings: Mapping[str, Any]) -> None:
    """Run in both modes it differs exactly where the live layer and the layer in source are said to depend on it."""
    torch.manual_seed(0)
    layer, inputs = sample(name, settings)
    with torch.no_grad():
        layer(*inputs)  # a lazy layer takes its shape from its first input
    depends = depends_on_mode(layer, inputs)
    assert bool(live.modes(layer)[1]) is depends
    written = LayerValue(None, name=name, kwargs={each: Constant(value) for each, value in settings.items()})
    if LAYERS[name].copies:
        written = LayerValue(None, name=name, args=(LayerValue(None, name=f"{name}Layer", kwargs=written.kwargs),))
    assert bool(static.depends_on_mode(written)) is depends
    assert live.modes(layer)[1] == tuple(static.depends_on_mode(written))


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")  # as it says, the layer is not batch first
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")  # they are meant
def test_a_layer_calls_its_function_and_holds_its_weights(name: str) -> None:
    """It calls the function that its row names, and has a parameter of two axes or more if its row says it learns."""
    layer, inputs = sample(name, {})
    row, called = LAYERS[name], set[str]()
    assert layer_of_class(type(layer)) is row

    class Calls(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            called.add(name_of(func))
            return func(*args, **(kwargs or {}))

    with Calls():
        layer(*inputs)
    assert row.function in called | {"", "identity"}
    weights = [each for each in layer.parameters() if each.dim() > 1]
    assert bool(weights) is row.learned
    if row.is_norm and row.scale is not None:
        assert (layer.weight is not None) is row.scale.default
    bias = row.arguments.get("bias")
    if bias is not None and bias.position != BY_KEYWORD:
        names = {each.rpartition(".")[2] for each, _ in sample(name, {"bias": False})[0].named_parameters()}
        assert not any(each.startswith("bias") for each in names)


def test_layers_with_nothing_to_say_are_run_too() -> None:
    """None of them has parameters, or gives other results in one mode than in the other."""
    recipes: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
        "Fold": (((4, 4), 2), (torch.randn(3, 8, 9),)),
        "Unfold": ((2,), (maps("2"),)),
        "CosineSimilarity": ((), (maps("2"), maps("2"))),
        "PairwiseDistance": ((), (maps("0"), maps("0"))),
        "CrossMapLRN2d": ((2,), (maps("2"),)),
    }
    assert recipes.keys() == NOTHING_TO_SAY - {"ParameterList", "ParameterDict", "DataParallel"}
    for name, (given, inputs) in recipes.items():
        layer = CLASSES[name](*given)
        assert (name, [*layer.parameters()], depends_on_mode(layer, inputs)) == (name, [], False)


def unpooled(rank: str) -> tuple[Any, ...]:
    """What a max pooling of that rank gives, with its indices."""
    result: tuple[Any, ...] = CLASSES[f"MaxPool{rank}d"](2, return_indices=True)(maps(rank))
    return result


@pytest.mark.parametrize("name", sorted(LOSS_LAYERS & CLASSES.keys()))
def test_a_loss_calls_its_function_and_reads_no_mode(name: str) -> None:
    """The code of a loss layer calls the function that the table names, and does not ask for the mode."""
    code = "".join(inspect.getsource(base) for base in CLASSES[name].__mro__ if base not in (nn.Module, object))
    assert LOSSES[name] == "" or f"F.{LOSSES[name]}(" in code
    assert ".training" not in code


@pytest.mark.parametrize("row", [LAYERS[name] for name in PUBLIC if LAYERS[name].tracks], ids=lambda row: row.function)
def test_an_unknown_setting_counts_as_its_default(row: Any) -> None:
    """A norm with an unknown switch depends on its mode if it does by default."""
    assert bool(row.mode_dependence(lambda name: UNKNOWN)) is row.tracks.default


def test_an_unknown_rate_makes_no_dependence() -> None:
    """Nothing is claimed about a dropout, or a recurrent layer's depth, whose number is unknown."""
    assert layer_named("Dropout").mode_dependence(lambda name: UNKNOWN) == ""
    depth = {"dropout": 0.5, "num_layers": UNKNOWN}
    assert layer_named("LSTM").mode_dependence(depth.__getitem__) == ""


def test_derived_classes_have_the_row_of_their_base() -> None:
    """A class of one's own has the row of the torch class that it derives from, private ones included."""

    class Mine(nn.modules.batchnorm._BatchNorm):
        pass

    class DropPath(nn.Module):
        pass

    class Wrapped(nn.Dropout2d):
        pass

    assert layer_of_class(Mine) is LAYERS["_BatchNorm"]
    assert layer_of_class(Wrapped) is LAYERS["Dropout2d"]
    assert layer_of_class(DropPath) is FOREIGN_LAYERS["DropPath"]
    assert not layer_of_class(nn.Module).by_mode


DERIVED = """
import torch
from torch import nn
from torch.nn import functional as F


class Dropped(nn.Linear):
    def forward(self, x):
        return F.dropout(super().forward(x), 0.5, self.training)


model = nn.Sequential(Dropped(4, 8), nn.Linear(8, 2))
with torch.no_grad():
    print(model(torch.ones(3, 4)))
"""


def test_a_layer_that_is_derived_may_drop_by_itself(tmp_path: Path) -> None:
    """A class that derives from a layer without dropout, and calls a functional one, depends on its mode."""
    path = tmp_path / "derived.py"
    path.write_text(DERIVED)
    assert [(each.code, each.line) for each in scan([path]).findings] == [("REG201", 14)]
    program = runpy.run_path(str(path))
    assert live.modes(program["model"]) == (True, ("dropout",))
