"""`audit(model)`: what a user sees of it."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import regcheck
from regcheck import audit
from regcheck.core.errors import Failed, UsageError
from regcheck.core.finding import Severity, Verdict
from regcheck.probe import audit_copy
from regcheck.report.json import schema


class Leaky(nn.Module):
    """Its functional dropout ignores the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.head(F.dropout(self.hidden(x) * scale))


class Sound(Leaky):
    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.head(F.dropout(self.hidden(x) * scale, training=self.training))


def test_a_fault_is_found_proven_and_fails() -> None:
    """The finding has code, line, figures and fix; the report fails and can raise."""
    report = audit(Leaky())
    (finding,) = report.findings
    assert (finding.code, finding.name, finding.severity) == ("REG202", "dropout-ignores-mode", Severity.ERROR)
    assert finding.line == Leaky.forward.__code__.co_firstlineno + 1
    assert finding.evidence.verdict is Verdict.CONFIRMED
    assert finding.evidence.measured is not None and finding.evidence.measured > 0
    assert finding.evidence.alpha == 1e-6 and finding.evidence.samples >= 12
    assert (report.ok, report.exit_code) == (False, 1)
    with pytest.raises(Failed, match="REG202"):
        report.raise_if_failed()


def test_a_sound_model_is_clean() -> None:
    """Nothing is found, nothing is left unchecked, and the recorded graph is there."""
    report = audit(Sound())
    assert report.ok and not report.findings and not report.not_checked
    assert isinstance(report.fx_graph, torch.fx.Graph)
    report.raise_if_failed()


def test_a_model_without_noise_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is measured, an audit takes the memory and the time of one copy."""
    models, copied = list[nn.Module](), audit_copy.copied

    def counted(model: nn.Module, device: str = "") -> nn.Module:
        models.append(model)
        return copied(model, device)

    monkeypatch.setattr(audit_copy, "copied", counted)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert audit(model, torch.randn(4, 8)).ok
    assert models == [model]


def test_inputs_are_passed_on_as_to_the_model() -> None:
    """Positional and keyword arguments go to forward, and one seed gives one report."""
    reports = [audit(Leaky(), torch.ones(8, 16), scale=2.0, options={"seed": 3}) for _ in range(2)]
    assert reports[0].seed == 3
    torch.manual_seed(0)
    model = Leaky()
    first, second = (audit(model, torch.ones(8, 16), scale=2.0).to_json() for _ in range(2))
    assert first == second


def test_an_optimizer_is_checked_too() -> None:
    """Coupled weight decay is found on the optimizer handed in, and the model is looked at none the less."""
    model = Sound()
    coupled = torch.optim.Adam(model.parameters(), weight_decay=0.01)
    report = audit(model, optimizer=coupled)
    (finding,) = report.findings
    assert finding.code == "REG301" and finding.evidence.verdict is Verdict.CONFIRMED
    assert isinstance(report.fx_graph, torch.fx.Graph)
    assert not audit(model, optimizer=torch.optim.AdamW(model.parameters(), weight_decay=0.01)).findings


def test_the_json_report_has_the_published_keys() -> None:
    """Keys are those the contract names, no more and no fewer."""
    document = json.loads(audit(Leaky()).to_json())
    assert set(document) == set(schema()["required"])
    (finding,) = document["findings"]
    assert list(finding) == "code name severity message module path line column fix evidence docs cell patch".split()
    keys = "verdict measured expected statistic alpha samples device seed because effect".split()
    assert list(finding["evidence"]) == keys


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"slect": ["REG202"]}, "did you mean 'select'"),
        ({"select": ["REG22"]}, "did you mean 'REG202'"),
        ({"fail_on": "eror"}, "did you mean 'error'"),
        ({"devices": ["coda"]}, "coda"),
    ],
)
def test_what_cannot_be_understood_names_its_nearest_neighbour(options: dict[str, Any], says: str) -> None:
    """A wrong option, code, severity or device is an error that says what was meant."""
    with pytest.raises(UsageError, match=says):
        audit(Leaky(), options=options)


def test_something_that_is_no_model_is_refused() -> None:
    """The error says what audit takes."""
    with pytest.raises(UsageError, match=r"takes an nn\.Module, not function"):
        audit(lambda x: x)  # type: ignore[arg-type]


class Raises(Leaky):
    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        raise RuntimeError("no such thing")


def test_a_forward_that_raises_is_not_checked() -> None:
    """The report is not clean by silence: it names the line, and `strict` makes it fail."""
    report = audit(Raises(), torch.ones(2, 16), options={"strict": True})
    (missed,) = report.not_checked
    assert "no such thing" in missed.reason and missed.path is not None
    assert missed.line == Raises.forward.__code__.co_firstlineno + 1
    assert report.exit_code == 3
    assert missed.reason in str(report) and missed.what_to_do in str(report)


def test_an_error_without_words_is_named() -> None:
    """An error that says nothing is told by its name alone."""

    class Asserts(Leaky):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            raise AssertionError

    assert "raised AssertionError; " in audit(Asserts(), torch.ones(2, 16)).not_checked[0].reason


class RaisesLater(Leaky):
    """Raises from the fifth call on: the graph is known by then, the measurement is cut short."""

    calls = 0

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        RaisesLater.calls += 1
        if RaisesLater.calls > 4:
            raise RuntimeError("enough")
        return super().forward(x, scale)


def test_a_forward_that_raises_later_loses_no_finding() -> None:
    """What the graph showed stays a finding, unmeasured, with the reason."""
    (finding,) = audit(RaisesLater(), torch.ones(2, 16)).findings
    assert finding.evidence.verdict is Verdict.UNMEASURED
    assert "enough" in finding.evidence.because


def test_an_ignore_with_a_reason_silences() -> None:
    """On the class, around the call, by option, and on the line."""

    class OnLine(Leaky):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return self.head(F.dropout(self.hidden(x)))  # regcheck: ignore[REG202] Monte-Carlo dropout

    @regcheck.ignore("REG202", reason="Monte-Carlo dropout")
    class OnClass(Leaky):
        pass

    assert audit(OnLine()).ok
    assert audit(OnClass()).ok
    assert audit(Leaky(), options={"ignore": ["dropout-ignores-mode"]}).ok
    with regcheck.ignore("REG202", reason="Monte-Carlo dropout"):
        assert audit(Leaky()).ok
    assert not audit(Leaky()).ok


def test_a_block_in_a_forward_speaks_for_the_calls_in_it() -> None:
    """What is drawn in the block is intended, the same beside it and without the reason asked for is not."""

    class Noisy(nn.Module):
        def __init__(self, *, reason: str = "") -> None:
            super().__init__()
            self.first, self.last, self.reason = nn.Linear(8, 16), nn.Linear(16, 2), reason

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.first(x)
            with regcheck.ignore("REG203", reason=self.reason):
                hidden = hidden + torch.randn_like(hidden)
            return self.last(hidden)

    class Noisier(Noisy):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + torch.rand(2)

    x = torch.randn(4, 8)
    assert audit(Noisy(), x).findings == ()
    assert audit(Noisy(reason="sampled"), x, options={"require_reason": True}).findings == ()
    (finding,) = audit(Noisier(), x).findings
    assert finding.code == "REG203" and "torch.rand`" in finding.message
    (finding,) = audit(Noisy(), x, options={"require_reason": True}).findings
    assert finding.code == "REG203" and "torch.randn_like`" in finding.message


def test_without_confirmation_nothing_is_measured() -> None:
    """What was not measured is unproven, and fails nothing."""
    report = audit(Leaky(), options={"confirm": False})
    (finding,) = report.unproven
    assert finding.evidence.verdict is Verdict.UNMEASURED and report.ok


@pytest.mark.parametrize(
    ("units", "rate", "verdict"),
    [(2, 0.001, Verdict.UNMEASURED), (10, 0.1, Verdict.CONFIRMED), (200, 0.1, Verdict.CONFIRMED)],
)
def test_a_dropout_with_little_to_drop_is_not_called_idle(units: int, rate: float, verdict: Verdict) -> None:
    """Runs that happen to draw the same mask refute nothing: more are made, and what they cannot tell is unmeasured.

    That 24 runs all draw the mask of the reference has a probability of 0.95 for 2 units at a rate of 0.001, of 4e-12
    for 10 units at 0.1, and of 0 for 200.
    """

    class Few(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(units, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.dropout(x, rate))

    (finding,) = audit(Few(), torch.ones(1, units)).findings
    assert (finding.code, finding.evidence.verdict) == ("REG202", verdict)


def test_a_budget_that_is_used_up_leaves_findings_unproven() -> None:
    """When there is no time to prove a finding it is reported all the same, and says so."""
    (finding,) = audit(Leaky(), options={"budget": 0.0}).findings
    assert finding.evidence.verdict is Verdict.UNMEASURED and "budget" in finding.evidence.because


def test_one_line_that_runs_often_is_one_finding() -> None:
    """Twelve blocks that share a faulty line are reported once, with how many more there are."""
    (finding,) = audit(nn.Sequential(nn.Linear(16, 16), *(Block() for _ in range(12)))).findings
    assert finding.module == "1 (and 11 more)"
    assert finding.evidence.verdict is Verdict.CONFIRMED


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + F.dropout(self.linear(x), 0.2)


def test_a_suspicion_that_the_measurement_refutes_is_no_finding() -> None:
    """It is kept among the refuted, with its reason."""

    class Masked(Leaky):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            gate = torch.zeros(())
            return self.head(self.hidden(x)) + gate * F.dropout(x).sum()

    report = audit(Masked())
    assert report.ok and not report.findings
    (refuted,) = report.refuted
    assert refuted.evidence.verdict is Verdict.REFUTED


def test_the_inputs_are_left_alone_too() -> None:
    """A forward that works in place on its input, or empties the dict it is given, does so on copies."""

    class Greedy(Leaky):
        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
            return super().forward(batch.pop("x").mul_(2))

    batch = {"x": torch.ones(4, 16)}
    assert [each.code for each in audit(Greedy(), batch).findings] == ["REG202"]
    assert torch.equal(batch["x"], torch.ones(4, 16))


class Skips(Sound):
    """Scales its hidden layer at random, in eval mode too."""

    def __init__(self, draw: Callable[[], float]) -> None:
        super().__init__()
        self.draw = draw

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return super().forward(x, 2.0 if self.draw() < 0.5 else 1.0)


@pytest.mark.parametrize("draw", [lambda: torch.rand(1).item(), random.random], ids=["control flow", "Python"])
def test_a_draw_that_no_tensor_carries_is_not_clean(draw: Callable[[], float]) -> None:
    """Eval runs that differ by a branch are confirmed, whether a number of torch or of Python decides about it."""
    (finding,) = audit(Skips(draw), torch.ones(4, 16)).findings
    assert (finding.code, finding.evidence.verdict) == ("REG203", Verdict.CONFIRMED)
    assert audit(Skips(lambda: 1.0), torch.ones(4, 16)).findings == ()


@pytest.mark.parametrize(("clock", "missed"), [(time.time, 1), (lambda: 1.0, 0)], ids=["a clock", "a constant"])
def test_runs_that_cannot_be_compared_are_not_clean(clock: Callable[[], float], missed: int) -> None:
    """Where the only number that a forward returns depends on a clock, the report says that nothing was compared."""

    class Elapsed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 1)
            self.clock = SimpleNamespace(time=clock)

        def forward(self, x: torch.Tensor) -> float:
            return float(self.linear(x).sum()) + self.clock.time()

    reasons = [each.reason for each in audit(Elapsed(), torch.ones(2, 4)).not_checked]
    assert len([each for each in reasons if "whether predictions in eval mode repeat" in each]) == missed


def test_a_function_kept_on_the_model_runs_the_model_that_is_measured() -> None:
    """A closure over the model is not copied with it; nothing is confirmed that is right, and nothing is changed."""

    class Closure(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(16)
            self.head = nn.Linear(16, 2)
            self.act = lambda x: F.dropout(self.norm(x), 0.3, self.training)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.act(x))

    model = Closure()
    before = [each.clone() for each in model.buffers()]
    assert not audit(model, torch.randn(8, 16)).findings
    assert all(torch.equal(*pair) for pair in zip(model.buffers(), before, strict=True))


def test_what_hooks_collect_is_put_back() -> None:
    """A list that a user's hook appends to is as long afterwards as before."""
    shapes: list[torch.Size] = []
    model = Leaky()
    model.hidden.register_forward_hook(lambda module, args, result: shapes.append(result.shape))
    model(torch.ones(2, 16))
    audit(model)
    assert len(shapes) == 1


def test_a_private_generator_is_random_too() -> None:
    """Noise from a generator of the model's own is confirmed, and the generator is left where it was."""

    class Private(Leaky):
        def __init__(self) -> None:
            super().__init__()
            self.generator = torch.Generator()

        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            return self.head(self.hidden(x) + torch.randn(32, generator=self.generator))

    model = Private()
    state = model.generator.get_state()
    (finding,) = audit(model).findings
    assert (finding.code, finding.evidence.verdict) == ("REG203", Verdict.CONFIRMED)
    assert torch.equal(model.generator.get_state(), state)


def test_a_forward_that_exits_is_not_checked() -> None:
    """`sys.exit` inside a forward ends neither the audit nor the program."""

    class Exits(Leaky):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            raise SystemExit(5)

    (missed,) = audit(Exits(), torch.ones(2, 16)).not_checked
    assert "SystemExit" in missed.reason


def test_what_a_forward_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    """An audit prints nothing of its own accord."""

    class Prints(Leaky):
        def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
            print("forward")
            return super().forward(x)

    audit(Prints())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.LogSoftmax(-1), nn.Sigmoid(), nn.Identity()], ids=type)
def test_dropout_before_a_last_softmax_is_on_the_output(last: nn.Module) -> None:
    """What is dropped is told through softmax and sigmoid, also where no code of the user's runs the layers."""
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 6), nn.Dropout(0.3), last)
    (finding,) = audit(model, torch.randn(64, 8)).findings
    assert (finding.code, finding.module, finding.evidence.verdict) == ("REG101", "3", Verdict.CONFIRMED)


ALPHA: dict[str, Callable[[torch.Tensor, bool], torch.Tensor]] = {
    "functional": lambda x, on: F.alpha_dropout(x, 0.3, on),
    "in place": lambda x, on: F.alpha_dropout(x, 0.3, on, inplace=True),
    "by keyword": lambda x, on: F.alpha_dropout(input=x, p=0.3, training=on),
    "of torch": lambda x, on: torch.alpha_dropout(x, 0.3, on),
    "of features": lambda x, on: F.feature_alpha_dropout(x, 0.3, on),
}


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(-1)], ids=type)
@pytest.mark.parametrize("drop", ALPHA)
def test_alpha_dropout_on_the_output_is_measured(drop: str, last: nn.Module) -> None:
    """Alpha dropout sets a dropped score to a constant that is not zero, and the share of those is the rate."""

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head, self.last = nn.Linear(8, 32), nn.Linear(32, 6), last

        def forward(self, x: torch.Tensor) -> Any:
            return self.last(ALPHA[drop](self.head(torch.selu(self.hidden(x))), self.training))

    (finding,) = audit(Scores(), torch.randn(64, 8)).findings
    assert (finding.code, finding.evidence.verdict) == ("REG101", Verdict.CONFIRMED)


def test_alpha_dropout_of_single_positions_is_told_from_that_of_maps() -> None:
    """What a map is dropped to is no zero: elementwise alpha dropout is confirmed, that of whole maps no finding."""
    x = torch.rand(8, 3, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    for drop, found in ((nn.AlphaDropout(0.3), ["REG102"]), (nn.FeatureAlphaDropout(0.3), [])):
        convolutions = nn.Conv2d(3, 16, 3), nn.SELU(), drop, nn.Conv2d(16, 16, 3)
        report = audit(nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)), x)
        assert [each.code for each in report.findings if each.evidence.verdict is Verdict.CONFIRMED] == found


def encoder() -> nn.Sequential:
    """A convolutional encoder with elementwise dropout between two convolutions."""
    features = nn.Conv1d(8, 32, 1), nn.Conv1d(32, 32, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv1d(32, 32, 3), nn.ReLU()
    return nn.Sequential(*features, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(32, 2))


WAVES = torch.sin(torch.linspace(0, 20, 1000) + torch.arange(32.0).view(4, 8, 1))


@pytest.mark.parametrize(("x", "verdict", "severity"), [
    (WAVES, Verdict.CONFIRMED, Severity.WARNING),
    (torch.randn(4, 8, 1000, generator=torch.Generator().manual_seed(0)), Verdict.CONFIRMED, Severity.INFO),
    (torch.randn(1, 8, 12, generator=torch.Generator().manual_seed(0)), Verdict.UNMEASURED, Severity.WARNING),
], ids=["smooth", "noise", "little noise"])  # fmt: skip
def test_what_neighbours_tell_is_held_against_one_threshold(
    x: torch.Tensor, verdict: Verdict, severity: Severity
) -> None:
    """Below 5 % the effect is advice, and where the values are too few to say so, nothing is proven."""
    (finding,) = audit(encoder(), x, options={"select": ["REG102"]}).findings
    assert (finding.evidence.verdict, finding.severity) == (verdict, severity)


@pytest.mark.parametrize("select", [{}, {"select": ["REG102"]}, {"extend_select": ["ALL"]}, {"select": ["REG2"]}])
def test_an_effect_that_is_not_material_is_off_until_selected(select: dict[str, list[str]]) -> None:
    """As all advice, what evidence lowers to `info` is neither shown nor counted unless the rule is asked for."""
    report = audit(encoder(), torch.randn(4, 8, 1000), options={**select, "fail_on": "info"})
    asked = "REG102" in select.get("select", []) or "ALL" in select.get("extend_select", [])
    assert ["REG102"] * asked == [each.code for each in report.findings if each.code == "REG102"]
    assert asked or report.ok
    assert not any(each["code"] == "REG102" for each in report.to_dict()["findings"]) or asked


@pytest.mark.parametrize("ids", [True, False])
def test_ids_are_no_features(ids: bool) -> None:
    """As many classes as word ids are a coincidence; a block is as wide as the features it is given."""
    first = nn.Sequential(nn.Embedding(50, 16), nn.Flatten()) if ids else nn.Linear(10, 160)
    model = nn.Sequential(first, nn.Linear(160, 10), nn.Dropout(0.5))
    x = torch.randint(50, (8, 10)) if ids else torch.randn(8, 10)
    assert [each.code for each in audit(model, x).findings] == ["REG101"] * ids


@torch.library.custom_op("flash_attn::_flash_attn_forward", mutates_args=())
def flash_attention_stand_in(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dropout_p: float) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p)


class FlashAttention(nn.Module):
    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.gated, self.qkv, self.out = gated, nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> Any:
        q, k, v = self.qkv(x).chunk(3, -1)
        rate = 0.2 if self.training or not self.gated else 0.0
        return self.out(torch.ops.flash_attn._flash_attn_forward(q, k, v, rate))


@pytest.mark.parametrize("gated", [False, True])
def test_the_operators_of_flash_attn_are_known_by_name(gated: bool) -> None:
    """Their dropout is measured as torch's attention is: found where it ignores the mode, silent where it follows."""
    report = audit(FlashAttention(gated), torch.randn(4, 6, 16))
    assert report.not_checked == ()
    found = [(each.code, each.evidence.verdict) for each in report.findings]
    assert found == ([] if gated else [("REG202", Verdict.CONFIRMED)])


class NoModes(nn.Sequential):
    """Its modes cannot be set."""

    def train(self, mode: bool = True) -> NoModes:
        raise NotImplementedError("no modes here")


class NoNames(nn.Sequential):
    """Its parts cannot be listed."""

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        sys.exit("no names here")


class Mute(Exception):
    """It has nothing to say."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("error", [Mute, asyncio.CancelledError, SystemExit, GeneratorExit])
def test_whatever_a_forward_raises_is_not_checked(error: type[BaseException]) -> None:
    """No exception of a forward leaves an audit: it is named under "not checked", with its line."""

    class Raises(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise error

    report = audit(Raises(nn.Linear(4, 4)), torch.ones(4, 4))
    missed = report.not_checked[0]
    assert error.__name__ in missed.reason and str(missed.path).endswith("test_audit.py")


@pytest.mark.parametrize("cls", [NoModes, NoNames])
def test_whatever_a_model_raises_is_not_checked(cls: type[nn.Module]) -> None:
    """No exception of the other methods of a model leaves an audit either."""
    report = audit(cls(nn.Linear(4, 4), nn.Dropout(0.5)), torch.ones(4, 4))
    (missed,) = report.not_checked
    assert "here" in missed.reason and str(missed.path).endswith("test_audit.py")


def test_ctrl_c_passes() -> None:
    """An interrupt ends an audit, and everything is as it was."""

    class Interrupted(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(Interrupted(nn.Linear(4, 4)), torch.ones(4, 4))


def test_what_is_handed_to_a_forward_is_left_alone() -> None:
    """Objects and modules among the inputs, with or without tensors, are copied like the model."""

    class Takes(nn.Module):
        def forward(self, x: torch.Tensor, state: Any, layer: nn.Module) -> torch.Tensor:
            state.calls += 1
            return layer(F.dropout(x, 0.5))

    state, layer = SimpleNamespace(calls=0), nn.BatchNorm1d(4)
    report = audit(Takes(), torch.randn(8, 4), state, layer)
    assert "REG202" in {each.code for each in report.findings}
    assert state.calls == layer.num_batches_tracked == 0


def test_what_is_unproven_fails_on_request() -> None:
    """What was not measured has a section and a count of its own; strictness or the configuration makes it fail."""
    report = audit(Leaky(), options={"confirm": False})
    assert report.unproven == report.findings != () and report.ok and report.failures == ()
    assert "unproven" in str(report) and report.headline == "0 findings, 1 unproven"
    assert json.loads(report.to_json())["unproven"] == json.loads(report.to_json())["findings"]
    assert audit(Leaky(), options={"confirm": False, "strict": True}).exit_code == 3
    assert audit(Leaky(), options={"confirm": False, "strict": True, "fail_on": "never"}).exit_code == 0
    assert audit(Leaky(), options={"confirm": False, "fail_on_unproven": True}).exit_code == 1
    assert audit(Leaky()).unproven == ()


@pytest.mark.parametrize(("required", "code"), [(True, 0), (False, 1)])
def test_requiring_proof_is_the_old_word_for_it(required: bool, code: int) -> None:
    """`require_proof` is deprecated: it says the opposite of `fail_on_unproven`, and that it does."""
    with pytest.warns(DeprecationWarning, match="'require-proof' is deprecated"):
        report = audit(Leaky(), options={"confirm": False, "require_proof": required})
    assert report.exit_code == code


class ModeByArgument(Leaky):
    """Its forward takes the mode as an argument, which trains by default."""

    def forward(self, x: torch.Tensor, train: bool = True) -> torch.Tensor:  # type: ignore[override]
        return self.head(F.dropout(self.hidden(x), training=train))


class RequiredMode(Leaky):
    def forward(self, x: torch.Tensor, is_training) -> torch.Tensor:  # type: ignore[no-untyped-def, override]
        hidden = self.hidden(x)
        if is_training:
            hidden = F.dropout(hidden)
        return self.head(hidden)


@pytest.mark.parametrize("how", [((), {"train": True}), ((True,), {}), ((), {"train": False})])
def test_a_mode_that_the_caller_passes_is_that_of_training(how: tuple[tuple[bool, ...], dict[str, bool]]) -> None:
    """In eval mode, the audit passes the other value for it."""
    args, kwargs = how
    assert audit(ModeByArgument(), torch.randn(8, 16), *args, **kwargs).findings == ()


def test_a_mode_that_trains_by_default_is_reported() -> None:
    """A prediction that leaves the mode out drops."""
    (finding,) = audit(ModeByArgument(), torch.randn(8, 16)).findings
    assert finding.code == "REG202"


def test_inputs_are_inferred_around_a_mode_that_is_required() -> None:
    """The audit passes the mode in which it runs, and traces both branches."""
    report = audit(RequiredMode())
    assert not report.findings and not report.not_checked
    assert report.coverage[0].how == "recorded"
