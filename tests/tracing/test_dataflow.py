"""Where values go in a recorded forward: which dropouts, layers and inputs are behind which output."""

from __future__ import annotations

import dataclasses
import gc
import re
import types
from collections import UserDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune, rnn
from torch.utils.checkpoint import checkpoint

from regcheck.core.graph import Flow, Kind, Mode, Op
from regcheck.tracing.lower import lower_graph
from regcheck.tracing.record import ForwardRaised, record


class Model(nn.Module):
    """One linear layer, one buffer, one cache; its forward is the function given."""

    def __init__(self, forward: Callable[..., Any], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8) if layer is None else layer
        self.function = forward
        self.register_buffer("memory", torch.zeros(4, 8))
        self.cache: dict[str, torch.Tensor] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def recorded(model: nn.Module, *args: Any, **kwargs: Any) -> Flow:
    recording = record(model, args, kwargs)
    return lower_graph(recording.graph, recording.outputs, Mode.TRAIN if model.training else Mode.EVAL)


def behind(flow: Flow) -> list[list[Op]]:
    """For each output, the ops that it was computed from."""
    return [[last, *_before(flow, last)] for last in (flow.ops[name] for _, name in flow.outputs)]


def _before(flow: Flow, op: Op) -> list[Op]:
    met: list[Op] = []
    flow.behind(op, lambda each: met.append(each) or True)  # type: ignore[func-returns-value]
    return met


def kinds(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> set[Kind]:
    """The kinds of what is behind the first output of a forward in eval mode."""
    return {op.kind for op in behind(recorded(Model(forward).eval(), *args, **kwargs))[0]}


def rates(forward: Callable[..., Any], *args: Any) -> list[set[float | None]]:
    """For each output, the rates of the dropouts behind it."""
    flow = recorded(Model(forward).eval(), *args)
    return [{op.rate for op in ops if op.drops} for ops in behind(flow)]


X = torch.randn(4, 8)
LEARNED = {Kind.INPUT, Kind.LINEAR, Kind.PARAMETER}


def through_a_view(self: Any, x: torch.Tensor) -> Any:
    h = self.linear(x)
    left, right = h[:, :2], h[:, 2:]
    left.mul_(F.dropout(torch.ones(4, 2), 0.2))
    return h, left, right


def one_after_the_other(self: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(4, 8)
    left, right = h[:, :4], h[:, 4:]
    left.copy_(F.dropout(x[:, :4], 0.1))
    right.copy_(F.dropout(x[:, 4:], 0.2))
    return h, left, right


def by_index(self: Any, x: torch.Tensor) -> Any:
    h = torch.zeros(4, 8)
    h[0] = F.dropout(x[0], 0.1)
    h.index_put_((torch.tensor([1]),), F.dropout(x[1], 0.2))
    return h


def overwritten(self: Any, x: torch.Tensor) -> Any:
    h = F.dropout(x, 0.1)
    kept = h * 2
    h.copy_(F.dropout(x, 0.2))
    return h, kept


def into_out(self: Any, x: torch.Tensor) -> Any:
    h = F.dropout(torch.empty(4, 8), 0.9)
    torch.mul(F.dropout(x, 0.1), 2, out=h)
    return h


def through_data(self: Any, x: torch.Tensor) -> Any:
    h, other = torch.zeros(4, 8), torch.zeros(4, 8)
    h.data.copy_(F.dropout(x, 0.1))
    other.data = F.dropout(x, 0.2)
    return h, other, h.detach().add_(F.dropout(x, 0.3)), h


def interleaved(self: Any, x: torch.Tensor) -> Any:
    h = x.clone()
    even, odd = h[:, ::2], h[:, 1::2]
    even += F.dropout(x[:, ::2], 0.1)
    return even, odd, h


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (through_a_view, [{0.2}, {0.2}, set()]),
        (one_after_the_other, [{0.1, 0.2}, {0.1}, {0.2}]),
        (by_index, [{0.1, 0.2}]),
        (overwritten, [{0.2}, {0.1}]),
        (into_out, [{0.1}]),
        (through_data, [{0.1, 0.3}, {0.2}, {0.1, 0.3}, {0.1, 0.3}]),
        (interleaved, [{0.1}, set(), {0.1}]),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
@pytest.mark.parametrize("grad", [True, False])
def test_writes_are_seen_by_all_who_share_the_memory(
    forward: Callable[..., Any], expected: list[set[float]], grad: bool
) -> None:
    """What is written into a view is behind its base and the views that overlap it, and behind no others."""
    with torch.set_grad_enabled(grad), torch.random.fork_rng():
        assert rates(forward, X.clone()) == expected


@pytest.mark.parametrize("forward", [through_a_view, one_after_the_other, by_index, overwritten])
def test_inference_tensors_are_followed_without_versions(forward: Callable[..., Any]) -> None:
    """Under `inference_mode` tensors count no versions; writes are told by what was called."""
    assert rates(torch.inference_mode()(forward), X) == rates(forward, X)


def test_an_inactive_dropout_may_be_written_to() -> None:
    """What an inactive dropout returns is its input: writing to the one is writing to the other."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        h = self.linear(x)
        y = F.dropout(h, 0.1, training=False)
        with torch.no_grad():
            y.add_(F.dropout(x, 0.2))
        return h, y

    assert rates(forward, X) == [{0.1, 0.2}, {0.1, 0.2}]


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    scale: Any = None


class Slotted:
    __slots__ = ("_hidden", "x")

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    @property
    def trap(self) -> Any:
        raise AssertionError("a property was run")


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


class Store:
    """As graph libraries keep a batch: the tensors are in a mapping inside an object that refers to itself."""

    def __init__(self, x: torch.Tensor) -> None:
        self._store = UserDict(x=x)
        self.itself = self

    @property
    def x(self) -> Any:
        return self._store["x"]


@pytest.mark.parametrize(
    "wrap",
    [
        Batch,
        Slotted,
        Store,
        lambda x: Batch(None, scale=[{"deep": Slotted(x)}]),  # type: ignore[arg-type]
        lambda x: Pair(x, x),
        lambda x: types.SimpleNamespace(x=x),
    ],
)
def test_structures_are_inputs_and_outputs(wrap: Callable[[torch.Tensor], Any]) -> None:
    """A tensor inside any structure is an input going in and an output coming out."""

    def get(value: Any) -> torch.Tensor:
        return value.scale[0]["deep"].x if getattr(value, "scale", None) else value.x

    assert kinds(lambda self, value: self.linear(get(value)), wrap(X)) == LEARNED
    assert kinds(lambda self, x: wrap(self.linear(x)), X) == LEARNED


def test_what_can_be_read_once_is_left_for_the_model() -> None:
    """A generator among the inputs is not consumed."""
    assert kinds(lambda self, parts: self.linear(next(parts)), iter([X])) | {Kind.INPUT} >= LEARNED


def test_a_cache_filled_by_this_call_is_dataflow() -> None:
    """What an earlier call left in a cache is a constant; what this call puts there leads back to the input."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        before = self.cache.get("h", x)
        self.cache["h"] = self.linear(x)
        return self.cache["h"], before * 2

    model = Model(forward).eval()
    model(X)
    now, earlier = behind(recorded(model, X))
    assert {op.kind for op in now} == LEARNED
    assert {op.kind for op in earlier} == {Kind.SCALE, Kind.CONSTANT}


def test_a_buffer_rewritten_by_this_call_is_dataflow() -> None:
    """A buffer is a constant until forward writes to it."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        before = self.memory + 1
        self.memory.copy_(self.linear(x).detach())
        return before, self.memory

    before, after = behind(recorded(Model(forward), X))
    assert {op.kind for op in before} == {Kind.CONSTANT, Kind.SCALE}
    assert {op.kind for op in after} >= LEARNED


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")  # users still have it
@pytest.mark.parametrize(
    "computed",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
)
@pytest.mark.parametrize("product", [F.linear, lambda x, weight: x @ weight.t()])
def test_computed_weights_are_weights(computed: Callable[..., Any], product: Callable[..., Any]) -> None:
    """A layer whose weight is computed of parameters is learned, whether by `linear` or by a matrix product."""
    for training in (True, False):
        layer = computed(nn.Linear(8, 8))
        model = Model(lambda self, x: product(self.linear(x), self.linear.weight), layer).train(training)
        flow = recorded(model, X)
        last = flow.ops[flow.outputs[0][1]]
        assert last.kind is Kind.LINEAR and last.learned
        assert Kind.PARAMETER in {op.kind for op in behind(flow)[0]}


def test_attention_between_hidden_values_is_no_layer() -> None:
    """A product of two values that both depend on the input stays a product, also with learned projections around."""
    flow = recorded(Model(lambda self, x: self.linear(x) @ self.linear(x).t()), X)
    assert flow.ops[flow.outputs[0][1]].kind is Kind.MATMUL


def test_a_parameter_made_in_forward_keeps_its_origin() -> None:
    """`nn.Parameter(h)` is still what was computed, and a tied weight is a weight wherever it is used."""
    assert kinds(lambda self, x: nn.Parameter(self.linear(x) * 2) + 1, X) >= LEARNED
    flow = recorded(Model(lambda self, x: F.linear(self.linear(x), self.linear.weight)), X)
    assert sum(op.kind is Kind.LINEAR for op in flow) == 2
    assert sum(op.kind is Kind.PARAMETER for op in flow) == 2


class Recurrent(nn.Module):
    """Packed sequences through an LSTM, and a cell unrolled over what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 8, 2, dropout=0.2, batch_first=True)
        self.cell = nn.GRUCell(8, 8)

    def forward(self, x: torch.Tensor) -> Any:
        packed, (last, _) = self.lstm(rnn.pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True))
        padded, _ = rnn.pad_packed_sequence(packed, batch_first=True)
        hidden = last[-1]
        for step in padded.unbind(1):
            hidden = self.cell(F.dropout(step, 0.3), hidden)
        return hidden, packed


def test_recurrent_layers_and_packed_sequences() -> None:
    """Sequences stay connected through packing, and a dropout in an unrolled loop is behind the last state only."""
    state, packed, *_ = behind(recorded(Recurrent().eval(), torch.randn(2, 3, 8)))
    assert {op.site.function for op in state} >= {"lstm", "gru_cell"}
    assert sum(op.rate == 0.3 for op in state) == 3
    assert Kind.INPUT in {op.kind for op in packed} and 0.3 not in {op.rate for op in packed}


def test_attention_layers_show_what_trains() -> None:
    """The fused inference path is off: in eval mode too each layer of an encoder shows its three dropouts."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True)
    flow = recorded(nn.TransformerEncoder(layer, 2).eval(), torch.randn(2, 3, 8))
    assert sum(op.drops is not None for op in behind(flow)[0]) == 8
    assert {op.active for op in flow if op.drops} == {False}


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_blocks_are_seen_once(reentrant: bool) -> None:
    """Checkpointing runs a block without gradients first; it is recorded once, and connected."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        return checkpoint(lambda h: F.dropout(self.linear(h), 0.1), x * 1, use_reentrant=reentrant)

    flow = recorded(Model(forward), X.clone().requires_grad_())
    assert {op.kind for op in behind(flow)[0]} == LEARNED | {Kind.SCALE, Kind.DROPOUT}
    assert sum(op.kind is Kind.LINEAR for op in flow) == 1


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x * 2, 0.1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * 2


def energy(self: Any, x: torch.Tensor) -> Any:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(F.dropout(self.linear(x), 0.1).sum(), x)[0]


def energy_by_backward(self: Any, x: torch.Tensor) -> Any:
    x = x.detach().requires_grad_()
    F.dropout(self.linear(x), 0.1).sum().backward()
    return x.grad


def called_functionally(self: Any, x: torch.Tensor) -> Any:
    swapped = {"weight": F.dropout(self.linear.weight, 0.1), "bias": self.linear.bias}
    return torch.func.functional_call(self.linear, swapped, (x,))


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "autograd function": lambda self, x: Doubled.apply(self.linear(x)),  # type: ignore[no-untyped-call]
    "vmap": lambda self, x: torch.vmap(lambda row: F.dropout(self.linear(row), 0.1), randomness="different")(x),
    "func.grad": lambda self, x: torch.func.grad(lambda y: F.dropout(self.linear(y), 0.1).sum())(x),
    "functional_call": called_functionally,
    "autograd.grad": energy,
    "backward": energy_by_backward,
    "dtypes": lambda self, x: F.dropout(self.linear(x).double().to("cpu", torch.float16), 0.1),
    "complex": lambda self, x: torch.fft.ifft(torch.fft.fft(F.dropout(self.linear(x), 0.1))).real,
    "sparse": lambda self, x: (F.dropout(self.linear(x), 0.1).to_sparse() * 2).to_dense(),
    "cond": lambda self, x: torch.cond(x.sum() > 9, torch.sin, torch.cos, (F.dropout(self.linear(x), 0.1),)),
}


@pytest.mark.parametrize("forward", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_transforms_keep_the_flow(forward: Callable[..., Any]) -> None:
    """Through transforms, higher-order calls and other representations the flow is exact: nothing becomes opaque."""
    (ops,) = behind(recorded(Model(forward).eval(), X))
    assert {op.kind for op in ops} >= LEARNED
    assert Kind.OPAQUE not in {op.kind for op in ops}
    assert [op.rate for op in ops if op.drops] == [0.1]


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks:UserWarning")  # none runs
def test_compiled_code_is_run_as_it_was_written() -> None:
    """A compiled function or submodule inside the model shows its calls as if it were not compiled."""
    drop = torch.compile(lambda y: F.dropout(y, 0.1), backend="eager")
    layer: Any = torch.compile(nn.Linear(8, 8), backend="eager")
    (ops,) = behind(recorded(Model(lambda self, x: drop(self.linear(x)), layer).eval(), X))
    assert {op.kind for op in ops} == LEARNED | {Kind.DROPOUT}


@torch.no_grad()
def test_a_subclass_of_tensor_is_a_tensor() -> None:
    """A tensor subclass with hooks of its own is followed, and its hooks see the model's calls only."""
    calls: list[str] = []

    class Tagged(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(func.__name__)
            return super().__torch_function__(func, types, args, kwargs or {})

    model = Model(lambda self, x: F.dropout(self.linear(x), 0.1).relu_()).eval()
    tagged = X.as_subclass(Tagged)
    model(tagged)
    plain, calls[:] = list(calls), []
    (ops,) = behind(recorded(model, tagged))
    assert {op.kind for op in ops} >= LEARNED and [op.rate for op in ops if op.drops] == [0.1]
    assert [name for name in calls if name in plain] == plain


def in_a_thread(self: Any, x: torch.Tensor) -> Any:
    h = self.linear(x)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.relu, h).result()


OUT_OF_SIGHT: dict[str, Callable[..., Any]] = {
    "numpy": lambda self, x: torch.from_numpy(self.linear(x).detach().numpy() * 2),
    "list": lambda self, x: torch.tensor(self.linear(x).tolist()),
    "old constructor": lambda self, x: torch.FloatTensor(self.linear(x).tolist()),
    "thread": in_a_thread,
}


@pytest.mark.parametrize("forward", OUT_OF_SIGHT.values(), ids=OUT_OF_SIGHT.keys())
def test_what_comes_from_out_of_sight_is_opaque(forward: Callable[..., Any]) -> None:
    """A value that left torch, or was made by another thread, comes back as an opaque op fed by what went before."""
    assert kinds(forward, X) >= LEARNED | {Kind.OPAQUE}


def test_a_forward_that_collects_garbage_hides_nothing() -> None:
    """What another thread made is opaque also where the collector has seen it since."""

    def forward(self: Any, x: torch.Tensor) -> Any:
        made = in_a_thread(self, x)
        gc.collect()
        return made

    assert kinds(forward, X) >= LEARNED | {Kind.OPAQUE}


def test_scripted_functions_and_traced_modules_are_opaque() -> None:
    """No call is seen inside of them; what they return is fed by what they were given."""
    traced = torch.jit.trace(nn.Linear(8, 8), X)
    function = torch.jit.trace(lambda x: x.relu() * 2, X)
    for forward in (lambda self, x: traced(self.linear(x)), lambda self, x: function(self.linear(x)) + 1):
        assert kinds(forward, X) >= LEARNED | {Kind.OPAQUE}


def test_no_hook_stays_behind() -> None:
    """After a recording, also one that raised, torch has as many global hooks as before."""
    record(Model(lambda self, x: self.linear(x)), (X,), {})
    with pytest.raises(ForwardRaised):
        record(Model(lambda self, x: self.linear(x[:, :3])), (X,), {})
    hooks = {
        name: each for name, each in vars(torch.nn.modules.module).items() if re.fullmatch("_global_.*_hooks", name)
    }
    assert len(hooks) >= 4 and not any(hooks.values())


TABLE = torch.ones(8)


def test_what_was_there_before_is_a_constant() -> None:
    """A tensor in a global or a closure is no product of this forward, however it is reached."""
    local = torch.ones(8)
    assert kinds(lambda self, x: self.linear(x) * TABLE + local, X) == LEARNED | {Kind.COMBINE, Kind.CONSTANT}


def test_the_garbage_collector_is_left_as_it_was() -> None:
    """On or off, and whatever a program has set aside: constants are constants."""
    made = [torch.ones(8)]
    gc.disable()
    try:
        assert kinds(lambda self, x: self.linear(x) * made[0], X) == LEARNED | {Kind.COMBINE, Kind.CONSTANT}
        assert not gc.isenabled()
        gc.freeze()
        assert kinds(lambda self, x: self.linear(x) * made[0], X) == LEARNED | {Kind.COMBINE, Kind.CONSTANT}
    finally:
        gc.unfreeze()
        gc.enable()
    assert kinds(lambda self, x: self.linear(x) * made[0], X) == LEARNED | {Kind.COMBINE, Kind.CONSTANT}
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_numbers_from_python_alone_are_constants() -> None:
    """A tensor made of numbers when nothing has left torch is not opaque."""
    assert Kind.OPAQUE not in kinds(lambda self, x: self.linear(x) * torch.tensor([2.0] * 8), X)


@pytest.mark.parametrize("training", [True, False])
def test_recording_computes_what_the_model_computes(training: bool) -> None:
    """The recorded run gives, bit for bit, the results, gradients, buffers and draws of the plain run."""

    def run(through: Callable[[nn.Module, torch.Tensor], Any]) -> list[torch.Tensor]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(0.3))
        results: list[torch.Tensor] = []
        model.register_forward_hook(lambda module, args, result: results.append(result))
        x = torch.randn(4, 2, 8, requires_grad=True)
        through(model.train(training), x)
        results[0].sum().backward()
        assert x.grad is not None
        return [results[0], x.grad, *(each.grad for each in model.parameters()), *model.buffers(), torch.rand(3)]  # type: ignore[list-item]

    with torch.random.fork_rng():
        plain, seen = run(lambda model, x: model(x)), run(lambda model, x: record(model, (x,), {}))
    assert all(torch.equal(one, other) for one, other in zip(plain, seen, strict=True))
