"""The recorder: the dataflow of a real forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.finding import Verdict
from regcheck.core.graph import Drops, Flow, Gate, Graph, Kind, Mode
from regcheck.engine.audit import audit
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.lower import lower_graph
from regcheck.tracing.record import ForwardRaised, record
from regcheck.tracing.strategies import trace_model


class Forward(nn.Module):
    """A model with one linear layer and one dropout, whose forward is the function given."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.drop = nn.Dropout(0.5)
        self.function = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def flow_of(forward: Callable[..., Any], *args: Any, training: bool = False, **kwargs: Any) -> Flow:
    model = Forward(forward).train(training)
    recording = record(model, args, kwargs)
    return lower_graph(recording.graph, recording.outputs, Mode.TRAIN if training else Mode.EVAL)


def kinds_behind(flow: Flow, output: int = 0) -> list[Kind]:
    """Kinds met walking back from an output, each once, sorted."""
    last = flow.ops[flow.outputs[output][1]]
    met: list[Kind] = []
    flow.behind(last, lambda op: met.append(op.kind) or True)  # type: ignore[func-returns-value]
    return sorted({*met, last.kind}, key=lambda kind: kind.value)


X = torch.randn(4, 8)


def test_every_output_leads_back_to_the_input() -> None:
    """Dataflow is connected from the placeholder to the output."""
    flow = flow_of(lambda self, x: self.linear(x).relu().view(2, 2, 8).flatten(1), X)
    assert kinds_behind(flow) == [Kind.ACTIVATION, Kind.INPUT, Kind.LINEAR, Kind.PARAMETER, Kind.RESHAPE]


def test_the_residual_around_an_inactive_dropout_stays_a_residual() -> None:
    """An op that returns its input is told from that input, so the two branches of an addition stay two."""
    flow = flow_of(lambda self, x: (h := self.linear(x)) + self.drop(h), X)
    addition = flow.ops[flow.outputs[0][1]]
    assert [op.kind for op in flow.inputs_of(addition)] == [Kind.LINEAR, Kind.DROPOUT]


def test_in_place_ops_are_followed_through_views() -> None:
    """What is written into a view is seen behind its base."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(4, 8)
        h[:, :4].copy_(self.linear(x)[:, :4])
        return h

    assert Kind.LINEAR in kinds_behind(flow_of(forward, X))


def test_setting_items_is_followed() -> None:
    """`h[...] = value` makes the value part of what is behind `h`."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(4, 8)
        h[:, 2:] = self.linear(x)[:, 2:]
        return h * 2

    assert Kind.LINEAR in kinds_behind(flow_of(forward, X))


@dataclass
class Result:
    logits: torch.Tensor
    hidden: torch.Tensor


class Slotted:
    __slots__ = ("scores",)

    def __init__(self, scores: torch.Tensor) -> None:
        self.scores = scores


@pytest.mark.parametrize(
    ("wrap", "names"),
    [
        (lambda y: y, ["output"]),
        (lambda y: (y, y + 1), ["output[0]", "output[1]"]),
        (lambda y: {"logits": y, "aux": [y + 1]}, ["logits", "aux[0]"]),
        (lambda y: Result(y, y + 1), ["logits", "hidden"]),
        (lambda y: Slotted(y), ["scores"]),
        (lambda y: torch.max(y, 1), ["output[0]", "output[1]"]),
    ],
)
def test_outputs_have_names(wrap: Callable[[torch.Tensor], Any], names: list[str]) -> None:
    """Each tensor of an output structure has a name a user would know it by, and leads back to the layer."""
    flow = flow_of(lambda self, x: wrap(self.linear(x)), X)
    assert [name for name, _ in flow.outputs] == names
    assert all(Kind.LINEAR in kinds_behind(flow, index) for index in range(len(names)))


def test_inputs_may_be_nested_and_named() -> None:
    """Tensors inside lists and dicts, and keyword arguments, are inputs."""
    flow = flow_of(lambda self, batch, *, scale: self.linear(batch["x"][0]) * scale, {"x": [X]}, scale=torch.ones(1))
    assert sum(op.kind is Kind.INPUT for op in flow) == 2
    assert Kind.INPUT in kinds_behind(flow)


@pytest.mark.parametrize(
    ("call", "active", "rate", "drops"),
    [
        (lambda self, x: F.dropout(x, 0.3), True, 0.3, Drops.ELEMENTS),
        (lambda self, x: F.dropout(x, p=0.3, training=False), False, 0.3, Drops.ELEMENTS),
        (lambda self, x: F.dropout(x, 0.0), False, 0.0, Drops.ELEMENTS),
        (lambda self, x: torch.dropout(x, 0.3, True), True, 0.3, Drops.ELEMENTS),
        (lambda self, x: F.alpha_dropout(x, 0.3), False, 0.3, Drops.ELEMENTS),
        (lambda self, x: F.alpha_dropout(x, 0.3, True), True, 0.3, Drops.ELEMENTS),
        (lambda self, x: F.dropout2d(x[..., None, None], 0.3), True, 0.3, Drops.CHANNELS),
        (lambda self, x: self.drop(x), False, 0.5, Drops.ELEMENTS),
        (lambda self, x: self.drop.train()(x), True, 0.5, Drops.ELEMENTS),
        (lambda self, x: nn.Dropout(0.2)(x), True, 0.2, Drops.ELEMENTS),
    ],
)
def test_dropouts_carry_rate_and_activity(call: Callable[..., Any], active: bool, rate: float, drops: Drops) -> None:
    """In eval mode, whether a dropout drops is read off its very arguments, with torch's own defaults."""
    flow = flow_of(call, X)
    (drop,) = (op for op in flow if op.drops)
    assert (drop.active, drop.rate, drop.drops) == (active, rate, drops)


def test_attention_dropout_is_seen() -> None:
    """`scaled_dot_product_attention` drops whenever its rate is above zero; `MultiheadAttention` follows its mode."""

    def attend(self: Any, x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.1)

    (drop,) = (op for op in flow_of(attend, X) if op.drops)
    assert drop.active and drop.drops is Drops.ATTENTION and drop.call == "scaled_dot_product_attention(dropout_p=0.1)"
    model = nn.TransformerEncoderLayer(8, 2, dropout=0.1, batch_first=True)
    graph = trace_model(model, "layer", Inputs((X[None],))).graph
    assert {graph.gate(op) for op in graph.dropouts(Mode.TRAIN)} == {Gate.MODE}
    assert {op.drops for op in graph.dropouts(Mode.TRAIN)} == {Drops.ELEMENTS, Drops.ATTENTION}


def gates(forward: Callable[..., Any]) -> list[Gate]:
    graph = trace_model(Forward(forward), "model", Inputs((X,))).graph
    found: dict[Any, Gate] = {}
    for flow in (graph.train, graph.eval):
        found |= {op.site: graph.gate(op) for op in flow if op.drops or op.active}
    return list(found.values())


def test_gates_follow_from_the_two_modes() -> None:
    """The call at one site in both modes decides: mode, always, or never."""
    assert gates(lambda self, x: self.drop(self.linear(x))) == [Gate.MODE]
    assert gates(lambda self, x: F.dropout(self.linear(x))) == [Gate.ALWAYS]
    assert gates(lambda self, x: F.dropout(self.linear(x), training=False)) == [Gate.NEVER]
    assert gates(lambda self, x: x * torch.rand_like(x) if self.training else x) == [Gate.MODE]
    assert gates(lambda self, x: x * torch.rand_like(x)) == [Gate.ALWAYS]


def test_places_are_the_users_lines_and_columns() -> None:
    """A dropout inside a torch layer is placed where the user's code calls the layer."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.linear(x))

    (drop,) = (op for op in flow_of(forward, X) if op.drops)
    assert drop.place is not None
    assert drop.place.path == __file__
    assert drop.place.line == forward.__code__.co_firstlineno + 1
    assert drop.module == "drop"


def test_a_call_made_by_torch_alone_has_no_place() -> None:
    """A root `nn.Sequential` runs no code of the user's: the line that called the audit is not blamed."""
    graph = trace_model(nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)), "model", Inputs((X,))).graph
    (drop,) = graph.dropouts(Mode.TRAIN)
    assert drop.place is None and drop.module == "1"


def test_a_forward_that_raises_names_the_line() -> None:
    """The error says what was raised and where in the user's code."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x[:, :3])

    with pytest.raises(ForwardRaised, match="RuntimeError") as caught:
        flow_of(forward, X)
    assert caught.value.place is not None
    assert caught.value.place.line == forward.__code__.co_firstlineno + 1


def test_recording_changes_no_value() -> None:
    """The recorded run computes what the plain run computes, bit for bit."""
    model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Dropout(0.5), nn.Linear(16, 4)).eval()
    results: list[torch.Tensor] = []
    model.register_forward_hook(lambda module, args, result: results.append(result.detach()))
    record(model, (X,), {})
    model(X)
    assert torch.equal(results[0], results[1])


def test_a_guarded_product_with_zero_ends_the_flow() -> None:
    """Noise multiplied by a plain zero cannot reach the output."""
    graph = trace_model(
        Forward(lambda self, x: self.linear(x) + torch.randn_like(x) * float(self.training)), "m", Inputs((X,))
    )
    (noise,) = graph.graph.randoms(Mode.EVAL)
    assert not graph.graph.eval.outputs_reached(noise)


def test_the_graph_of_a_lazy_model() -> None:
    """Lazy layers are materialized by the run and traced like others."""
    model = nn.Sequential(nn.LazyLinear(4), nn.Dropout(0.5), nn.LazyLinear(2))
    graph: Graph = trace_model(model, "lazy", Inputs((X,))).graph
    assert sum(op.kind is Kind.LINEAR for op in graph.train) == 2


@pytest.mark.filterwarnings("ignore:dropout option adds dropout:UserWarning")  # the very case
@pytest.mark.parametrize("state", [list, tuple])
@pytest.mark.parametrize(("layers", "rate"), [(1, 0.0), (1, 0.5), (2, 0.5)])
def test_the_rate_of_a_recurrent_call_is_found_behind_its_state(state: type, layers: int, rate: float) -> None:
    """An LSTM's state may be a list like its weights: depth, rate and activity are those of the layer."""
    lstm = nn.LSTM(8, 4, layers, dropout=rate)

    def forward(self: Any, x: torch.Tensor) -> Any:
        return lstm(x, state(torch.zeros(layers, 4) for _ in range(2)))[0]

    graph = trace_model(Forward(forward), "m", Inputs((X,))).graph
    (op,) = (op for op in graph.train if op.kind is Kind.RECURRENT)
    assert (op.depth, op.rate, op.active) == (layers, rate, layers > 1)


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("norm", [nn.LazyBatchNorm1d, lambda: nn.LazyBatchNorm1d(affine=False), nn.Identity])
def test_a_lazy_model_predicts_nothing_random(norm: Callable[[], nn.Module], given: bool) -> None:
    """The draw of first weights is no op of either mode, with and without inputs, and the model stays lazy."""
    model = nn.Sequential(nn.LazyLinear(4), norm(), nn.ReLU(), nn.Linear(4, 2))
    report = audit(model, *[X] * given)
    assert not report.findings
    assert not report.not_checked
    assert isinstance(model[0], nn.LazyLinear)
    assert all(type(each) is not nn.BatchNorm1d for each in model)


def test_a_fault_of_a_lazy_model_is_measured() -> None:
    """What ignores the mode behind a lazy layer is confirmed on weights that are drawn once."""
    layer = nn.LazyLinear(4)

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = layer, nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> Any:
            return self.head(F.dropout(self.layer(x), 0.5))

    (finding,) = audit(Lazy(), X).findings
    assert (finding.code, finding.evidence.verdict) == ("REG202", Verdict.CONFIRMED)


def test_a_scripted_submodule_is_one_opaque_op() -> None:
    """What torch does not show is kept as an op that proves nothing, and the flow around it stays connected."""
    scripted = torch.jit.script(nn.Sequential(nn.Linear(8, 8), nn.ReLU()))
    flow = flow_of(lambda self, x: self.drop(scripted(self.linear(x))), X)
    assert {Kind.OPAQUE, Kind.LINEAR, Kind.INPUT} <= set(kinds_behind(flow))
