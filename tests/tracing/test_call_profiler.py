"""A call that nothing can be found in is recognized as it runs, and is left as it is."""

from __future__ import annotations

import copy
import importlib
import random
import sys
import threading
import types
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import autograd, nn
from torch.profiler import ProfilerActivity, profile

from regcheck.config.options import Options
from regcheck.engine.audit import check_model
from regcheck.engine.check import Check
from regcheck.runtime.recorder import EventRecorder, Observation
from regcheck.tracing.call_profiler import MOST_CALLS, CallProfiler
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.unwrap import subject_of

Forward = Callable[[Any, torch.Tensor], Any]


@pytest.fixture(autouse=True)
def _nothing_compiled() -> None:
    """Forget what other tests of the process have compiled."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


class Model(nn.Module):
    """A model whose parts and forward a test chooses."""

    def __init__(self, forward: Forward | None = None, **parts: Any) -> None:
        super().__init__()
        self.first, self.last, self.run = nn.Linear(6, 6), nn.Linear(6, 2), forward
        for name, each in parts.items():
            setattr(self, name, each)

    def forward(self, x: torch.Tensor) -> Any:
        hidden = self.first(x).relu()
        if self.run is not None:
            hidden = self.run(self, hidden)
        return self.last(hidden) if isinstance(hidden, torch.Tensor) else hidden


class Stubborn(Model):
    def train(self, mode: bool = True) -> Stubborn:
        return super().train(mode)


def scaled(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5


def dropped(x: torch.Tensor, training: bool) -> torch.Tensor:
    return torch.dropout(x, 0.5, training)


class Outcome:
    """A result that is no container of tensors."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value


GENERATOR = torch.Generator()


def scripted(function: Callable[..., torch.Tensor], *args: bool) -> Model:
    compiled = torch.jit.script(function)
    return Model(lambda self, x: compiled(x, *args))


def with_hook(hook: Callable[..., Any]) -> Model:
    model = Model()
    model.first.register_forward_hook(hook)
    return model


INERT: Mapping[str, Callable[[], nn.Module]] = {
    "layers": Model,
    "batch norm": lambda: Model(lambda self, x: self.norm(x), norm=nn.BatchNorm1d(6)),
    "batch norm in eval mode": lambda: Model(lambda self, x: self.norm(x), norm=nn.BatchNorm1d(6)).eval(),
    "maps": lambda: Model(
        lambda self, x: self.net(x.view(-1, 1, 2, 3)).flatten(1),
        net=nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Dropout2d(0.0)),
    ),
    "pooling": lambda: Model(lambda self, x: F.adaptive_avg_pool2d(x[:, :, None, None], 1).flatten(1)),
    "rate zero": lambda: Model(lambda self, x: self.drop(x), drop=nn.Dropout(0.0)),
    "rate zero in eval mode": lambda: Model(lambda self, x: self.drop(x), drop=nn.Dropout(0.0)).eval(),
    "layer norm": lambda: Model(lambda self, x: self.norm(x), norm=nn.LayerNorm(6)),
    "list of layers": lambda: Model(
        lambda self, x: self.parts[1](self.parts[0](x)), parts=nn.ModuleList([nn.Linear(6, 6), nn.ReLU()])
    ),
    "one layer twice": lambda: Model(lambda self, x: self.norm(self.norm(x)), norm=nn.BatchNorm1d(6)),
    "dictionary of tensors": lambda: Model(lambda self, x: {"out": self.last(x), "both": [x, (x, x)]}),
    "hook that scales": lambda: with_hook(lambda module, args, result: result * 0.5),
    "attention by hand": lambda: Model(lambda self, x: (x @ x.T).softmax(-1) @ x),
}
NOT_INERT: Mapping[str, Callable[[], nn.Module]] = {
    "dropout": lambda: Model(lambda self, x: self.drop(x), drop=nn.Dropout(0.1)),
    "dropout in eval mode": lambda: Model(lambda self, x: self.drop(x), drop=nn.Dropout(0.1)).eval(),
    "dropout of channels": lambda: Model(lambda self, x: self.drop(x[..., None])[..., 0], drop=nn.Dropout1d(0.1)),
    "function that drops": lambda: Model(lambda self, x: F.dropout(x, 0.3)),
    "function at rate zero": lambda: Model(lambda self, x: F.dropout(x, 0.0, self.training)),
    "function switched off": lambda: Model(lambda self, x: F.dropout(x, 0.3, False)),
    "rate zero, and function": lambda: Model(lambda self, x: F.dropout(x, 0.3, False), drop=nn.Dropout(0.0)),
    "draw in train mode": lambda: Model(lambda self, x: x + torch.rand(6) if self.training else x).eval(),
    "other code in train mode": lambda: Model(lambda self, x: x * 2 if self.training else x),
    "noise": lambda: Model(lambda self, x: x + torch.randn_like(x)),
    "noise in place": lambda: Model(lambda self, x: x + torch.empty(6).uniform_()),
    "noise of a generator": lambda: Model(lambda self, x: x + torch.rand(6, generator=GENERATOR)),
    "Python's noise": lambda: Model(lambda self, x: x * random.random()),
    "Gumbel softmax": lambda: Model(lambda self, x: F.gumbel_softmax(x)),
    "leaky slopes": lambda: Model(lambda self, x: F.rrelu(x, training=True)),
    "attention": lambda: Model(lambda self, x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.1)),
    "multi-head attention": lambda: Model(lambda self, x: self.mha(x, x, x)[0], mha=nn.MultiheadAttention(6, 2)),
    "recurrent": lambda: Model(lambda self, x: self.rnn(x)[0], rnn=nn.LSTM(6, 6, 2, dropout=0.2)),
    "script that drops": lambda: scripted(dropped, True),
    "script that would drop": lambda: scripted(dropped, False),
    "hook that drops": lambda: with_hook(lambda module, args, result: F.dropout(result, 0.2)),
    "norm that eval() misses": lambda: Model(lambda self, x: self.parts[0](x), parts=(nn.BatchNorm1d(6),)),
    "norm without statistics": lambda: Model(
        lambda self, x: self.norm(x), norm=nn.BatchNorm1d(6, track_running_stats=False)
    ),
    "norm by hand": lambda: Model(lambda self, x: F.batch_norm(x, None, None, training=True)),
    "statistics by hand": lambda: Model(lambda self, x: x - x.mean(0)),
    "deviation by hand": lambda: Model(lambda self, x: x / x.std(dim=0)),
    "instance norm": lambda: Model(lambda self, x: self.norm(x[:, None])[:, 0], norm=nn.InstanceNorm1d(1)),
    "modes of its own": Stubborn,
    "part without a call": lambda: Model(spare=nn.Linear(6, 6)),
    "part called past its hooks": lambda: Model(lambda self, x: self.part.forward(x), part=nn.Linear(6, 6)),
    "result of another class": lambda: Model(lambda self, x: Outcome(x)),
    "in place": lambda: Model(lambda self, x: self.drop(x), drop=nn.Dropout(0.0, inplace=True)),
}


def watched(model: nn.Module, *args: torch.Tensor) -> Observation:
    """The observation of one call under profilers."""
    with EventRecorder(profile=CallProfiler.of) as recorder:
        model(*args)
    observation = recorder.drain()
    assert not observation.skipped
    return observation


@pytest.mark.parametrize("name", INERT)
def test_an_inert_call_is_recognized_and_a_replay_finds_the_same(name: str) -> None:
    """Nothing is found in an inert call that is recorded after all, and the coverage is equal."""
    (capture,) = watched(INERT[name](), torch.rand(4, 6)).captures
    check = Check.of(Options.of({"select": ["ALL"]}), {})
    report = check_model(check, subject_of(capture.model), Inputs(capture.args, capture.kwargs, "captured"))
    assert not (report.findings or report.advice or report.refuted or report.not_checked)
    assert report.coverage == (capture.inert,)


@pytest.mark.parametrize("name", NOT_INERT)
def test_a_call_that_a_rule_may_start_from_is_not_inert(name: str) -> None:
    """Whatever drops, draws, depends on the mode or escapes the profiler leaves the call to be recorded."""
    (capture,) = watched(NOT_INERT[name](), torch.rand(4, 6)).captures
    assert capture.inert is None


MASKED = """
import torch
from torch import nn


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.mask = torch.bernoulli(torch.full((6,), 0.5))

    def forward(self, x):
        return self.layer(x) * self.mask
"""


def test_a_mask_that_is_drawn_once_is_not_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product with a mask of the constructor runs no operator that draws, and is recorded all the same."""
    (tmp_path / "masked_net.py").write_text(MASKED)
    monkeypatch.syspath_prepend(tmp_path)
    (capture,) = watched(importlib.import_module("masked_net").Masked(), torch.rand(4, 6)).captures
    assert capture.inert is None


class Lazy(types.ModuleType):
    """A module that imports what it stands for when an attribute of it is asked for."""

    def __getattr__(self, name: str) -> object:
        raise ImportError(f"{self.__name__} needs a package that is not installed")


def test_a_lazy_module_beside_the_model_stays_unimported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the model's packages are read where these hold modules that only an attribute imports."""
    package = tmp_path / "lazy_package"
    package.mkdir()
    (package / "__init__.py").write_text(MASKED.replace("self.layer(x) * self.mask", "self.layer(x)"))
    monkeypatch.syspath_prepend(tmp_path)
    model = importlib.import_module("lazy_package").Masked()
    monkeypatch.setitem(sys.modules, "lazy_package.extra", Lazy("lazy_package.extra"))
    observation = watched(model, torch.rand(4, 6))
    assert not observation.skipped
    assert observation.captures[0].inert is not None


class Through(autograd.Function):
    """Calls a module from within an operator."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, part: nn.Module) -> torch.Tensor:
        for _ in range(MOST_CALLS):
            x = part(x)
        return x


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_long_calls_are_counted_whole(rate: float) -> None:
    """The profiler is emptied as a call goes on, also within an operator, and what it saw before counts."""
    parts = {"drop": nn.Dropout(rate), "norm": nn.BatchNorm1d(6)}
    model = Model(lambda self, x: self.norm(Through.apply(self.norm(self.drop(x)), self.norm)), **parts)
    (capture,) = watched(model, torch.rand(4, 6)).captures
    assert (capture.inert is not None) == (rate == 0)


def test_scripts_are_seen_through() -> None:
    """A scripted function that neither drops nor draws leaves a call inert, and no part of it opaque."""
    (capture,) = watched(scripted(scaled), torch.rand(4, 6)).captures
    assert capture.inert is not None and capture.inert.traced == capture.inert.modules


def test_a_program_that_compiles_is_not_profiled() -> None:
    """After `torch.compile` nothing is profiled: compiled code would be compiled anew for what reads of a mode see."""
    model = Model()
    torch.optim.SGD(model.parameters(), lr=0.1).step()  # loads the compiler, and compiles nothing
    assert "torch._dynamo" in sys.modules and CallProfiler.of(model) is not None
    torch.compile(nn.Linear(2, 2), backend="eager")
    assert CallProfiler.of(model) is None


@pytest.mark.parametrize(
    "around", [nullcontext, torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_a_profiled_call_computes_what_it_computes_alone(around: Callable[[], Any]) -> None:
    """Results, gradients, version counters and running statistics are equal to the bit."""
    original, x = INERT["batch norm"](), torch.rand(4, 6)
    model, twin = copy.deepcopy(original), copy.deepcopy(original)
    with around():
        with EventRecorder(profile=CallProfiler.of) as recorder:
            result = model(x)
        alone = twin(x)
        if result.requires_grad:
            result.sum().backward()
            alone.sum().backward()
    (capture,) = recorder.drain().captures
    assert capture.inert is not None
    assert torch.equal(result, alone) and result.dtype == alone.dtype
    for one, other in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other) and one._version == other._version
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_the_programs_own_profiler_has_precedence() -> None:
    """A forward that profiles its own work does so, and its call is recorded on a copy."""
    seen: list[str] = []

    def profiled(self: Model, x: torch.Tensor) -> torch.Tensor:
        with profile(activities=[ProfilerActivity.CPU]) as own:
            x = x.sigmoid()
        seen.extend(each.key for each in own.key_averages())
        return x

    (capture,) = watched(Model(profiled), torch.rand(4, 6)).captures
    assert "aten::sigmoid" in seen and capture.inert is None
    with profile(activities=[ProfilerActivity.CPU]) as around:
        (capture,) = watched(Model(), torch.rand(4, 6)).captures
    assert "aten::linear" in {each.key for each in around.key_averages()} and capture.inert is None


def test_nothing_stays_behind() -> None:
    """After a call, also one that raises, no profiler runs, and modes and torch's functions are as before."""
    before = dict(vars(autograd.profiler))

    def fail(self: Model, x: torch.Tensor) -> torch.Tensor:
        assert autograd._profiler_enabled() and not isinstance(vars(nn.Module).get("training"), bool)
        raise ArithmeticError

    with EventRecorder(profile=CallProfiler.of) as recorder:
        with pytest.raises(ArithmeticError):
            Model(fail)(torch.rand(4, 6))
        Model()(torch.rand(4, 6))
    assert not recorder.drain().skipped
    assert not autograd._profiler_enabled() and "training" not in vars(nn.Module)
    assert dict(vars(autograd.profiler)) == before


def test_threads_have_profilers_of_their_own() -> None:
    """Calls in several threads at once do not disturb each other."""
    both = threading.Barrier(2)

    def wait(self: Model, x: torch.Tensor) -> torch.Tensor:
        both.wait(30)
        x = x.tanh()
        both.wait(30)
        return x

    with EventRecorder(profile=CallProfiler.of) as recorder:
        threads = [threading.Thread(target=Model(wait), args=(torch.rand(4, 6),)) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not recorder.drain().skipped
    assert not CallProfiler._active and "training" not in vars(nn.Module)


def test_modes_and_transforms_of_the_program_are_left_alone() -> None:
    """Under a function mode, a dispatch mode or a transform nothing is profiled."""
    model = Model()
    with torch.device("cpu"):
        assert CallProfiler.of(model) is None
    assert CallProfiler.of(torch.jit.script(nn.Linear(2, 2))) is None
    assert CallProfiler.of(nn.DataParallel(model)) is None
    assert CallProfiler.of(nn.LazyLinear(2)) is None
    assert CallProfiler.of(model) is not None
