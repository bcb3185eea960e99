"""What an optimizer that somebody wrote makes of its decay is told by its own steps, and never guessed."""

from __future__ import annotations

import functools
import random

import pytest
import torch
from torch import nn

from regcheck import audit
from regcheck.core.errors import CannotMeasure
from regcheck.core.finding import Verdict
from regcheck.probe.measurements.decay import measure_decay
from regcheck.probe.work_plan import Budget
from regcheck.runtime.optimizers import optimizer_info

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
SETTINGS = {"lr": 1e-3, "beta": 0.9, "weight_decay": 1e-2}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(device="cpu"):
    return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4)).to(device)


class ByHand(torch.optim.Optimizer):
    """Steps each parameter by `move`, on its gradient, its state and the settings of its group."""

    def __init__(self, parameters, **settings):
        super().__init__(parameters, {**SETTINGS, **settings})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                if each.grad is not None:
                    self.move(each, each.grad, self.state[each], group)

    def move(self, weight, gradient, state, group):
        raise NotImplementedError

    def mean(self, state, name, value, beta):
        state[name] = beta * state.get(name, torch.zeros_like(value)) + (1 - beta) * value
        return state[name]

    def adaptive(self, gradient, state, group):
        scale = self.mean(state, "second", gradient * gradient, 0.99).sqrt() + 1e-8
        return self.mean(state, "first", gradient, group["beta"]) / scale


class Coupled(ByHand):
    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * self.adaptive(gradient + group["weight_decay"] * weight, state, group))


class Upwards(ByHand):
    """Climbs, so the decay is taken off the gradient."""

    def __init__(self, parameters):
        super().__init__(parameters, maximize=True)

    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * self.adaptive(-gradient + group["weight_decay"] * weight, state, group))


class OnlyMatrices(Coupled):
    """Spares vectors by itself, as many do."""

    def move(self, weight, gradient, state, group):
        decay = group["weight_decay"] if weight.dim() > 1 else 0.0
        super().move(weight, gradient, state, {**group, "weight_decay": decay})


class Prepared(ByHand):
    """Makes its state when it is built."""

    def __init__(self, parameters):
        super().__init__(parameters)
        for group in self.param_groups:
            for each in group["params"]:
                self.state[each].update(steps=0, second=torch.zeros_like(each), tag="scale")

    def move(self, weight, gradient, state, group):
        state["steps"] += 1
        state["second"].mul_(0.9).addcmul_(gradient + group["weight_decay"] * weight, gradient, value=0.1)
        gradient = gradient + group["weight_decay"] * weight
        scale = self.mean(state, "square", gradient * gradient, 0.9) / (1 - 0.9 ** state["steps"])
        weight.sub_(group["lr"] * gradient / (scale.sqrt() + 1e-8))


class InLists(ByHand):
    """Keeps what it remembers in lists of its own, and the parameters too."""

    def __init__(self, parameters):
        self.all = list(parameters)
        super().__init__(self.all)
        self.scales = [torch.zeros_like(each) for each in self.all]

    @torch.no_grad()
    def step(self, closure=None):
        group = self.param_groups[0]
        for weight, scale in zip(self.all, self.scales, strict=True):
            gradient = weight.grad + group["weight_decay"] * weight
            scale.mul_(0.9).add_(gradient.square(), alpha=0.1)
            weight.sub_(group["lr"] * gradient / (scale.sqrt() + 1e-8))


class Signed(ByHand):
    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * (gradient + group["weight_decay"] * weight).sign())


class Subclassed(torch.optim.Adam):
    """Counts its steps, and leaves them to torch."""

    steps = 0

    def step(self, closure=None):
        self.steps += 1
        return super().step(closure)


class Drawing(Coupled):
    """Draws a little noise at each step."""

    def move(self, weight, gradient, state, group):
        super().move(weight, gradient, state, group)
        weight.add_(1e-3 * torch.randn_like(weight), alpha=random.random())


COUPLED = (Coupled, Upwards, OnlyMatrices, Prepared, InLists, Signed, Subclassed, Drawing)


class Beside(ByHand):
    """Decays the weights themselves."""

    def move(self, weight, gradient, state, group):
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * self.adaptive(gradient, state, group))


class Behind(ByHand):
    """Adds the decay to the step, behind the scale."""

    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * (self.adaptive(gradient, state, group) + group["weight_decay"] * weight))


class Proximal(ByHand):
    """Shrinks what the step has come to."""

    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * self.adaptive(gradient, state, group))
        weight.div_(1 + group["lr"] * group["weight_decay"])


class BesideTheSign(ByHand):
    def move(self, weight, gradient, state, group):
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.sub_(group["lr"] * self.mean(state, "first", gradient, group["beta"]).sign())


class Momentum(ByHand):
    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * self.mean(state, "first", gradient + group["weight_decay"] * weight, group["beta"]))


class Centralized(ByHand):
    """Takes the mean off each row of the gradient."""

    def move(self, weight, gradient, state, group):
        gradient = gradient + group["weight_decay"] * weight
        gradient = gradient - gradient.mean(-1, keepdim=True)
        weight.sub_(group["lr"] * self.mean(state, "first", gradient, group["beta"]))


class Normalized(ByHand):
    """Scales the gradient of each parameter as a whole."""

    def move(self, weight, gradient, state, group):
        gradient = gradient + group["weight_decay"] * weight
        weight.sub_(group["lr"] * gradient * weight.norm() / gradient.norm())


class Clipped(ByHand):
    """Cuts off what is large in a gradient, of which there is little."""

    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * (gradient + group["weight_decay"] * weight).clamp(-1, 1))


class Forgetful(ByHand):
    """Forgets about its decay."""

    def move(self, weight, gradient, state, group):
        weight.sub_(group["lr"] * self.adaptive(gradient, state, group))


class SubclassedBeside(torch.optim.Adam):
    """Overrides what torch would do, and hands on no decay."""

    @torch.no_grad()
    def step(self, closure=None):
        asked = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for each in group["params"]:
                each.mul_(1 - group["lr"] * group["weight_decay"])
            group["weight_decay"] = 0.0
        super().step(closure)
        for group, decay in zip(self.param_groups, asked, strict=True):
            group["weight_decay"] = decay


RIGHT = (
    Beside,
    Behind,
    Proximal,
    BesideTheSign,
    Momentum,
    Centralized,
    Normalized,
    Clipped,
    Forgetful,
    SubclassedBeside,
)


def built(kind, model):
    return kind(model.parameters(), **({"weight_decay": 1e-2} if issubclass(kind, torch.optim.Adam) else {}))


def trained(kind, model, steps=3):
    optimizer = built(kind, model)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 16, device=next(model.parameters()).device)).square().mean().backward()
        optimizer.step()
    return optimizer


def judged(optimizer, model, **options):
    return audit(model, optimizer=optimizer, options={"select": ["REG301"], "devices": DEVICES, **options})


@pytest.mark.parametrize(("kind", "steps"), [*((kind, 3) for kind in COUPLED), (Coupled, 0), (Prepared, 0)])
def test_a_decay_in_the_gradient_is_confirmed(kind, steps):
    """However an optimizer is written: scaled by each weight's own gradients, its decay is another for each."""
    model = network()
    report = judged(trained(kind, model, steps), model)
    (found,) = report.findings
    assert found.evidence.verdict is Verdict.CONFIRMED
    assert "one real step equals a step on gradient plus decay" in found.evidence.because
    assert report.not_checked == ()


@pytest.mark.parametrize(("kind", "steps"), [*((kind, 3) for kind in RIGHT), (Momentum, 0), (Normalized, 0)])
def test_any_other_decay_is_refuted(kind, steps):
    """Beside the step, behind it, forgotten, or scaled as one: none of it is what the rule claims."""
    model = network()
    report = judged(trained(kind, model, steps), model)
    assert report.findings == ()
    assert [each.evidence.verdict for each in report.refuted] == [Verdict.REFUTED]
    assert report.not_checked == ()


@pytest.mark.parametrize("seed", range(3))
def test_layers_that_are_scaled_as_a_whole_are_never_taken_for_weights(seed):
    """Many of them together, each of which favours one side by chance, do not add up to a proof."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(nn.Linear(12, 12) for _ in range(40)))
    report = judged(trained_on(model, Normalized(model.parameters(), weight_decay=0.1)), model)
    assert [each.evidence.verdict for each in report.refuted] == [Verdict.REFUTED]


def trained_on(model, optimizer):
    model(torch.randn(8, 12)).square().mean().backward()
    optimizer.step()
    return optimizer


class Halved(ByHand):
    """Computes in half the precision, so no two ways to the same end agree."""

    def move(self, weight, gradient, state, group):
        gradient = gradient.float() + group["weight_decay"] * weight.float()
        weight.sub_(group["lr"] * self.adaptive(gradient, state, group))


class Asking(ByHand):
    def step(self, closure):
        return closure()


class Raising(ByHand):
    def move(self, weight, gradient, state, group):
        raise RuntimeError("not today")


class Unlike(ByHand):
    """Cannot be copied."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.lines = (line for line in ())


class Closing(Coupled):
    """Keeps a function that reaches the model."""

    def __init__(self, parameters):
        super().__init__(parameters)
        first = self.param_groups[0]["params"][0]
        self.zero = lambda: first.data.zero_()

    def move(self, weight, gradient, state, group):
        self.zero()


class Recurring(Coupled):
    """Keeps a function that steps the optimizer which made it."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.again = lambda: Coupled.step(self)

    def step(self, closure=None):
        self.again()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Halved, "nearly equals, but does not equal, a step on gradient plus decay"),
        (Asking, "its step raised TypeError"),
        (Raising, "its step raised RuntimeError: not today"),
        (Unlike, "cannot be copied"),
        (Closing, "a function among its attributes refers to tensors or modules, which no copy shares"),
        (Recurring, "a function among its attributes refers to tensors or modules, which no copy shares"),
    ],
)
def test_what_no_step_could_tell_is_not_checked(kind, reason):
    """Nothing is said against an optimizer that cannot be measured, but that it was not."""
    model = network()
    optimizer = built(kind, model)
    report = judged(optimizer, model)
    assert (report.findings, report.refuted) == ((), ())
    (missed,) = report.not_checked
    assert missed.subject == kind.__name__
    assert reason in missed.reason


@pytest.mark.parametrize("options", [{"confirm": False}, {"run": False}])
def test_unmeasured_nothing_is_suspected(options):
    """Where nothing shall be measured, an optimizer of an unknown method is not accused."""
    model = network()
    report = judged(built(Coupled, model), model, **options)
    assert (report.findings, report.refuted) == ((), ())


def test_advice_about_what_it_decays_needs_a_proof_too():
    """What is decayed beside the weights is told only by a step."""
    model = network()
    for kind, found in ((Coupled, ["REG302"]), (OnlyMatrices, []), (Raising, [])):
        report = audit(model, optimizer=built(kind, model), options={"select": ["REG302"], "devices": DEVICES})
        assert [each.code for each in report.findings] == found
        assert bool(report.not_checked) == (kind is Raising)


class Slow(torch.optim.Optimizer):
    """Leaves its steps to another optimizer, and pulls the weights back now and then."""

    def __init__(self, fast):
        self.fast = fast
        super().__init__(fast.param_groups, dict(fast.defaults))

    def step(self, closure=None):
        self.fast.step(closure)


@pytest.mark.parametrize(("fast", "found"), [(torch.optim.Adam, 1), (torch.optim.AdamW, 0), (Coupled, 1), (Beside, 0)])
def test_of_a_wrapper_what_it_wraps_is_judged(fast, found):
    """Whoever leaves its steps to another optimizer is no suspect; that one is."""
    model = network()
    inner = fast(model.parameters(), lr=1e-3, weight_decay=1e-2)
    report = judged(Slow(inner), model)
    assert [each.module for each in report.findings] == [fast.__name__] * found
    assert optimizer_info(Slow(inner), [model]).groups == ()


def test_a_wrapper_is_not_stepped_itself():
    """Its copy would step the optimizer of the program where a scheduler has patched that."""
    model = network()
    inner = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    torch.optim.lr_scheduler.StepLR(inner, 1)
    before = [each.clone() for each in model.parameters()]
    with pytest.raises(CannotMeasure, match="delegates its steps to another optimizer"):
        measure_decay(Slow(inner), None, seed=0, device="cpu")
    assert all(map(torch.equal, model.parameters(), before))


MODEL = network()
"""What a step could reach by its name."""


class Reaching(Coupled):
    """Steps what it finds by name, not what it was given."""

    def step(self, closure=None):
        with torch.no_grad():
            for each in MODEL.parameters():
                each.mul_(0.5)


class Loud(Coupled):
    """Talks, draws, counts on itself and is hooked."""

    def __init__(self, parameters):
        super().__init__(parameters)
        self.history, self.scale, self.self = [], torch.ones(3), self
        self.again = functools.partial(self.noted, 1)

    def noted(self, many):
        self.history.append(many)
        self.scale.mul_(0.5)

    def step(self, closure=None):
        print("a step")
        self.again()
        torch.rand(3)
        random.random()
        super().step(closure)


@pytest.mark.parametrize("kind", [Prepared, InLists, Subclassed, Drawing, Raising, Closing, Loud])
def test_nothing_of_the_program_is_touched(kind, capsys):
    """Weights, gradients, state, attributes, random streams and hooks are as they were, and nothing is printed."""
    model = network()
    optimizer = built(kind, model)
    for each in model.parameters():
        each.grad = torch.randn_like(each)
    fired = []
    optimizer.register_step_post_hook(lambda *args: fired.append("after"))
    torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def everything():
        state = [value for held in optimizer.state.values() for value in held.values()]
        tensors = [*model.parameters(), *(each.grad for each in model.parameters())]
        tensors += [each for each in state if isinstance(each, torch.Tensor)]
        own = {name: value for name, value in vars(optimizer).items() if name in ("history", "scale", "steps")}
        streams = (torch.get_rng_state().tolist(), random.getstate())
        return [(id(each), each._version, each.tolist()) for each in tensors], repr(own), repr(state), streams

    before = everything()
    judged(optimizer, model)
    assert everything() == before
    assert fired == []
    assert capsys.readouterr().out == ""


def test_a_step_that_reaches_for_the_program_is_stopped():
    """What a step finds by a name of the program is not changed, and the optimizer is not checked."""
    before = [each.clone() for each in MODEL.parameters()]
    report = judged(built(Reaching, MODEL), MODEL)
    assert all(map(torch.equal, MODEL.parameters(), before))
    assert ["accesses tensors of the program" in each.reason for each in report.not_checked] == [True]


def test_time_is_bounded():
    """No step is begun after the deadline."""
    with pytest.raises(CannotMeasure, match="more than its budget"):
        measure_decay(built(Coupled, network()), None, seed=0, device="cpu", budget=Budget(0.0))


@pytest.mark.parametrize("kind", [Coupled, Normalized, Signed])
def test_devices_agree(kind):
    """What the steps tell is the same on every device."""
    optimizer = built(kind, network())
    found = [measure_decay(optimizer, None, seed=0, device=device) for device in DEVICES]
    assert {(each.is_coupled, each.is_uniform, each.is_spread) for each in found} == {
        (found[0].is_coupled, found[0].is_uniform, found[0].is_spread)
    }
    for each in found:
        assert each.pairs == found[0].pairs
