"""The penalties equal torch's gradients, projections and decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from regcheck.reference import decoupled_decay, elastic_net, l1, l2, max_norm


def leaves():
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 2, 2)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_the_gradients_are_those_of_the_formulas():
    """λ₁ sign(θ) for L1, λ₂θ for L2, and their sum for the elastic net."""
    for penalty, gradient in (
        (lambda each: l1(each, 0.3), lambda each: 0.3 * each.sign()),
        (lambda each: l2(each, 0.7), lambda each: 0.7 * each),
        (lambda each: elastic_net(each, 0.3, 0.7), lambda each: 0.3 * each.sign() + 0.7 * each),
    ):
        parameters = leaves()
        penalty(iter(parameters)).backward()
        for parameter in parameters:
            torch.testing.assert_close(parameter.grad, gradient(parameter.detach()), rtol=1e-15, atol=0)


def test_the_penalties_are_sums_over_all_parameters():
    """Each penalty equals the sum written out number by number."""
    parameters = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]])]
    assert float(l1(parameters, 0.5)) == 3.0
    assert float(l2(parameters, 0.5)) == 3.5
    assert float(elastic_net(parameters, 0.5, 0.5)) == 6.5


def test_an_l2_penalty_is_torchs_weight_decay():
    """A step of SGD on the penalty alone is a step with `weight_decay` at zero gradient, to rounding."""
    penalized, decayed = leaves(), leaves()
    l2(penalized, 0.1).backward()
    torch.optim.SGD(penalized, lr=0.5).step()
    for each in decayed:
        each.grad = torch.zeros_like(each)
    torch.optim.SGD(decayed, lr=0.5, weight_decay=0.1).step()
    for one, other in zip(penalized, decayed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-15, atol=0)


def test_decoupled_decay_is_a_step_of_adamw_at_rest():
    """AdamW at zero gradient shrinks by (1 - γλ), and so does the reference, bit for bit."""
    (parameter, *_), before = leaves(), leaves()[0].detach()
    parameter.grad = torch.zeros_like(parameter)
    torch.optim.AdamW([parameter], lr=0.5, weight_decay=0.1).step()
    assert torch.equal(parameter.detach(), decoupled_decay(before, 0.5, 0.1))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_max_norm_is_torchs_renorm(shape, axis):
    """The projection equals `torch.renorm`'s, which divides by the norm plus 1e-7 if the norm exceeds one."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    limit = float(weight.transpose(0, axis).flatten(1).norm(dim=1).median())
    axis_of = axis % len(shape)
    projected = max_norm(weight, limit, axis)
    torch.testing.assert_close(projected, torch.renorm(weight, 2, axis_of, limit), rtol=1e-7, atol=0)
    norms = projected.transpose(0, axis).flatten(1).norm(dim=1)
    assert norms.max() <= limit * (1 + 1e-15) and norms.min() < limit


def test_max_norm_leaves_what_is_within_the_limit():
    """Units within the limit stay bit for bit, zero ones included."""
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    assert torch.equal(max_norm(weight, 5.0), weight)
    assert torch.equal(max_norm(weight, 1.0)[1:], weight[1:])


def test_max_norm_takes_the_units_of_a_linear_layer_by_default():
    """The incoming weights of each unit respect the limit, so outputs are at most limit times input."""
    layer = nn.Linear(8, 5, bias=False)
    with torch.no_grad():
        layer.weight.copy_(max_norm(layer.weight * 10, 1.0))
        assert (layer(torch.eye(8)).square().sum(0) <= 1 + 1e-6).all()
