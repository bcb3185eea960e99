"""One run for both modes: when it is enough, and that it tells what a second one would."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.graph import Flow, Gate, Mode
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.lower import lower_graph
from regcheck.tracing.mode_dependence import ModeReads
from regcheck.tracing.record import record
from regcheck.tracing.strategies import TraceResult, trace_model

X = torch.ones(4, 8)


class Calling(nn.Module):
    """A few layers, and how often the forward was called, which is the function given."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], Any], drop: nn.Module | None = None) -> None:
        super().__init__()
        self.linear, self.drop, self.norm = nn.Linear(8, 8), drop or nn.Dropout(0.5), nn.BatchNorm1d(8)
        self.aside = [nn.Dropout(0.3), nn.BatchNorm1d(8)]
        self.unlearned = nn.BatchNorm1d(8, affine=False, track_running_stats=False)
        self.averaging = nn.BatchNorm1d(8, momentum=None)
        self.function, self.calls = forward, [0]

    def forward(self, x: torch.Tensor) -> Any:
        self.calls[0] += 1
        return self.function(self, x)


def traced_and_run(model: Calling) -> tuple[TraceResult, int]:
    traced = trace_model(model, "model", Inputs((X,), {}))
    return traced, model.calls[0]


def really(model: nn.Module, mode: Mode) -> Flow:
    """The flow of a real run in that mode."""
    recording = record(model.train(mode is Mode.TRAIN), (X,), {})
    return lower_graph(recording.graph, recording.outputs, mode)


ENOUGH = {
    "no layer that depends on the mode": lambda self, x: self.linear(x).relu(),
    "a dropout layer": lambda self, x: self.drop(self.linear(x)),
    "a dropout layer in a residual": lambda self, x: (h := self.linear(x)) + self.drop(h),
    "a dropout layer called twice": lambda self, x: self.drop(self.linear(self.drop(x))),
    "a functional dropout that ignores the mode": lambda self, x: F.dropout(self.drop(x), 0.1),
    "a dropout layer in a list": lambda self, x: self.aside[0](self.drop(x)),
    "noise": lambda self, x: x + 0.1 * torch.randn_like(self.drop(x)),
    "a batch norm": lambda self, x: self.norm(self.linear(x)) + x,
    "a batch norm and a dropout layer": lambda self, x: self.linear(self.norm(self.drop(x))),
    "a batch norm without running statistics": lambda self, x: self.unlearned(self.norm(x)),
    "a batch norm in a list": lambda self, x: self.aside[1](self.norm(x)),
    "a batch norm that is written to": lambda self, x: self.norm(self.linear(x)).relu_() + self.linear(x),
    "a value that does not depend on the mode": lambda self, x: self.norm(x) if x.sum() > 0 else x,
}


@pytest.mark.parametrize("forward", ENOUGH.values(), ids=ENOUGH)
def test_one_run_tells_both_modes_where_only_dropout_layers_ask_for_one(forward: Any) -> None:
    """The forward runs once, and both flows are those of real runs in either mode, op by op."""
    model = Calling(forward)
    copies = {mode: copy.deepcopy(model) for mode in Mode}
    traced, runs = traced_and_run(model)
    assert runs == 1
    for mode in Mode:
        assert traced.graph.flow(mode) == really(copies[mode], mode)


def test_a_batch_norm_that_refuses_to_train_is_run_in_both_modes() -> None:
    """With one value per channel train mode raises, which an eval run does not show; two samples determine both."""
    model = Calling(lambda self, x: self.norm(x))
    trace_model(model, "model", Inputs((X[:1],), {}))
    assert model.calls[0] == 3


LAYERS = [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_every_dropout_layer_is_switched_on_at_its_rate(layer: type[nn.Module], rate: float) -> None:
    """Whatever the kind and the rate, what is told of train mode is what happens in it."""
    shaped = torch.ones(2, 3, 4, 4, 4)[(0,) * (2 if layer is nn.Dropout1d else 1 if layer is nn.Dropout2d else 0)]
    model = nn.Sequential(layer(rate))
    graph = trace_model(model, "model", Inputs((shaped,), {})).graph
    recording = record(model.train(), (shaped,), {})
    assert graph.train == lower_graph(recording.graph, recording.outputs, Mode.TRAIN)
    (op,) = [each for each in graph.train if each.drops]
    assert graph.gate(op) is (Gate.MODE if rate else Gate.NEVER)


def encoder(**settings: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 8, 0.3, batch_first=True)
    return nn.TransformerEncoder(layer, 2, **settings)


STACKS: dict[str, tuple[nn.Module, torch.Tensor]] = {
    "two layers": (nn.LSTM(8, 8, 2, dropout=0.4), torch.ones(3, 4, 8)),
    "one layer": (nn.GRU(8, 8), torch.ones(3, 4, 8)),
    "no rate": (nn.RNN(8, 8, 2), torch.ones(3, 4, 8)),
    "packed": (nn.GRU(8, 8, 2, dropout=0.4), nn.utils.rnn.pack_sequence([torch.ones(3, 8), torch.ones(2, 8)])),
    "encoder": (encoder(enable_nested_tensor=False), torch.ones(3, 4, 8)),
    "encoder with nested tensors": (encoder(), torch.ones(3, 4, 8)),
    "instance norm": (nn.InstanceNorm1d(4), torch.ones(3, 4, 8)),
}


@pytest.mark.parametrize(("layer", "x"), STACKS.values(), ids=STACKS)
def test_one_run_determines_both_modes_of_layers_that_pass_the_mode_on(layer: nn.Module, x: Any) -> None:
    """Recurrent layers, attention and encoders run once, and both flows equal those of real runs."""
    model, calls = nn.Sequential(layer), list[nn.Module]()
    model.register_forward_hook(lambda *call: calls.append(call[0]))
    graph = trace_model(model, "model", Inputs((x,), {})).graph
    assert len(calls) == 1
    for mode in Mode:
        recording = record(model.train(mode is Mode.TRAIN), (x,), {})
        assert graph.flow(mode) == lower_graph(recording.graph, recording.outputs, mode)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_one_run_determines_both_modes_of_attention(rate: float, weights: bool) -> None:
    """Attention runs once, whether or not it returns its weights, which other code computes."""
    model = Calling(lambda self, x: self.drop(x, x, x, need_weights=weights)[0], nn.MultiheadAttention(8, 2, rate))
    copied = copy.deepcopy(model)
    traced, runs = traced_and_run(model)
    assert runs == 1 and all(traced.graph.flow(mode) == really(copied, mode) for mode in Mode)


def test_the_graph_that_is_shown_is_that_of_train_mode() -> None:
    """The calls of dropout layers have their switch on in it."""
    traced, _ = traced_and_run(Calling(lambda self, x: self.drop(x)))
    (call,) = [node for node in traced.fx_graph.nodes if node.op == "call_function"]
    assert True in (*call.args, *call.kwargs.values()) and call.kwargs.get("training", True) is True


class Subclassed(nn.Dropout):
    """Halves what its parent gives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


class Attention(nn.MultiheadAttention):
    """Doubles its queries in train mode."""

    def forward(self, query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        return super().forward(query * (1 + self.training), *args, **kwargs)


class Memory(nn.LSTM):
    """Returns what its parent gives."""

    def forward(self, *args: Any) -> Any:
        return super().forward(*args)


class Late(nn.Dropout):
    """Is never told of eval mode."""

    def train(self, mode: bool = True) -> Any:
        return super().train(True)


class Always(nn.Dropout):
    """Has a mode of its own."""

    @property
    def training(self) -> bool:  # type: ignore[override]
        return True

    @training.setter
    def training(self, mode: bool) -> None:
        pass


def in_a_thread(self: Any, x: torch.Tensor) -> torch.Tensor:
    modes: list[bool] = []
    thread = threading.Thread(target=lambda: modes.append(self.training))
    thread.start()
    thread.join()
    return x * 2 if modes[0] else x


def in_another_mode(self: Any, x: torch.Tensor) -> torch.Tensor:
    self.drop.eval()
    dropped: torch.Tensor = self.drop(x)
    return dropped


def made_in_the_call(self: Any, x: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = nn.Dropout(0.5)(x)
    return made


def untracked(self: Any, x: torch.Tensor) -> torch.Tensor:
    self.norm.track_running_stats = False
    normalized: torch.Tensor = self.norm(x)
    return normalized


NOT_ENOUGH: dict[str, tuple[Any, nn.Module | None]] = {
    "the forward asks": (lambda self, x: F.dropout(x, 0.5, self.training), None),
    "the forward asks a layer": (lambda self, x: x * 2 if self.drop.training else x, None),
    "the forward asks by name": (lambda self, x: x * 2 if getattr(self, "training", False) else x, None),
    "a thread asks": (in_a_thread, None),
    "the forward sets a mode": (in_another_mode, None),
    "a layer made in the call": (made_in_the_call, None),
    "a batch norm with its own count": (lambda self, x: self.averaging(x), None),
    "a batch norm that stops tracking": (untracked, None),
    "a value behind a dropout": (lambda self, x: x if self.drop(x).sum() > 0 else -x, None),
    "a value behind a batch norm": (lambda self, x: x if self.norm(x).tolist() else -x, None),
    "weights that are dropped": (lambda self, x: F.linear(x, self.drop(self.linear.weight)), None),
    "a result that is written to": (lambda self, x: self.drop(h := self.linear(x)).mul_(2) + h, None),
    "in place": (lambda self, x: self.drop(x * 1), nn.Dropout(0.5, inplace=True)),
    "a subclass with its own forward": (lambda self, x: self.drop(x), Subclassed(0.5)),
    "a subclass with its own train": (lambda self, x: self.drop(x), Late(0.5)),
    "a subclass with its own mode": (lambda self, x: self.drop(x), Always(0.5)),
    "an instance norm with statistics": (lambda self, x: self.drop(x), nn.InstanceNorm1d(4, track_running_stats=True)),
    "a subclass of attention": (lambda self, x: self.drop(x, x, x)[0], Attention(8, 2, dropout=0.5)),
    "a subclass of a recurrent layer": (lambda self, x: self.drop(x)[0], Memory(8, 8, 2, dropout=0.5)),
}


@pytest.mark.parametrize(("forward", "layer"), NOT_ENOUGH.values(), ids=NOT_ENOUGH)
def test_what_may_depend_on_the_mode_otherwise_is_run_in_both(forward: Any, layer: nn.Module | None) -> None:
    """Whoever else asks for a mode, sets one or keeps it elsewhere: each mode has its own run."""
    model = Calling(forward, layer)
    traced, runs = traced_and_run(model)
    assert runs == 2 and {*traced.ran} == {*Mode}


def test_a_script_is_run_in_both_modes() -> None:
    """Nobody is told when a script asks for its mode."""
    model = Calling(lambda self, x: self.drop(x), torch.jit.script(nn.Linear(8, 8)))
    assert traced_and_run(model)[1] == 2


def test_a_forward_may_script_modules_meanwhile() -> None:
    """Compiling a module, which looks at its properties, goes as ever."""
    model = Calling(lambda self, x: torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)))(x))
    traced, runs = traced_and_run(model)
    assert runs == 2 and traced.not_checked == ()


def test_an_instance_with_a_train_of_its_own_is_run_in_both_modes() -> None:
    """As torch.export and others put one on an instance."""
    model = Calling(lambda self, x: self.drop(x))
    model.drop.train = lambda mode=True: model.drop  # type: ignore[method-assign]
    assert traced_and_run(model)[1] == 2


def test_modes_are_where_they_were_once_nobody_listens() -> None:
    """While anyone listens, modes are read and set as ever; afterwards nothing is left on the class."""
    model = nn.Sequential(nn.Dropout(0.5))
    first, second = ModeReads(model), ModeReads(model)
    with first:
        with second:
            assert model.eval()[0].training is False
        model.train()
        assert model[0].training is True and hasattr(model, "training") and not hasattr(model, "trained")
    assert first.any and second.any
    assert "training" not in vars(nn.Module) and model[0].training is True


def test_a_module_without_a_mode_has_none() -> None:
    """One whose class never called torch's constructor raises the same error while somebody listens."""
    module = nn.Dropout.__new__(nn.Dropout)
    with ModeReads(nn.Sequential()), pytest.raises(AttributeError, match="training"):
        assert module.training
