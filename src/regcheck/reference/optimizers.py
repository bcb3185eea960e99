"""One step of each gradient method as its paper defines it, with the two ways of adding weight decay.

Coupled decay (L2 regularization) adds λθ to the gradient, so the method transforms the decay as it transforms the
gradient. Decoupled decay shrinks the parameters apart from the step:

    coupled:    g ← g + λθ
    decoupled:  θ ← (1 - γλ) θ

with learning rate γ and decay λ. Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019,
algorithms 1 (SGD) and 2 (Adam); the shrinking factor is γλ rather than ηλ because γ already holds the schedule η.

All functions are elementwise: tensors may have any one shape. Settings have the names of torch.optim's parameter
groups; absent settings have torch.optim's defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .penalty import decoupled_decay

State: TypeAlias = dict[str, Any]
"""A method's state for one parameter between steps; empty before the first."""

Update: TypeAlias = Callable[[Tensor, State, Mapping[str, Any]], Tensor]
"""A method: returns the displacement Δθ for a gradient g, and updates the state."""


def step(
    rule: str,
    parameter: Tensor,
    gradient: Tensor,
    state: State,
    settings: Mapping[str, Any],
    *,
    decoupled: bool,
) -> Tensor:
    """Take one step.

    Args:
        rule: the method, one of `RULES`.
        parameter: θ; not modified.
        gradient: the gradient of the loss at θ.
        state: the state after earlier steps; updated in place.
        settings: `lr`, `weight_decay`, `maximize` and the method's own.
        decoupled: whether the decay is decoupled.

    Returns:
        θ after the step.
    """
    decay = number(settings, "weight_decay", 0.0)
    if settings.get("maximize", False):
        gradient = -gradient
    if decoupled:
        parameter = decoupled_decay(parameter, float(settings["lr"]), decay)
    else:
        gradient = gradient + decay * parameter
    state["step"] = state.get("step", 0) + 1
    return parameter + RULES[rule](gradient, state, settings)


def sgd(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Stochastic gradient descent with momentum μ and dampening τ.

        b₁ = g₁,  b_t = μ b_{t-1} + (1 - τ) g_t
        Δθ = -γ b_t,  with Nesterov's momentum -γ (g_t + μ b_t)

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, section 2,
    with the learning rate outside of the momentum.
    """
    lr, momentum = float(settings["lr"]), number(settings, "momentum", 0.0)
    if momentum == 0:
        return -lr * gradient
    buffer = gradient
    if "momentum" in state:
        buffer = momentum * state["momentum"] + (1 - number(settings, "dampening", 0.0)) * gradient
    state["momentum"] = buffer
    return -lr * (gradient + momentum * buffer if settings.get("nesterov", False) else buffer)


def adam(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adam, and with `amsgrad` the variant whose second moment never decreases.

        m = β₁ m + (1 - β₁) g,  v = β₂ v + (1 - β₂) g²
        Δθ = -γ m̂ / (√v̂ + ε),  m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1; Reddi et al., "On the
    convergence of Adam and beyond", ICLR 2018, algorithm 2 (the maximum is taken before the bias is corrected).
    """
    beta1, beta2 = betas(settings)
    t: int = state["step"]
    first, second = moments(gradient, state, beta1, beta2)
    if settings.get("amsgrad", False):
        second = state["largest"] = torch.maximum(state.get("largest", second), second)
    scale = (second / (1 - beta2**t)).sqrt() + number(settings, "eps", 1e-8)
    return -float(settings["lr"]) * first / (1 - beta1**t) / scale


def nadam(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adam with Nesterov's momentum and a momentum schedule μ_t with decay ψ.

        μ_t = β₁ (1 - ½ 0.96^{tψ})
        Δθ = -γ (μ_{t+1} m / (1 - ∏_{i ≤ t+1} μ_i) + (1 - μ_t) g / (1 - ∏_{i ≤ t} μ_i)) / (√v̂ + ε)

    Source: Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016, the algorithm with the warming
    schedule of μ (m is averaged with β₁, as in torch.optim).
    """
    beta1, beta2 = betas(settings)
    t: int = state["step"]
    psi = number(settings, "momentum_decay", 4e-3)
    first, second = moments(gradient, state, beta1, beta2)
    now, later = (beta1 * (1 - 0.5 * math.pow(0.96, each * psi)) for each in (t, t + 1))
    product = state["product"] = number(state, "product", 1.0) * now
    ahead: Tensor = later * first / (1 - product * later) + (1 - now) * gradient / (1 - product)
    return -float(settings["lr"]) * ahead / ((second / (1 - beta2**t)).sqrt() + number(settings, "eps", 1e-8))


def radam(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adam whose adaptive scale is rectified by its variance, and omitted while that is intractable (ρ_t ≤ 5).

        ρ_∞ = 2 / (1 - β₂) - 1,  ρ_t = ρ_∞ - 2 t β₂ᵗ / (1 - β₂ᵗ)
        r_t = √((ρ_t - 4)(ρ_t - 2) ρ_∞ / ((ρ_∞ - 4)(ρ_∞ - 2) ρ_t))
        Δθ = -γ m̂ r_t √(1 - β₂ᵗ) / (√v + ε)  if ρ_t > 5, else  -γ m̂

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020, algorithm 2 (with ρ_t > 5
    in place of 4, as in its published code).
    """
    beta1, beta2 = betas(settings)
    t: int = state["step"]
    first, second = moments(gradient, state, beta1, beta2)
    ahead = -float(settings["lr"]) * first / (1 - beta1**t)
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * t * beta2**t / (1 - beta2**t)
    if length <= 5:
        return ahead
    rectified = math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
    return ahead * rectified * math.sqrt(1 - beta2**t) / (second.sqrt() + number(settings, "eps", 1e-8))


def adamax(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adam with the infinity norm in place of the second moment.

        m = β₁ m + (1 - β₁) g,  u = max(β₂ u, |g| + ε)
        Δθ = -γ / (1 - β₁ᵗ) m / u

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 2.
    """
    beta1, beta2 = betas(settings)
    t: int = state["step"]
    first = running_mean(state, "first", gradient, beta1)
    largest = gradient.abs() + number(settings, "eps", 1e-8)
    if "largest" in state:
        largest = torch.maximum(beta2 * state["largest"], largest)
    state["largest"] = largest
    return -float(settings["lr"]) / (1 - beta1**t) * first / largest


def adagrad(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adagrad: every coordinate is scaled by all of its past gradients.

        G = G + g²,  γ_t = γ / (1 + (t - 1) η)
        Δθ = -γ_t g / (√G + ε)

    Source: Duchi et al., "Adaptive subgradient methods for online learning and stochastic optimization", JMLR 12
    (2011), section 1.1 (diagonal case); the decay η of the learning rate is torch.optim's.
    """
    t: int = state["step"]
    total: Tensor = gradient.square() + state.get("sum", number(settings, "initial_accumulator_value", 0.0))
    state["sum"] = total
    lr = float(settings["lr"]) / (1 + (t - 1) * number(settings, "lr_decay", 0.0))
    return -lr * gradient / (total.sqrt() + number(settings, "eps", 1e-10))


def rmsprop(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """RMSprop, plain, with momentum μ, and centered (divided by a standard deviation).

        v = α v + (1 - α) g²,  centered: v - ḡ² with ḡ = α ḡ + (1 - α) g
        b = μ b + g / (√v + ε)
        Δθ = -γ b

    Source: Tieleman and Hinton, "Lecture 6.5: rmsprop", Neural networks for machine learning, 2012; centered: Graves,
    "Generating sequences with recurrent neural networks", 2013, equations 38-45.
    """
    alpha, momentum = number(settings, "alpha", 0.99), number(settings, "momentum", 0.0)
    second = running_mean(state, "second", gradient.square(), alpha)
    if settings.get("centered", False):
        second = second - running_mean(state, "mean", gradient, alpha).square()
    scaled = gradient / (second.sqrt() + number(settings, "eps", 1e-8))
    buffer: Tensor = scaled + momentum * state.get("momentum", 0.0)
    state["momentum"] = buffer
    return -float(settings["lr"]) * buffer


def adadelta(gradient: Tensor, state: State, settings: Mapping[str, Any]) -> Tensor:
    """Adadelta: the step has the units of the parameter.

        v = ρ v + (1 - ρ) g²
        δ = √(u + ε) / √(v + ε) g
        u = ρ u + (1 - ρ) δ²
        Δθ = -γ δ

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012, algorithm 1 (γ = 1 there).
    """
    rho, eps = number(settings, "rho", 0.9), number(settings, "eps", 1e-6)
    second = running_mean(state, "second", gradient.square(), rho)
    moved: Tensor = state.get("moved", torch.zeros_like(gradient))
    delta = (moved + eps).sqrt() / (second + eps).sqrt() * gradient
    running_mean(state, "moved", delta.square(), rho)
    return -float(settings["lr"]) * delta


def number(settings: Mapping[str, Any], name: str, default: float) -> float:
    """Returns a setting, or its default."""
    return float(settings.get(name, default))


def betas(settings: Mapping[str, Any]) -> tuple[float, float]:
    """Returns β₁ and β₂."""
    beta1, beta2 = settings.get("betas", (0.9, 0.999))
    return float(beta1), float(beta2)


def moments(gradient: Tensor, state: State, beta1: float, beta2: float) -> tuple[Tensor, Tensor]:
    """Updates and returns the running means of the gradient and of its square."""
    return running_mean(state, "first", gradient, beta1), running_mean(state, "second", gradient.square(), beta2)


def running_mean(state: State, name: str, value: Tensor, weight: float) -> Tensor:
    """Updates and returns a running mean with exponential `weight`, starting at zero."""
    mean: Tensor = (1 - weight) * value + weight * state.get(name, 0.0)
    state[name] = mean
    return mean


RULES: Mapping[str, Update] = {
    "SGD": sgd,
    "Adam": adam,
    "NAdam": nadam,
    "RAdam": radam,
    "Adamax": adamax,
    "Adagrad": adagrad,
    "RMSprop": rmsprop,
    "Adadelta": adadelta,
}
"""The methods by the names of their torch.optim classes (AdamW is Adam with decoupled decay)."""
