"""Inputs that are guessed, and what happens when none can be."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from regcheck.core.errors import CannotTrace
from regcheck.core.graph import Gate, Kind, Mode
from regcheck.engine.audit import audit
from regcheck.tracing import strategies
from regcheck.tracing.example_inputs import Inputs, smooth
from regcheck.tracing.strategies import trace_model
from regcheck.tracing.unwrap import unwrapped


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8 * 26 * 26, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5), nn.Linear(3, 1)),
        Image(),
        nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(128, 2)),
        nn.LSTM(6, 4, batch_first=True),
        nn.Sequential(nn.Conv1d(2, 4, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)),
        nn.TransformerEncoderLayer(16, 2, batch_first=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_first_layers_tell_the_inputs(model: nn.Module) -> None:
    """A model without any hint is run on inputs that its first layer takes."""
    assert trace_model(model, "model", None).inputs is not None


def test_images_are_smooth() -> None:
    """Neighbouring pixels of a guessed image resemble each other, and samples differ."""
    image = smooth((4, 3, 64, 64))
    steps = (image[..., 1:] - image[..., :-1]).square().mean()
    assert steps < 0.2 * image.var()
    assert not torch.equal(image[0], image[1])


class NeedsObject(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, batch: Any) -> torch.Tensor:
        return F.dropout(self.drop(self.linear(batch.features)), 0.2)


def test_without_inputs_the_model_is_traced_symbolically() -> None:
    """When no guess runs, torch.fx still gives rates, gates and places."""
    traced = trace_model(NeedsObject(), "model", None)
    assert traced.inputs is None
    gates = {op.rate: traced.graph.gate(op) for op in traced.graph.dropouts(Mode.TRAIN)}
    assert gates == {0.5: Gate.MODE, 0.2: Gate.ALWAYS}
    assert all(op.place and op.place.path == __file__ for op in traced.graph.dropouts(Mode.TRAIN))


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class WithBranches(NeedsObject):
    def __init__(self) -> None:
        super().__init__()
        self.branches = Branches()

    def forward(self, batch: Any) -> torch.Tensor:
        return F.dropout(self.branches(self.linear(batch.features)), 0.2)


def test_a_submodule_that_cannot_be_followed_is_opaque_and_named() -> None:
    """Symbolic tracing goes on around it, and the report says which one was left out."""
    traced = trace_model(WithBranches(), "model", None)
    assert [each.subject for each in traced.not_checked] == ["model.branches"]
    assert any(op.kind is Kind.OPAQUE for op in traced.graph.train)
    assert [op.rate for op in traced.graph.dropouts(Mode.EVAL)] == [0.2]


class Hopeless(nn.Module):
    def forward(self, batch: Any) -> Any:
        for _ in batch.steps:
            batch = batch["next"]
        return batch


def test_a_model_that_nothing_can_trace_says_why() -> None:
    """The error tells why each way of tracing failed."""
    with pytest.raises(CannotTrace, match="no inputs could be guessed; without inputs"):
        trace_model(Hopeless(), "model", None)


class EvalOnly(NeedsObject):
    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        if self.training:
            raise ValueError("targets are needed in train mode")
        return F.dropout(self.linear(x), 0.2)


def test_one_mode_that_fails_does_not_lose_the_other() -> None:
    """What eval mode shows is kept when train mode raises, and the raise is reported with its line."""
    traced = trace_model(EvalOnly(), "model", Inputs((torch.randn(2, 4),)))
    assert [op.rate for op in traced.graph.dropouts(Mode.EVAL)] == [0.2]
    (missed,) = traced.not_checked
    assert "targets are needed" in missed.reason and missed.path == __file__


def test_a_sample_that_is_too_few_for_train_mode_gets_another() -> None:
    """Batch norm of one value a channel refuses to train; a second sample beside it is enough, and is told."""
    model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout(0.5))
    report = audit(model, torch.randn(1, 8))
    assert [each.code for each in report.findings] == ["REG101"]
    assert report.not_checked == ()
    assert str(report).splitlines()[-2] == (
        "Sequential: 5 of 5 modules traced on the inputs given with a second sample"
    )


def test_inputs_that_have_no_second_sample_stay_alone() -> None:
    """Where something else than a sample is one, as the layers of a state, train mode stays unchecked, and says why."""

    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.norm, self.head = nn.GRU(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(self.cell(x, state)[0][-1]))

    (missed,) = audit(Stateful(), torch.randn(1, 1, 8), torch.zeros(1, 1, 4)).not_checked
    assert "Expected more than 1 value per channel" in missed.reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of DataParallel, and of what importing the compiler does
def test_wrappers_are_looked_through() -> None:
    """DataParallel, AveragedModel and compiled models are unwrapped to the user's model."""
    model = nn.Linear(2, 2)
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(torch.compile(model)) is model
    assert type(unwrapped(torch.optim.swa_utils.AveragedModel(model))) is nn.Linear


class Positions(nn.Module):
    """Takes token ids of exactly as many positions as it has learned."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 8)
        self.positions = nn.Parameter(torch.zeros(1, 24, 8))
        self.head = nn.Linear(8, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(F.dropout(self.tokens(tokens) + self.positions, 0.2).mean(1))


def test_learned_positions_tell_the_length() -> None:
    """A table of positions beside the embedding says how long the sequence must be."""
    inputs = trace_model(Positions(), "model", None).inputs
    assert inputs is not None and inputs.args[0].shape == (4, 24)


def test_parameters_are_followed_symbolically() -> None:
    """A parameter used in the root's own forward does not stop the symbolic trace."""

    class Wrapped(Positions):
        def forward(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
            return super().forward(batch.tokens)

    traced = trace_model(Wrapped(), "model", None)
    assert traced.inputs is None and any(op.kind is Kind.PARAMETER for op in traced.graph.train)


def test_a_given_input_that_is_refused_is_told_and_nothing_else_is_run() -> None:
    """Inputs that the model refuses are reported with its line; none are guessed, and the symbolic graph says so."""
    traced = trace_model(Image(), "model", Inputs((torch.ones(1, 5, 28, 28),)))
    assert traced.inputs is None and "inputs given" in traced.unmeasurable
    (missed,) = traced.not_checked
    assert missed.reason.startswith("on the inputs given forward raised RuntimeError")
    assert "traced without inputs instead" in missed.reason and missed.path == __file__
    assert [op.kind for op in traced.graph.eval if op.learned] == [Kind.CONV, Kind.LINEAR]


def test_an_error_lists_every_rung() -> None:
    """Where nothing works, what the inputs given met comes first, with its line, then why tracing stopped."""
    with pytest.raises(
        CannotTrace, match=r"on the inputs given forward raised .*; without inputs, .* stopped"
    ) as raised:
        trace_model(Hopeless(), "model", Inputs((1,)))
    assert raised.value.place is not None and raised.value.place.path == __file__


class Trained(nn.Module):
    """Takes what its mode wants: three features in train mode, none of the guesses in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            raise ValueError("only trained so far")
        return F.dropout(self.linear(x), 0.2)


def test_train_mode_is_looked_at_where_eval_mode_refuses_every_input() -> None:
    """What only train mode shows is kept."""
    traced = trace_model(Trained(), "model", None)
    assert traced.inputs is not None and [op.rate for op in traced.graph.dropouts(Mode.TRAIN)] == [0.2]
    assert [each.subject for each in traced.not_checked] == ["model in eval mode"]


def test_after_a_slow_refusal_guesses_are_tried_on_fake_tensors_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses whose sizes do not fit are no longer run; one that fits is."""
    monkeypatch.setattr(strategies, "SLOW", 0.0)
    ran: list[int] = []

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.table = nn.Parameter(torch.zeros(2, 8 * 26 * 26))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if type(x) is torch.Tensor:
                ran.append(x.shape[-1])
            return F.linear(self.conv(x).flatten(1), self.table)

    traced = trace_model(Counted(), "model", None)
    assert traced.inputs is not None and traced.inputs.args[0].shape[-1] == 28
    assert ran == [224, 28]


def test_a_limit_of_fake_tensors_discards_no_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward that fails on guessed values is run on that input for real."""
    monkeypatch.setattr(strategies, "SLOW", 0.0)

    class Exacting(Image):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not 0 < float(x.var()) < 0.9999 * float(x.square().sum()):
                raise ValueError("these are no pixels")
            return super().forward(x)

    traced = trace_model(Exacting(), "model", None)
    assert traced.inputs is not None and traced.inputs.args[0].shape[-1] == 28


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def well_decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return wrapper


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, batch: Any, scale: float = 2.0) -> Any:
        return F.dropout(self.linear(batch.features) * scale, 0.2)


class Decorated(Plain):
    forward = decorated(Plain.forward)


class WellDecorated(Plain):
    forward = well_decorated(Plain.forward)


class Variadic(Plain):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class ByKeyword(Plain):
    def forward(self, *, batch: Any) -> Any:  # type: ignore[override]
        return super().forward(batch)


class CalledOtherwise(Plain):
    def __call__(self, batch: Any) -> Any:
        return super().__call__(SimpleNamespace(features=batch.renamed))


GENERATED: dict[str, Any] = {"F": F}
exec("def forward(self, batch):\n    return F.dropout(self.linear(batch.features), 0.2)", GENERATED)
Generated = type("Generated", (Plain,), {"forward": GENERATED["forward"]})


def on_the_instance() -> nn.Module:
    model = Plain()
    model.forward = functools.partial(Plain.forward, model)  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize(
    "build", [Decorated, WellDecorated, Variadic, ByKeyword, CalledOtherwise, Generated, on_the_instance]
)
def test_forwards_of_every_make_are_followed_without_inputs(build: Callable[[], nn.Module]) -> None:
    """Decorated, variadic, generated and replaced forwards are traced like any other."""
    traced = trace_model(build(), "model", None)
    assert traced.inputs is None and traced.not_checked == ()
    assert [(op.kind, op.rate) for op in traced.graph.eval if op.learned or op.drops] == [
        (Kind.LINEAR, None),
        (Kind.DROPOUT, 0.2),
    ]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.dropout(self.drop(self.linear(x)), 0.2) + torch.rand_like(x) * mask


class Untraceable(nn.Module):
    """Iterates over what it is given, after one call of which torch.fx can see the result."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.last = nn.Linear(4, 2)

    def forward(self, batch: Any) -> Any:
        x = F.dropout(self.first(batch.features), 0.3)
        for each in batch.steps:
            for block in self.blocks:
                x = block(x, each)
        return self.last(x)


def test_a_root_that_cannot_be_followed_leaves_its_parts_to_be() -> None:
    """What it did before it stopped and its submodules are in the graph, with their gates, paths and lines."""
    traced = trace_model(Untraceable(), "model", None)
    graph = traced.graph
    found = {(op.module, op.rate): graph.gate(op) for op in graph.dropouts(Mode.TRAIN)}
    always = {("", 0.3), ("blocks.0", 0.2), ("blocks.1", 0.2)}
    gated = {("blocks.0.drop", 0.5), ("blocks.1.drop", 0.5)}
    assert found == dict.fromkeys(always, Gate.ALWAYS) | dict.fromkeys(gated, Gate.MODE)
    (missed,) = traced.not_checked
    assert missed.subject == "model" and "on their own" in missed.reason and missed.path == __file__


def test_nothing_is_claimed_of_the_way_to_the_output_of_parts() -> None:
    """A part's results reach an output through an opaque op only, and its arguments come from an opaque one."""
    graph = trace_model(Untraceable(), "model", None).graph
    draws = list(graph.randoms(Mode.EVAL))
    assert len(draws) == 2
    assert all(graph.eval.outputs_reached(op) for op in draws)
    assert not any(graph.eval.outputs_reached(op, lambda each: each.kind is not Kind.OPAQUE) for op in draws)
    (linear,) = (op for op in graph.eval if op.module == "blocks.0.linear" and op.kind is Kind.LINEAR)
    assert all(op.kind is Kind.OPAQUE for op in graph.eval.inputs_of(linear))


class Keeps(nn.Module):
    """Keeps what it is given, and looks at what it kept."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.kept: list[Any] = []

    def forward(self, batch: Any) -> Any:
        if self.kept:
            raise RuntimeError("called before")
        self.kept.append(batch)
        return F.dropout(self.linear(batch.features), 0.2)


def test_around_a_part_that_cannot_be_followed_the_others_are() -> None:
    """A part that stops the tracing is the only one left out: what contains it is followed to its end."""

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.last = Untraceable(), nn.Linear(2, 2)

        def forward(self, batch: Any) -> Any:
            return F.dropout(self.last(self.part(batch)), 0.4)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Around(), Around()

        def forward(self, batch: Any) -> Any:
            return self.first(batch) + self.second(batch)

    traced = trace_model(Twice(), "model", None)
    assert [each.subject for each in traced.not_checked] == ["model.first.part", "model.second.part"]
    assert [op.module for op in traced.graph.dropouts(Mode.EVAL) if op.rate == 0.4] == ["first", "second"]


def test_inputs_that_cannot_be_copied_are_refused_with_the_reason() -> None:
    """The user's own objects are never handed to a forward; where they cannot be copied, that is said."""

    class Sealed(torch.Tensor):
        def __deepcopy__(self, memo: Any) -> Any:
            return self

    traced = trace_model(
        Plain(), "model", Inputs((SimpleNamespace(kept=nn.Parameter(torch.zeros(4, 4).as_subclass(Sealed))),))
    )
    assert any("returns itself as its copy" in each.reason for each in traced.not_checked)


def test_what_a_refused_forward_computed_is_let_go() -> None:
    """While further inputs are tried, nothing is kept of what the forward had made before it raised."""
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Refusing(Image):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            alive.append(sum(each() is not None for each in made))
            if type(x) is torch.Tensor:
                features = self.conv(x)
                made.append(weakref.ref(features))
            raise ValueError("not like this")

    trace_model(Refusing(), "model", None)
    assert len(made) > 2 and max(alive) == 0


def test_symbolic_values_stay_in_no_model() -> None:
    """Each mode is traced on a copy of its own."""
    model = Keeps()
    traced = trace_model(model, "model", None, reason_not_run="it shall not be run")
    assert traced.not_checked == () and model.kept == []


def test_layers_built_in_forward_are_followed_without_inputs() -> None:
    """A dropout that no module registers is seen as one that ignores the mode."""

    class Builds(Plain):
        def forward(self, batch: Any, scale: float = 2.0) -> Any:
            return nn.Dropout(0.4)(self.linear(batch.features))

    graph = trace_model(Builds(), "model", None).graph
    assert [(op.rate, graph.gate(op)) for op in graph.dropouts(Mode.TRAIN)] == [(0.4, Gate.ALWAYS)]


def test_torch_containers_are_looked_into_without_inputs() -> None:
    """The dropouts inside torch's own transformer layers are seen, too."""

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.25)

        def forward(self, batch: Any) -> Any:
            return self.layer(batch.features)

    graph = trace_model(Encoder(), "model", None).graph
    assert {graph.gate(op) for op in graph.dropouts(Mode.TRAIN)} == {Gate.MODE}
    assert {op.module for op in graph.dropouts(Mode.TRAIN)} >= {"layer.dropout1", "layer.dropout2"}
