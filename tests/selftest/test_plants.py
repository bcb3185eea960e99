"""A backend with wrong dropout fails, and the failing check names the fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from regcheck.selftest.checks import selftest
from regcheck.selftest.dropout_layers import LAYERS, RATE
from regcheck.selftest.norm_checks import NORMS
from regcheck.selftest.optimizer_checks import Method
from regcheck.selftest.results import CheckResult, CheckStatus

DROPOUT = [layer for layer in LAYERS if layer.name == "nn.Dropout"]


def failed(**things: Any) -> dict[str, CheckResult]:
    """Returns the checks that fail on the CPU, by name."""
    nothing = {"layers": (), "batch_norms": (), "methods": ()}
    result = selftest(("cpu",), ("eager",), **{**nothing, **things})
    assert result.outcomes and not result.missed
    assert result.ok is not bool(result.of(CheckStatus.FAILS))
    return {each.check: each for each in result.of(CheckStatus.FAILS)}


class Backend(TorchFunctionMode):
    """Replaces calls of torch, by name."""

    def __init__(self, **calls: Any) -> None:
        super().__init__()
        self.calls = calls

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = self.calls.get(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {})) if made is None else made(func, *args, **(kwargs or {}))


def dropout_by(keep: Any) -> Backend:
    """Returns a dropout whose mask is `keep` of a shape, and which is right in all else."""

    def dropout(func: Any, input: Any, p: float, training: bool, inplace: bool) -> Any:
        return input * keep(input.shape) / (1 - p) if training else input

    return Backend(dropout=dropout)


def seeded() -> torch.Generator:
    """Returns a generator that restarts from the last seed."""
    return torch.Generator().manual_seed(torch.initial_seed())


def drawn(*shape: int, **options: Any) -> Any:
    return torch.rand(*shape, **options) >= RATE


def test_an_honest_backend_passes() -> None:
    """A hand-written dropout with independent draws at the right rate passes all checks."""
    with dropout_by(lambda shape: drawn(*shape)):
        assert failed(layers=DROPOUT) == {}


@pytest.mark.parametrize("rate", [0.19, 0.21, 0.8])
def test_a_wrong_rate_is_named(rate: float) -> None:
    """Draws at a rate 0.01 off fail that check and no other; so does swapping keep and drop probability."""
    with dropout_by(lambda shape: torch.rand(shape) >= rate):
        found = failed(layers=DROPOUT)
    assert set(found) == {"rate"}
    assert found["rate"].measured == pytest.approx(rate, abs=0.006)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        *(
            (f"nn.{layer}", name)
            for layer, name in (
                ("Dropout1d", "dropout1d"),
                ("Dropout2d", "dropout2d"),
                ("Dropout3d", "dropout3d"),
                ("AlphaDropout", "alpha_dropout"),
                ("FeatureAlphaDropout", "feature_alpha_dropout"),
            )
        ),
        ("scaled_dot_product_attention (float32)", "scaled_dot_product_attention"),
        ("nn.RNN(dropout=…)", "rnn_relu"),
        ("nn.MultiheadAttention", "multi_head_attention_forward"),
    ],
)
def test_the_rate_of_every_layer_is_checked(name: str, call: str) -> None:
    """A backend with a rate 0.05 too high fails at each layer, in rate and scaling."""

    def nudged(value: Any) -> Any:
        return value + 0.05 if isinstance(value, float) and value == RATE else value

    def wrong(func: Any, *args: Any, **kwargs: Any) -> Any:
        return func(*map(nudged, args), **{key: nudged(value) for key, value in kwargs.items()})

    with Backend(**{call: wrong}):
        assert {"rate", "scaling"} <= set(failed(layers=[layer for layer in LAYERS if layer.name == name]))


def test_forgotten_scaling_is_named() -> None:
    """Surviving values without scaling fail scaling and gradient, and the outcome gives the factor."""

    def unscaled(func: Any, input: Any, p: float, training: bool, inplace: bool) -> Any:
        return func(input, p, training, inplace) * (1 - p if training else 1)

    with Backend(dropout=unscaled):
        found = failed(layers=DROPOUT)
    assert set(found) == {"scaling", "gradient"}
    assert found["scaling"].because == "surviving values are 0.8 times the expected ones"


@pytest.mark.parametrize("period", [33, 1000, 4096, 65536])
def test_a_mask_that_repeats_is_named(period: int) -> None:
    """A mask that repeats after any number of elements fails independence."""

    def repeated(shape: Any) -> Any:
        row = drawn(period)
        return row.repeat(-(-shape.numel() // period))[: shape.numel()].reshape(shape)

    with dropout_by(repeated):
        found = failed(layers=DROPOUT)
    assert "independence" in found
    # a short period draws too little for what is said of many draws to hold
    assert set(found) <= {"independence", "rate", "shared axes", "two seeds"}


@pytest.mark.parametrize("axis", range(4))
def test_neighbours_that_agree_are_named(axis: int) -> None:
    """One draw in ten copied from the neighbour along an axis fails independence, and the outcome names the axis."""

    def copying(shape: Any) -> Any:
        keep = drawn(*shape)
        return torch.where(torch.rand(shape) < 0.1, keep.roll(1, axis), keep)

    with dropout_by(copying):
        found = failed(layers=DROPOUT)
    assert set(found) == {"independence"}
    assert found["independence"].because in (
        f"along {DROPOUT[0].axes[axis]}",
        f"at distance {(8192, 256, 16, 1)[axis]}",
    )


def test_a_mask_that_comes_again_with_the_next_call_is_named() -> None:
    """One mask for every call after a seed fails independence between calls, and nothing else."""
    with dropout_by(lambda shape: drawn(*shape, generator=seeded())):
        found = failed(layers=DROPOUT)
    assert set(found) == {"independence"}
    assert found["independence"].because == "along call"
    assert found["independence"].measured == pytest.approx(1)


def test_a_mask_that_ignores_the_seed_is_named() -> None:
    """Draws from a private stream do not repeat, those from a constant seed ignore the seed: both fail."""
    own = torch.Generator().manual_seed(0)
    with dropout_by(lambda shape: drawn(*shape, generator=own)):
        assert set(failed(layers=DROPOUT)) >= {"one seed"}
    with dropout_by(lambda shape: drawn(*shape, generator=torch.Generator().manual_seed(5))):
        assert set(failed(layers=DROPOUT)) == {"two seeds", "independence"}


def test_a_shared_draw_is_named() -> None:
    """One draw for all channels fails the check of shared axes, and the outcome names the axis."""
    with dropout_by(lambda shape: drawn(shape[0], 1, *shape[2:]).expand(shape)):
        found = failed(layers=DROPOUT)
    assert found["shared axes"].measured == "channel"
    spatial = [layer for layer in LAYERS if layer.name == "nn.Dropout2d"]
    with Backend(dropout2d=lambda func, input, p, training, inplace: F.dropout(input, p, training)):
        found = failed(layers=spatial)
    assert found["shared axes"].measured == "none"


def test_dropout_that_ignores_eval_is_named() -> None:
    """A layer that drops after `eval()` fails that check, and no other."""
    with Backend(dropout=lambda func, input, p, training, inplace: func(input, p, True)):
        assert set(failed(layers=DROPOUT)) == {"eval"}


def test_a_backward_pass_with_another_mask_is_named() -> None:
    """A gradient under a new mask instead of the forward pass's fails that check, and no other."""

    def redrawn(func: Any, input: Any, p: float, training: bool, inplace: bool) -> Any:
        if not training:
            return input
        other = input * drawn(*input.shape) / (1 - p)
        return other + (func(input, p, True) - other).detach()

    with Backend(dropout=redrawn):
        assert {"gradient"} == set(failed(layers=DROPOUT))


def test_a_backend_that_drops_nothing_is_not_said_to_be_independent() -> None:
    """If nothing is dropped, the rate fails, and independence is not run rather than passed."""
    with Backend(dropout=lambda func, input, p, training, inplace: input / (1 - p) if training else input):
        result = selftest(("cpu",), ("eager",), layers=DROPOUT, batch_norms=(), methods=())
    assert [each.check for each in result.of(CheckStatus.FAILS)] == ["rate"]
    assert [each.check for each in result.of(CheckStatus.NOT_RUN)] == ["shared axes", "independence", "two seeds"]


def test_values_that_are_no_numbers_fail() -> None:
    """NaN is not within any bound."""
    with Backend(dropout=lambda func, input, p, training, inplace: func(input, p, training) * float("nan")):
        result = selftest(("cpu",), ("eager",), layers=DROPOUT, batch_norms=(), methods=())
    assert {"scaling", "gradient", "eval"} <= {each.check for each in result.of(CheckStatus.FAILS)}
    assert {each["measured"] for each in result.document()["checks"] if each["check"] == "eval"} == {"nan"}


def test_a_layer_that_raises_is_not_run() -> None:
    """An unsupported layer is not run, with the error, and the others run."""

    def raising(func: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("no kernel for this device\nand a long story")

    with Backend(dropout=raising):
        result = selftest(("cpu",), ("eager",), layers=DROPOUT, batch_norms=NORMS[:1], methods=())
    (missed,) = result.of(CheckStatus.NOT_RUN)
    assert (missed.what, missed.check) == ("nn.Dropout", "everything")
    assert missed.because == "NotImplementedError: no kernel for this device"
    assert result.ok and result.missed and len(result.of(CheckStatus.HOLDS)) == 5


def batch_norm_by(change: Any) -> Backend:
    """Returns a batch norm that changes its arguments before calling torch's own."""

    def batch_norm(func: Any, input: Any, mean: Any, var: Any, **given: Any) -> Any:
        return func(input, mean, var, **change(given))

    return Backend(batch_norm=batch_norm)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda given: {**given, "momentum": 1 - given["momentum"]},
            {"running statistics", "cumulative statistics", "eval"},
        ),
        (lambda given: {**given, "eps": 1e-3}, {"batch statistics", "gradient", "eval"}),
        (lambda given: {**given, "training": True}, {"eval"}),
        (
            lambda given: {**given, "training": False},
            {"batch statistics", "gradient", "running statistics", "cumulative statistics", "eval"},
        ),
        (lambda given: {**given, "bias": None}, {"batch statistics", "eval"}),
    ],
    ids=["momentum", "eps", "always training", "never training", "bias"],
)
def test_a_wrong_batch_norm_is_named(change: Any, named: set[str]) -> None:
    """Complementary momentum, another eps, an ignored mode, no bias: each fails the check that it affects."""
    with batch_norm_by(change):
        for norm in NORMS:
            assert set(failed(batch_norms=[norm])) == named


def test_a_biased_running_variance_is_named() -> None:
    """A running variance over n instead of n - 1, off by one in 128, fails, and so does its prediction."""

    def batch_norm(func: Any, input: Any, mean: Any, var: Any, **given: Any) -> Any:
        unbiased, before = var.clone(), (1 - given["momentum"]) * var
        out = func(input, mean, unbiased, **given)
        if given["training"]:
            count = input.numel() // input.size(1)
            var.copy_(before + (unbiased - before) * (count - 1) / count)
        return out

    with Backend(batch_norm=batch_norm):
        assert set(failed(batch_norms=NORMS[:1])) == {"running statistics", "cumulative statistics", "eval"}


class Adam(torch.optim.Optimizer):
    """A hand-written Adam with selectable mistakes."""

    def __init__(self, params: Any, lr: float, weight_decay: float, mistake: str = "") -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.mistake = mistake

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state, gradient = self.state[parameter], parameter.grad
                state["t"] = t = state.get("t", 0) + 1
                if self.mistake == "decoupled":
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                else:
                    gradient = gradient + group["weight_decay"] * parameter
                first = state["m"] = 0.9 * state.get("m", 0.0) + 0.1 * gradient
                second = state["v"] = 0.999 * state.get("v", 0.0) + 0.001 * gradient**2
                late = t - 1 if self.mistake == "late" and t > 1 else t
                first = first if self.mistake == "uncorrected" else first / (1 - 0.9**late)
                eps = 1e-6 if self.mistake == "eps" else 1e-8
                parameter.sub_(group["lr"] * first / ((second / (1 - 0.999**t)).sqrt() + eps))


@pytest.mark.parametrize("mistake", ["", "uncorrected", "late", "eps", "decoupled"])
def test_a_wrong_step_is_named(mistake: str) -> None:
    """An Adam without or with a late bias correction, with another ε or with decoupled decay fails."""
    method = Method(Adam, "Adam", {"mistake": mistake} if mistake else {})
    assert set(failed(methods=[method])) == ({"single step"} if mistake else set())
