"""The optimizer references equal torch.optim in float64, with coupled and with decoupled decay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from regcheck.reference.optimizers import RULES, step

DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
STEPS = 20

COUPLED = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.03, "momentum": 0.8, "dampening": 0.3}),
    ("SGD", {"lr": 0.03, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"lr": 1e-2}),
    ("Adam", {"lr": 1e-2, "betas": (0.5, 0.9), "eps": 1e-3}),
    ("Adam", {"lr": 1e-2, "amsgrad": True}),
    ("NAdam", {"lr": 1e-2}),
    ("NAdam", {"lr": 1e-2, "momentum_decay": 0.1, "betas": (0.8, 0.99)}),
    ("RAdam", {"lr": 1e-2}),
    ("RAdam", {"lr": 1e-2, "betas": (0.8, 0.6)}),
    ("Adamax", {"lr": 1e-2}),
    ("Adamax", {"lr": 1e-2, "betas": (0.7, 0.8), "eps": 1e-2}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("RMSprop", {"lr": 1e-2}),
    ("RMSprop", {"lr": 1e-2, "momentum": 0.9, "centered": True}),
    ("RMSprop", {"lr": 1e-2, "alpha": 0.5, "eps": 1e-4}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 0.5, "rho": 0.5, "eps": 1e-3}),
]
DECOUPLED = [
    ("AdamW", {"lr": 1e-2}),
    ("AdamW", {"lr": 1e-2, "amsgrad": True}),
    ("Adam", {"lr": 1e-2, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 1e-2, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 1e-2, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 1e-2, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 1e-2, "decoupled_weight_decay": True, "betas": (0.8, 0.6)}),
]


@pytest.fixture(autouse=True)
def float64_scalars():
    """Sets the default dtype, in which torch.optim stores scalar state."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def named(case):
    name, settings = case
    return name + "".join(f"-{key}={value}" for key, value in settings.items() if key != "lr")


def both(case, device, *, decoupled, **more):
    """Returns the parameters after each of `STEPS` steps: torch.optim's, and the reference's."""
    name, settings = case
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 8, generator=generator)
    gradients = torch.randn(STEPS, 4, 8, generator=generator) * torch.logspace(-3, 1, 32).reshape(4, 8)
    parameter = start.to(device, copy=True).requires_grad_()
    optimizer = getattr(torch.optim, name)([parameter], **settings, **more)
    ours, state = start.to(device), {}
    for gradient in gradients.to(device):
        parameter.grad = gradient.clone()
        optimizer.step()
        rule = "Adam" if name == "AdamW" else name
        ours = step(rule, ours, gradient, state, optimizer.param_groups[0], decoupled=decoupled)
        yield parameter.detach(), ours


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("case", COUPLED, ids=named)
def test_coupled_steps_are_torch_steps(case, decay, maximize, device):
    """With coupled decay every step equals torch.optim's."""
    for theirs, ours in both(case, device, decoupled=False, weight_decay=decay, maximize=maximize):
        assert float((theirs - ours).abs().max() / theirs.abs().max()) <= 1e-12


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("case", DECOUPLED, ids=named)
def test_decoupled_steps_are_torch_steps(case, decay, maximize, device):
    """With decoupled decay every step equals torch.optim's."""
    for theirs, ours in both(case, device, decoupled=True, weight_decay=decay, maximize=maximize):
        assert float((theirs - ours).abs().max() / theirs.abs().max()) <= 1e-12


def between(low, high):
    return st.floats(low, high, allow_subnormal=False)


BETAS = st.tuples(between(0.0, 0.99), between(0.5, 0.999))
EPS = between(1e-10, 1e-1)
SETTINGS = {
    "SGD": st.one_of(
        st.fixed_dictionaries({"momentum": between(0.0, 0.99), "dampening": between(0.0, 1.0)}),
        st.fixed_dictionaries({"momentum": between(0.1, 0.99), "nesterov": st.just(True)}),
    ),
    "Adam": st.fixed_dictionaries({"betas": BETAS, "eps": EPS, "amsgrad": st.booleans()}),
    "AdamW": st.fixed_dictionaries({"betas": BETAS, "eps": EPS, "amsgrad": st.booleans()}),
    "NAdam": st.fixed_dictionaries({"betas": BETAS, "eps": EPS, "momentum_decay": between(0.0, 0.5)}),
    "RAdam": st.fixed_dictionaries({"betas": BETAS, "eps": EPS}),
    "Adamax": st.fixed_dictionaries({"betas": BETAS, "eps": EPS}),
    "Adagrad": st.fixed_dictionaries(
        {"lr_decay": between(0.0, 1.0), "initial_accumulator_value": between(0.0, 1.0), "eps": EPS}
    ),
    # without a floor under α the centered square, v - ḡ², is nothing but rounding at the first step
    "RMSprop": st.fixed_dictionaries(
        {"alpha": between(0.5, 0.999), "eps": EPS, "momentum": between(0.0, 0.99), "centered": st.booleans()}
    ),
    "Adadelta": st.fixed_dictionaries({"rho": between(0.1, 0.999), "eps": EPS}),
}
FLAGGED = ("Adam", "NAdam", "RAdam")
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
"""The classes that torch has a fused step of on the CPU."""

WAYS = [(name, way) for name in SETTINGS for way in ("single", "foreach", *["fused"] * (name in FUSED))]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "way"), WAYS, ids=["-".join(way) for way in WAYS])
@drawn(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_implementation_takes_the_reference_steps(name, way, device, data):
    """Over settings, shapes and steps drawn at random, each of torch's implementations equals the reference.

    A step is some twenty operations, each within half an eps, and at most six are taken: 1e-14. Differences that a
    step forms (RAdam's length, a centered square) enlarge that, by less than a hundred within the bounds drawn from.
    """
    options = data.draw(SETTINGS[name])
    options |= {
        "lr": data.draw(between(1e-4, 1.0)),
        "weight_decay": data.draw(st.one_of(st.just(0.0), between(1e-4, 0.5))),
        "maximize": data.draw(st.booleans()),
    }
    decoupled = name == "AdamW"
    if name in FLAGGED:
        decoupled = options["decoupled_weight_decay"] = data.draw(st.booleans())
    shapes = data.draw(st.lists(st.lists(st.integers(1, 4), max_size=3), min_size=1, max_size=3))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))

    def noise():
        return [torch.randn(shape, generator=generator).to(device) for shape in shapes]

    ours, states = noise(), [{} for _ in shapes]
    theirs = [each.clone().requires_grad_() for each in ours]
    implementation = {"foreach": way == "foreach", **({"fused": way == "fused"} if name in FUSED else {})}
    optimizer = getattr(torch.optim, name)(theirs, **options, **implementation)
    for _ in range(data.draw(st.integers(1, 6))):
        gradients = noise()
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        group, rule = optimizer.param_groups[0], "Adam" if name == "AdamW" else name
        ours = [step(rule, *each, group, decoupled=decoupled) for each in zip(ours, gradients, states, strict=True)]
    for parameter, reference in zip(theirs, ours, strict=True):
        # each coordinate by itself, down to the size of what has been added up in it
        bound = 1e-12 * (reference.abs() + 1)
        assert ((parameter.detach() - reference).abs() <= bound).all()


@pytest.mark.parametrize("rule", RULES)
def test_the_two_ways_of_decay_agree_without_decay_only(rule):
    """Coupled and decoupled steps are equal at zero decay and differ at any other."""
    for decay, equal in ((0.0, True), (0.1, False)):
        parameter, states = torch.linspace(-2, 2, 9), ({}, {})
        for turn in range(2):
            gradient = torch.linspace(0.1, 3, 9) * (1 + turn)
            settings = {"lr": 0.1, "weight_decay": decay, "momentum": 0.9}
            left, right = (
                step(rule, parameter, gradient, state, settings, decoupled=decoupled)
                for state, decoupled in zip(states, (False, True), strict=True)
            )
        assert torch.equal(left, right) is equal


@pytest.mark.parametrize("rule", RULES)
def test_a_step_leaves_what_it_was_given(rule):
    """A step modifies neither parameter nor gradient; only the state changes."""
    parameter, gradient, state = torch.ones(3), torch.full((3,), 0.5), {}
    for _ in range(3):
        step(rule, parameter, gradient, state, {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}, decoupled=False)
    assert parameter.eq(1).all()
    assert gradient.eq(0.5).all()
    assert state["step"] == 3


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_elementwise(rule):
    """A step of a part of a parameter equals that part of the whole step."""
    whole, part, states = torch.linspace(-1, 1, 8), slice(2, 5), ({}, {})
    settings = {"lr": 0.1, "weight_decay": 0.1}
    for turn in range(3):
        gradient = torch.linspace(1, 2, 8) + turn
        left = step(rule, whole, gradient, states[0], settings, decoupled=False)
        right = step(rule, whole[part], gradient[part], states[1], settings, decoupled=False)
        assert torch.equal(left[part], right)
