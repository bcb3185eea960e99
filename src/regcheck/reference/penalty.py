"""Penalties on parameters: a term of the loss, a shrinking step of its own, or a bound on norms."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def l1(parameters: Iterable[Tensor], strength: float) -> Tensor:
    """Returns the L1 penalty, whose gradient is λ sign(θ): it pulls every parameter to zero with equal strength.

        R = λ Σ |θ|

    Args:
        parameters: θ, tensors of any shapes.
        strength: λ.

    Source: Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Statist. Soc. B 58 (1996), equation 1.
    """
    return strength * torch.stack([each.abs().sum() for each in parameters]).sum()


def l2(parameters: Iterable[Tensor], strength: float) -> Tensor:
    """Returns the L2 penalty, whose gradient is λθ: that of `weight_decay=λ` where torch.optim couples it.

        R = λ/2 Σ θ²

    Args:
        parameters: θ, tensors of any shapes.
        strength: λ.

    Source: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", Technometrics 12
    (1970); with the ½ of Krogh and Hertz, "A simple weight decay can improve generalization", NIPS 1991, equation 1.
    """
    return strength / 2 * torch.stack([each.square().sum() for each in parameters]).sum()


def elastic_net(parameters: Iterable[Tensor], absolute: float, square: float) -> Tensor:
    """Returns the sum of the L1 and the L2 penalty.

        R = λ₁ Σ |θ| + λ₂/2 Σ θ²

    Args:
        parameters: θ, tensors of any shapes.
        absolute: λ₁.
        square: λ₂; twice that of the paper, which omits the ½.

    Source: Zou and Hastie, "Regularization and variable selection via the elastic net", J. R. Statist. Soc. B 67
    (2005), equation 3.
    """
    parameters = list(parameters)
    return l1(parameters, absolute) + l2(parameters, square)


def max_norm(weight: Tensor, limit: float, axis: int = 0) -> Tensor:
    """Scale down the incoming weights of each unit whose norm exceeds a limit.

        w ← w min(1, c / ‖w‖₂)

    Args:
        weight: the weights of a layer; w is one slice of them along `axis`.
        limit: c.
        axis: the axis of units: the first in the weights of torch's linear layers and convolutions.

    Source: Srebro and Shraibman, "Rank, trace-norm and max-norm", COLT 2005; beside dropout: Srivastava et al.,
    "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15 (2014), section 5.1.
    """
    others = [each for each in range(weight.dim()) if each != axis % weight.dim()]
    norm = weight.square().sum(others, keepdim=True).sqrt()
    return torch.where(norm > limit, weight * (limit / norm), weight)


def decoupled_decay(parameter: Tensor, lr: float, decay: float) -> Tensor:
    """Shrink a parameter apart from the gradient step.

        θ ← (1 - γλ) θ

    Args:
        parameter: θ, any shape.
        lr: γ, the learning rate.
        decay: λ.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2, line 12; the factor
    is γλ rather than ηλ because γ already holds the schedule η.
    """
    return parameter * (1 - lr * decay)
