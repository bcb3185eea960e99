"""A forward on fake tensors: the same graph, nothing of the model run, and a guess where a value is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from regcheck import audit
from regcheck.core.graph import Kind, Mode
from regcheck.tracing import memory
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.fake import CannotRunFake, FakeRecording, fake_copy, reason_not_run, record_fake
from regcheck.tracing.lower import lower_graph
from regcheck.tracing.record import Recording, record
from regcheck.tracing.strategies import trace_model


class Residual(nn.Module):
    """Constants made in forward, a plain tensor, a cache, and ops that return their input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.3)
        self.scale = torch.ones(8)
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.cache["positions"] = torch.arange(8) * torch.tensor(0.5)
        hidden = self.drop(self.linear(x).contiguous()) * self.scale
        return x + hidden + self.cache["positions"]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 5, num_layers=2, dropout=0.1, bidirectional=True, batch_first=True)
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        states, (last, _) = self.rnn(x)
        return {"scores": self.head(states.mean(1)), "last": last}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.1 if self.training else 0.0)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.conv(x).relu_()
        x[:, 0] = 0.0
        return x.mul_(torch.rand(4, 1)) if self.training else x


def conv_net() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Dropout(0.1), nn.Linear(8, 2)), (2, 8), 1),
    "conv net with batch norm": (conv_net, (2, 3, 16, 16), 1),
    "residual with constants": (Residual, (2, 8), 1),
    "LSTM": (Recurrent, (2, 7, 6), 1),
    "functional attention": (Attention, (2, 5, 16), 1),
    "in place": (InPlace, (2, 2, 9), 1),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), (2, 5, 16), 1),
    "transformer": (lambda: nn.Transformer(16, 2, 1, 1, 32, batch_first=True), (2, 5, 16), 2),
}


def shown(recording: Recording, mode: Mode) -> tuple[Any, ...]:
    """Kinds, calls, places, shapes and edges of a recording, and its outputs."""
    flow = lower_graph(recording.graph, recording.outputs, mode)
    return [(op.id, op.kind, op.site, op.call, op.inputs, op.active, op.shape) for op in flow], flow.outputs


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("build", "shape", "inputs"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_fake_run_gives_the_graph_of_a_real_one(
    build: Callable[[], nn.Module], shape: tuple[int, ...], inputs: int, mode: Mode, device: str
) -> None:
    """Kinds, sites, shapes and edges are the same, whether the weights are there or on meta."""
    model = build().train(mode is Mode.TRAIN)
    args = tuple(torch.randn(shape) for _ in range(inputs))
    real = shown(record(model, args, {}), mode)
    elsewhere = build().to(device)
    if isinstance(elsewhere, Residual):
        elsewhere.scale = elsewhere.scale.to(device)
    imagined = record_fake(elsewhere, mode, Inputs(tuple(each.to(device) for each in args)))
    assert shown(imagined, mode) == real
    assert imagined.guessed == ()


class Watched(nn.Module):
    """Notes which tensors its forward meets."""

    met: list[bool]

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.plain = torch.ones(4)
        self.listed = [torch.ones(4)]
        self.met = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        MET.extend(isinstance(each, FakeTensor) for each in (x, self.linear.weight, self.plain, self.listed[0]))
        self.plain.add_(1)
        self.listed[0].add_(1)
        SHARED.add_(1)
        self.extra = x
        return F.dropout(self.norm(self.linear(x)) * self.plain, 0.2)


MET: list[bool] = []
SHARED = torch.zeros(4)


def test_no_run_runs_nothing_of_the_users() -> None:
    """With `run` off a forward meets fake tensors only, no value changes, and findings say why they are unmeasured."""
    model = Watched()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), weight_decay=0.1)
    MET.clear()
    report = audit(model, torch.randn(3, 4), optimizer=optimizer, options={"run": False})
    assert MET and all(MET)
    assert [each.code for each in report.findings] == ["REG301", "REG202"]
    assert {each.evidence.because for each in report.findings} == {"running is switched off"}
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    assert torch.equal(model.plain, torch.ones(4)) and torch.equal(model.listed[0], torch.ones(4))
    assert torch.equal(SHARED, torch.zeros(4)) and not hasattr(model, "extra")


def test_a_model_on_meta_is_audited_and_stays_there() -> None:
    """Its findings are unmeasured for want of values; the model is untouched."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), Always(), nn.Linear(4, 2)).eval()
    before = [(id(each), each.device, each.requires_grad) for each in model.parameters()]
    report = audit(model)
    (finding,) = report.findings
    assert finding.code == "REG202" and "meta" in finding.evidence.because
    assert report.not_checked == ()
    assert [(id(each), each.device, each.requires_grad) for each in model.parameters()] == before
    assert not any(each.training for each in model.modules())


class Always(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, 0.5)


def test_random_streams_are_left_alone() -> None:
    """A fake run draws from no stream, though its forward draws and values are guessed."""
    model = nn.Sequential(InPlace(), Needs("item"))
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    assert record_fake(model, Mode.TRAIN, Inputs((torch.zeros(2, 2, 9),))).guessed
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]


class Needs(nn.Module):
    """Needs a value, in one of the ways there are."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.what == "item":
            y = x * x.sum().item()
        elif self.what == "branch":
            y = x + 1 if x.mean() > 0 else x
        elif self.what == "mask":
            y = x[x > 0]
        elif self.what == "nonzero":
            y = (x > 0).nonzero().float()
        elif self.what == "tolist":
            y = x * x.flatten().tolist()[0]
        elif self.what == "numpy":
            y = x + torch.from_numpy(x.detach().numpy() * 2)
        elif self.what == "unique":
            y = torch.unique(x)
        elif self.what == "refusal":
            if x.isnan().any():
                raise ValueError("not a number")
        elif self.what == "assertion":
            assert (x < 100).all()
        return self.drop(y)


WAYS = ("item", "branch", "mask", "nonzero", "tolist", "numpy", "unique", "refusal", "assertion")


@pytest.mark.parametrize("what", WAYS)
def test_a_value_that_is_needed_is_guessed_and_told(what: str) -> None:
    """The run goes on, the graph is assumed, and the report names the line whose value was guessed."""
    traced = trace_model(Needs(what), "model", Inputs((torch.randn(3, 4),)), reason_not_run="it shall not be run")
    assert traced.graph.assumed
    assert [op.rate for op in traced.graph.dropouts(Mode.TRAIN)] == [0.5]
    (missed,) = traced.not_checked
    assert "guessed" in missed.reason and missed.path == __file__ and missed.line
    assert "guessed" in traced.unmeasurable


def test_both_ways_of_guessing_are_tried() -> None:
    """A model that refuses the first guesses is run once more on others; what refuses both is told with its line."""

    class Picky(nn.Module):
        def __init__(self, wanted: bool | None) -> None:
            super().__init__()
            self.wanted = wanted

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.any()) is not self.wanted:
                raise ValueError("refused")
            return x

    inputs = Inputs((torch.ones(2),))
    assert record_fake(Picky(False), Mode.EVAL, inputs).guessed
    assert record_fake(Picky(True), Mode.EVAL, inputs).guessed
    with pytest.raises(CannotRunFake, match="forward raised ValueError: refused") as raised:
        record_fake(Picky(None), Mode.EVAL, inputs)
    assert raised.value.place is not None and not raised.value.surely


def test_sizes_that_do_not_fit_are_surely_refused() -> None:
    """An error about shapes before anything was guessed is the model's own, and another is not taken for one."""
    with pytest.raises(CannotRunFake, match="forward raised RuntimeError") as raised:
        record_fake(nn.Linear(4, 2), Mode.EVAL, Inputs((torch.ones(2, 5),)))
    assert raised.value.surely
    with pytest.raises(CannotRunFake) as raised:
        record_fake(nn.Sequential(Needs("item"), nn.Linear(4, 2)), Mode.EVAL, Inputs((torch.ones(2, 5),)))
    assert not raised.value.surely


def test_guesses_are_not_made_without_bound() -> None:
    """A value that would take too many made-up ones is not guessed."""
    huge = torch.empty(1 << 13, 1 << 13, device="meta")
    with pytest.raises(CannotRunFake, match="too many to guess"):
        record_fake(Needs("nonzero"), Mode.EVAL, Inputs((huge,)))


def test_a_copy_shares_no_tensor_and_keeps_ties() -> None:
    """Tied weights are tied in the fake copy, and every tensor is fake, wherever the model keeps it."""
    model = Watched()
    model.tied = model.linear.weight  # type: ignore[assignment]
    twin: Any = fake_copy(model)
    assert twin.tied is twin.linear.weight and isinstance(twin.tied, nn.Parameter)
    assert all(isinstance(each, FakeTensor) for each in (*twin.parameters(), *twin.buffers(), twin.plain, *twin.listed))


def test_what_cannot_be_run_is_told_from_what_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights without values and without room each give their reason; an ordinary and a lazy model give none."""
    assert reason_not_run(nn.Linear(2, 2)) == reason_not_run(nn.LazyLinear(2)) == ""
    assert "`weight` is on the meta device" in reason_not_run(nn.Linear(2, 2, device="meta"))
    with FakeTensorMode():
        assert "fake" in reason_not_run(nn.Linear(2, 2))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1_000)
    monkeypatch.setattr(memory, "SMALL", 0)
    assert reason_not_run(nn.Linear(2, 2)) == ""
    assert "and 1e-06 GB are free on cpu" in reason_not_run(nn.Linear(100, 100))


def test_free_memory_is_known_here() -> None:
    """On Linux the memory that is left is known; of a device that nobody can ask it is not."""
    free = memory.free_bytes(torch.device("cpu"))
    assert free is None or 0 < free < 1 << 50
    assert memory.free_bytes(torch.device("meta")) is None


def test_a_model_that_does_not_fit_is_followed_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings say how much memory is missing."""
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10)
    monkeypatch.setattr(memory, "SMALL", 0)
    report = audit(nn.Sequential(nn.Linear(4, 4), Always()), torch.ones(2, 4))
    assert [each.code for each in report.findings] and "free on cpu" in report.findings[0].evidence.because


def test_running_out_of_memory_leads_to_a_fake_run() -> None:
    """A forward that cannot allocate what it asks for is followed all the same."""

    class Greedy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.dropout(x, 0.5) + torch.zeros(1 << 46).sum()

    traced = trace_model(Greedy(), "model", Inputs((torch.ones(2),)))
    assert "out of memory" in traced.unmeasurable
    assert any(op.kind is Kind.DROPOUT for op in traced.graph.eval)


def test_fake_runs_leave_a_recording_like_any_other() -> None:
    """A fake recording is a recording, without fake tensors in its graph."""
    imagined = record_fake(Residual(), Mode.EVAL, Inputs((torch.ones(2, 8),)))
    assert isinstance(imagined, FakeRecording)
    for node in imagined.graph.nodes:
        assert not any(isinstance(each, torch.Tensor) for each in (*node.args, *node.kwargs.values()))
