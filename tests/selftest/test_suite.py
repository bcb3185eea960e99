"""A correct torch passes, on every seed and in both modes, within the stated α."""

from __future__ import annotations

import json
import random

import pytest
import torch
from torch.nn import functional as F

from regcheck.selftest.checks import ALPHA, selftest
from regcheck.selftest.dropout_layers import LAYERS, RATE, Heads, between_layers, signal
from regcheck.selftest.norm_checks import NORMS
from regcheck.selftest.optimizer_checks import METHODS
from regcheck.selftest.results import CheckResult, CheckStatus, Selftest
from regcheck.selftest.table import render_table

SMALL = {"layers": LAYERS[:1], "batch_norms": NORMS[:1], "methods": METHODS[:1]}


@pytest.fixture(scope="module")
def eager() -> Selftest:
    """Runs the whole selftest, eagerly."""
    return selftest(("cpu",), ("eager",))


def told(result: Selftest) -> list[tuple[str, str, str]]:
    return [(each.what, each.check, each.because) for each in result.outcomes if each.verdict is not CheckStatus.HOLDS]


def test_torch_passes(eager: Selftest) -> None:
    """Every check of every layer, norm and optimizer runs on the CPU, and holds."""
    assert told(eager) == []
    names = {each.what for each in eager.outcomes}
    assert names == {each.name for each in (*LAYERS, *NORMS, *METHODS)}


def test_the_stated_alpha_bounds_all_checks_together(eager: Selftest) -> None:
    """The false-alarm probabilities of the checks add up to that of the selftest, 1e-6 at most."""
    assert eager.alpha == ALPHA <= 1e-6
    assert sum(each.alpha for each in eager.outcomes) <= ALPHA * (1 + 1e-9)
    statistical = {each.check for each in eager.outcomes if each.alpha}
    assert statistical == {"rate", "independence", "two seeds"}


@pytest.mark.parametrize("seed", range(20))
def test_an_honest_dropout_passes_on_every_seed(seed: int) -> None:
    """Twenty seeds raise no alarm at elementwise and channel dropout: by chance with a probability of 2e-5 in all."""
    layers = [layer for layer in LAYERS if layer.name in ("nn.Dropout", "nn.Dropout2d")]
    assert told(selftest(("cpu",), ("eager",), seed, layers=layers, batch_norms=(), methods=())) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 21))
def test_an_honest_torch_passes_on_every_seed(seed: int) -> None:
    """Twenty seeds raise no alarm at any layer, norm or optimizer: by chance with a probability of 2e-5 in all."""
    assert told(selftest(("cpu",), ("eager",), seed)) == []


@pytest.mark.slow
def test_compiled_torch_passes() -> None:
    """Compiled layers and steps hold; what cannot be compiled is not run, with a reason."""
    result = selftest(("cpu",), ("compiled",), **SMALL)
    if [each.what for each in result.outcomes] == ["torch.compile"]:
        pytest.skip(f"nothing can be compiled here: {result.outcomes[0].because}")
    assert result.ok
    held = {each.check for each in result.of(CheckStatus.HOLDS)}
    assert held >= {"rate", "gradient", "independence", "eval", "batch statistics", "foreach step"}
    assert all(each.because for each in result.of(CheckStatus.NOT_RUN))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


def test_it_leaves_no_trace() -> None:
    """Random streams, the default dtype and the grad mode are unchanged."""
    torch.manual_seed(7), random.seed(7)
    before = torch.get_rng_state(), random.getstate()
    with torch.no_grad():
        assert selftest(("cpu",), ("eager",), **SMALL).ok
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert torch.get_default_dtype() is torch.float32


def test_one_seed_gives_one_result() -> None:
    """The figures of two runs are the same, those of another seed are not."""

    def figures(seed: int) -> list[object]:
        return [each.measured for each in selftest(("cpu",), ("eager",), seed, **SMALL).outcomes]

    assert figures(3) == figures(3) != figures(4)


def test_the_arranged_layers_give_their_masks() -> None:
    """Attention and recurrent networks without dropout return the values that show a mask."""
    attended = Heads(2, 4).eval()(signal((3, 2, 4)))
    assert torch.equal(attended, (signal((3, 2, 4)) / 4).unsqueeze(2).expand(3, 2, 4, 4))
    passed = between_layers(4).eval()(signal((5, 2, 4)))
    assert torch.equal(passed, signal((5, 2, 4)))
    assert F.dropout(torch.ones(9), RATE).max() == 1.25


def test_the_table_tells_each_check_once(eager: Selftest) -> None:
    """The table has one row per check, with measured and expected figure and α; the headline counts them."""
    text = render_table(eager, "full")
    lines = text.splitlines()
    assert sum(line.endswith("holds") for line in lines) == len(eager.outcomes)
    rate = next(line for line in lines if line.lstrip().startswith("nn.Dropout ")).split()
    assert rate[:4] == ["nn.Dropout", "rate", "cpu", "eager"] and rate[-2:] == ["3e-08", "holds"]
    assert lines[-2] == f"{len(eager.outcomes)} checks of torch {torch.__version__}: {len(eager.outcomes)} hold"
    assert "α 1e-06 in all, seed 0" in lines[-1]


def test_failures_and_what_was_not_run_say_why() -> None:
    """A failed check and one that was not run show their reasons, in JSON too."""
    where = ("nn.Dropout", "scaling", "cpu", "eager")
    failed = CheckResult(
        *where, CheckStatus.FAILS, float("inf"), "≤ 4.8e-07", because="surviving values are 0.8 times the expected ones"
    )
    missed = CheckResult("nn.RNN", "everything", "cpu", "compiled", CheckStatus.NOT_RUN, because="Unsupported: RNN")
    result = Selftest((failed, missed), "2.0", 5, 1e-6, 1.25)
    text = render_table(result, "full")
    assert "fails: surviving values are 0.8 times the expected ones" in text and "not run: Unsupported: RNN" in text
    assert "2 checks of torch 2.0: 0 hold, 1 fail, 1 not run" in text
    document = json.loads(render_table(result, "json"))
    assert (document["ok"], document["seed"], document["alpha"]) == (False, 5, 1e-6)
    keys = "what check device mode verdict measured expected alpha samples because"
    assert all(set(each) == set(keys.split()) for each in document["checks"])
    assert [each["verdict"] for each in document["checks"]] == ["fails", "not run"]
    assert document["checks"][0]["measured"] == "inf"
