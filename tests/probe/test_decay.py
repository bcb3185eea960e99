"""How weights are decayed is measured on copies, and the user's optimizer never notices."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from regcheck.core.errors import CannotMeasure
from regcheck.core.measurements.shrinkage import Shrinkage
from regcheck.core.usage import Stepped
from regcheck.probe.measurements.decay import measure_decay
from regcheck.probe.probes import OptimizerProbe
from regcheck.runtime.optimizers import optimizer_info

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
ADAPTIVE = ["Adam", "NAdam", "RAdam", "Adamax", "Adagrad", "RMSprop", "Adadelta"]


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def network(device="cpu"):
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).to(device)


def train(model, optimizer, steps=3):
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 16, device=next(model.parameters()).device)).square().mean().backward()
        optimizer.step()


def built(name, model, **settings):
    return getattr(torch.optim, name)(model.parameters(), **{"lr": 1e-3, "weight_decay": 1e-2, **settings})


def measured(optimizer, rule, device="cpu"):
    return measure_decay(optimizer, rule, seed=0, device=device)


def is_coupled(decay):
    return decay.coupled <= decay.tolerance < decay.decoupled


def is_decoupled(decay):
    return decay.decoupled <= decay.tolerance < decay.coupled


def is_uniform(decay):
    return decay.p95 - decay.p5 <= decay.tolerance * abs(decay.p95)


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_optimizers_are_coupled(name, trained, device):
    """Every adaptive optimizer of torch takes the coupled step and decays weights by very different amounts."""
    model = network(device)
    optimizer = built(name, model)
    if trained:
        train(model, optimizer)
    decay = measured(optimizer, name, device)
    assert is_coupled(decay)
    assert decay.decoupled > 0.5
    assert decay.p95 > 2 * decay.p5 > 0
    assert decay.asked == 1e-2


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("AdamW", {}),
        ("AdamW", {"amsgrad": True}),
        ("Adam", {"decoupled_weight_decay": True}),
        ("NAdam", {"decoupled_weight_decay": True}),
        ("RAdam", {"decoupled_weight_decay": True}),
    ],
)
def test_decoupled_decay_is_told_by_the_step(name, settings, device):
    """AdamW and the decoupled flag take the decoupled step: every weight is decayed by what was asked for."""
    decay = measured(built(name, network(device), **settings), name, device)
    assert is_decoupled(decay)
    assert is_uniform(decay)
    assert decay.p5 == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 1),
        ({"momentum": 0.9}, 1),
        ({"momentum": 0.9, "nesterov": True}, 1.9),
        ({"momentum": 0.8, "dampening": 0.4}, 0.6),
        ({"lr": 0.5, "weight_decay": 1e-4}, 1),
        ({"lr": 1e-4, "weight_decay": 1e-5}, 1),
        ({"maximize": True}, 1),
    ],
)
def test_sgd_decays_uniformly(settings, share, device):
    """SGD couples, yet decays every weight by the same share."""
    decay = measured(built("SGD", network(device), **settings), "SGD", device)
    assert is_uniform(decay)
    assert decay.p5 == pytest.approx(share, rel=1e-6)
    assert decay.coupled <= decay.tolerance


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {"fused": True}),
        ("Adam", {"foreach": True}),
        ("Adam", {"capturable": True}),
        ("Adam", {"differentiable": True}),
        ("Adam", {"lr": torch.tensor(1e-3)}),
        ("Adam", {"lr": torch.tensor(1e-3), "betas": (torch.tensor(0.9), torch.tensor(0.999))}),
        ("Adam", {"amsgrad": True, "maximize": True}),
        ("NAdam", {"foreach": True}),
        ("NAdam", {"capturable": True}),
        ("RAdam", {"capturable": True, "foreach": True}),
        ("Adagrad", {"fused": True}),
        ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.1}),
        ("RMSprop", {"momentum": 0.9, "centered": True, "foreach": True}),
        ("Adadelta", {"capturable": True}),
    ],
)
def test_every_variant_of_a_step_is_measured(name, settings, device):
    """Fused, foreach, capturable and other variants are measured, in the plain form where float64 cannot be had."""
    if name == "Adagrad" and settings.get("fused") and device == "cuda":
        pytest.skip("torch has no fused Adagrad on this device")
    decay = measured(built(name, network(device), **settings), name, device)
    assert is_coupled(decay)


def test_devices_agree():
    """The figures of one optimizer are the same on every device."""
    optimizer = built("Adam", network())
    figures = [measured(optimizer, "Adam", device) for device in DEVICES]
    for each in figures:
        assert each.p5 == pytest.approx(figures[0].p5, rel=1e-6)
        assert each.p95 == pytest.approx(figures[0].p95, rel=1e-6)


def test_real_gradients_set_the_scale():
    """Where gradients are known, weights with small gradients are seen to be decayed more."""
    model = nn.Linear(32, 2, bias=False)
    optimizer = built("Adam", model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    even = measured(optimizer, "Adam")
    for parameter in model.parameters():
        parameter.grad = torch.logspace(-6, 0, 64).reshape(2, 32)
    spread = measured(optimizer, "Adam")
    assert spread.p95 / spread.p5 > 100 * even.p95 / even.p5


def test_only_decayed_groups_are_measured():
    """Groups without decay take no part, and a coupled group is not hidden by a decoupled one."""
    model = network()
    groups = [
        {"params": [model[0].weight], "weight_decay": 0.1},
        {"params": [model[0].bias], "weight_decay": 0.0},
        {"params": [model[2].weight], "weight_decay": 0.2, "decoupled_weight_decay": True},
    ]
    decay = measured(torch.optim.Adam(groups, lr=1e-3), "Adam")
    assert is_coupled(decay)
    assert (decay.asked, decay.parameters) == (0.1, 64)


def test_samples_are_bounded():
    """However many and large the parameters, a few thousand elements are copied."""
    parameters = [nn.Parameter(torch.randn(300, 7)) for _ in range(300)] + [nn.Parameter(torch.tensor(0.5))]
    decay = measured(torch.optim.Adam(parameters, weight_decay=0.1), "Adam")
    assert is_coupled(decay)
    assert 1000 < decay.parameters <= 128 * 64


def test_parameters_of_any_layout_are_sampled():
    """Half precision, transposed, frozen and scalar parameters are all copied to float64."""
    parameters = [
        nn.Parameter(torch.randn(40, 8).to(torch.bfloat16)),
        nn.Parameter(torch.randn(8, 40).t()),
        nn.Parameter(torch.randn(5), requires_grad=False),
        nn.Parameter(torch.tensor(2.0)),
        nn.Parameter(torch.randn(4, dtype=torch.complex64)),
        nn.Parameter(torch.empty(0, 3)),
        nn.Parameter(torch.empty(3, device="meta")),
    ]
    decay = measured(torch.optim.Adam(parameters, weight_decay=0.1), "Adam")
    assert is_coupled(decay)
    assert decay.parameters == 64 + 64 + 5 + 1


class Scheduled(torch.optim.Adam):
    """A subclass with state, arguments and a step of its own."""

    def __init__(self, model, horizon):
        super().__init__(model.parameters(), lr=1e-3, weight_decay=1e-2)
        self.horizon = horizon
        self.log = []
        self.scale = torch.ones(())

    def step(self, closure=None):
        self.log.append(self.horizon)
        self.scale *= 0.5
        return super().step(closure)


class Signed(torch.optim.Optimizer):
    """An optimizer that torch does not have."""

    def __init__(self, parameters, lr, weight_decay):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(parameter.grad.sign(), alpha=group["lr"])


def test_subclasses_are_measured_without_being_built_again():
    """A subclass with arguments and state of its own is copied as it is, and its own state is not advanced."""
    optimizer = Scheduled(network(), horizon=7)
    assert is_coupled(measured(optimizer, "Adam"))
    assert optimizer.log == []
    assert optimizer.scale == 1


def test_without_a_reference_the_step_itself_is_one():
    """An optimizer of unknown rule is compared to its own steps, and further ones are not taken where those suffice."""
    decay = measured(Signed(network().parameters(), lr=0.01, weight_decay=0.1), None)
    assert is_decoupled(decay)
    assert is_uniform(decay)
    assert decay.pairs is None


class Refusing(Signed):
    def step(self, closure=None):
        raise RuntimeError("not today")


class Locked(Signed):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.stream = (line for line in ())


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda p: torch.optim.Adam(p, weight_decay=0.0), "no parameter group has a weight decay"),
        (lambda p: torch.optim.Adam(p, lr=0.0, weight_decay=0.1), "no learning rate above zero"),
        (lambda p: torch.optim.Adam(p, lr=1e-9, weight_decay=1e-9), "lost in rounding"),
        (lambda p: torch.optim.Adam([torch.ones(3, dtype=torch.complex64)], weight_decay=0.1), "no floating-point"),
        (lambda p: torch.optim.Adam([torch.tensor([torch.nan])], weight_decay=0.1), "not finite"),
        (lambda p: Refusing(p, 0.1, 0.1), "its step raised RuntimeError: not today"),
        (lambda p: Locked(p, 0.1, 0.1), "cannot be copied"),
    ],
)
def test_what_cannot_be_measured_says_why(optimizer, reason):
    """Each obstacle is named."""
    with pytest.raises(CannotMeasure, match=reason):
        measured(optimizer(list(network().parameters())), "Adam")


def test_a_scheduler_at_zero_does_not_hide_the_decay():
    """While a scheduler holds the learning rate at zero, the initial one is measured, by the class's own step."""
    optimizer = built("Adam", network())
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.0)
    assert optimizer.param_groups[0]["lr"] == 0
    assert is_coupled(measured(optimizer, "Adam"))


def everything(model, optimizer):
    """All that a measurement could change, as values and as object identities."""
    tensors = [*model.parameters(), *(each.grad for each in model.parameters())]
    for state in optimizer.state.values():
        tensors += [each for each in state.values() if isinstance(each, torch.Tensor)]
    return {
        "values": [each.clone() for each in tensors],
        "versions": [(id(each), each._version) for each in tensors],
        "groups": [{name: copy.copy(value) for name, value in group.items()} for group in optimizer.param_groups],
        "attributes": {name: id(value) for name, value in vars(optimizer).items()},
        "defaults": dict(optimizer.defaults),
        "random": (torch.get_rng_state(), random.getstate()),
        "modes": (torch.is_grad_enabled(), torch.get_default_dtype()),
    }


def same(left, right):
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@pytest.mark.parametrize("rule", [*ADAPTIVE, "AdamW", "SGD"])
@pytest.mark.parametrize("how", ["well", "raising"])
def test_the_optimizer_is_left_as_it_was(rule, how, device, monkeypatch):
    """Parameters, gradients, state, groups, attributes, random streams and modes are untouched, and no hook fires."""
    model = network(device)
    optimizer = built(rule, model)
    train(model, optimizer)
    fired = []
    optimizer.register_step_pre_hook(lambda *args: fired.append("before"))
    optimizer.register_step_post_hook(lambda *args: fired.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *args: fired.append("anywhere"))
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    before = everything(model, optimizer)
    try:
        if how == "raising":
            monkeypatch.setattr(type(optimizer), "_init_group", None)
        measured(optimizer, rule, device)
    except CannotMeasure:
        assert how == "raising"
    finally:
        everywhere.remove()
    assert fired == []
    assert same(before, everything(model, optimizer))


def test_the_same_seed_gives_the_same_figures():
    """A measurement can be repeated."""
    optimizer = built("Adam", network())
    assert measured(optimizer, "Adam") == measured(optimizer, "Adam")
    assert measure_decay(optimizer, "Adam", seed=1, device="cpu") != measured(optimizer, "Adam")


def normed(device="cpu"):
    return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4)).to(device)


def shrunk(optimizer, model, device="cpu"):
    probe = OptimizerProbe(optimizer, device, 0)
    return probe.measure(Shrinkage, Stepped(optimizer=optimizer_info(optimizer, [model])))


@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("name", [*ADAPTIVE, "AdamW", "SGD", "ASGD"])
def test_biases_and_norm_scales_shrink_without_a_gradient(name, trained, device):
    """Each optimizer of torch with decay shrinks all of them, though no gradient asks for it."""
    model = normed(device)
    optimizer = built(name, model)
    if trained:
        train(model, optimizer)
    step = shrunk(optimizer, model, device)
    assert step.is_decay
    assert not step.is_nothing
    assert (step.norm_scales, step.biases) == (1, 3)
    if name in ("AdamW", "SGD"):
        assert step.smallest == pytest.approx(1e-5, rel=1e-6)
        assert step.largest == pytest.approx(1e-5, rel=1e-6)


class Selective(torch.optim.SGD):
    """Decays matrices only, as large-batch optimizers do."""

    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                decay = group["weight_decay"] if each.dim() > 1 else 0.0
                each.sub_(group["lr"] * (each.grad + decay * each))


def test_what_an_optimizer_leaves_alone_does_not_shrink(device):
    """Zero decay, and an optimizer that spares vectors by itself, change nothing."""
    model = normed(device)
    spared = Selective(model.parameters(), lr=0.1, weight_decay=1e-2)
    for optimizer in (built("AdamW", model, weight_decay=0.0), spared):
        step = shrunk(optimizer, model, device)
        assert step.is_nothing
        assert not step.is_decay


def test_only_groups_that_decay_weights_too_are_measured():
    """A group of biases alone with a decay of its own was chosen, and says nothing of the mixed one."""
    model = normed()
    groups = [{"params": model[:2].parameters()}, {"params": [model[3].bias], "weight_decay": 0.5}]
    step = shrunk(torch.optim.AdamW(groups, lr=1e-3, weight_decay=1e-2), model)
    assert (step.norm_scales, step.biases) == (1, 2)
    assert step.largest == pytest.approx(1e-5, rel=1e-6)


def test_shrinkage_is_not_guessed():
    """Parameters that nobody is known to own, a missing learning rate and a vanishing decay are not measured."""
    model = normed()
    with pytest.raises(CannotMeasure, match="known as a bias"):
        OptimizerProbe(optimizer := built("SGD", model), "cpu", 0).measure(
            Shrinkage, Stepped(optimizer=optimizer_info(optimizer))
        )
    with pytest.raises(CannotMeasure, match="learning rate"):
        shrunk(built("SGD", model, lr=0.0), model)
    with pytest.raises(CannotMeasure, match="rounding"):
        shrunk(built("SGD", model, lr=1e-8, weight_decay=1e-8), model)


def test_measuring_shrinkage_leaves_no_trace():
    """Parameters, state and random streams are as before."""
    model = normed()
    optimizer = built("Adam", model)
    train(model, optimizer)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict())), torch.get_rng_state()
    shrunk(optimizer, model)
    torch.testing.assert_close((model.state_dict(), optimizer.state_dict()), before[0], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before[1])
