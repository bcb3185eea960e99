"""The summands of a loss, as its autograd graph shows them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_SUMS = frozenset(("AddBackward0", "SubBackward0", "StackBackward0", "CatBackward0"))
_LINEAR = frozenset(
    "MulBackward0 DivBackward0 NegBackward0 SumBackward0 MeanBackward0 CloneBackward0 ToCopyBackward0 ViewBackward0"
    " SqueezeBackward0 UnsqueezeBackward0 ReshapeAliasBackward0 UnsafeViewBackward0".split()
)
"""Nodes through which the summands of a tensor are those of the result, up to a factor."""
_OF_WEIGHTS = re.compile(r"(Abs|Pow|Norm|LinalgVectorNorm|Sqrt|Sum|Mean|Sub|Mul|Div)Backward\d")
"""Nodes between a penalty on weights and the weights."""
_MOST_NODES = 256
"""The most nodes of one graph that are searched for summands."""


def constants_in(losses: Any) -> int:
    """The number of summands without a gradient of the losses that a backward pass starts from.

    A constant beside a penalty does not count: `sum` begins with the number zero. The result is 0 where asking would
    run the program's own code: for subclasses of `Tensor`, and under a function mode.
    """
    if torch._C._len_torch_function_stack():
        return 0
    tensors = losses if isinstance(losses, Sequence) else (losses,)
    return sum(_constants(each.grad_fn) for each in tensors if type(each) is torch.Tensor)


def _constants(root: Any) -> int:
    """The number of summands without a gradient in the graph of a tensor."""
    todo, seen, constants = [root], 0, 0
    while todo and seen < _MOST_NODES:
        node, seen = todo.pop(), seen + 1
        name = type(node).__name__
        if name in _SUMS or name in _LINEAR:
            summands = [each for each, _ in node.next_functions]
            variable = [each for each in summands if not _is_constant(each)]
            if name in _SUMS and not all(map(_is_of_weights, variable)):
                constants += len(summands) - len(variable)
            todo += variable
    return constants


def _is_constant(node: Any) -> bool:
    """Whether no gradient leaves the graph through a node, but into a number in a tensor of its own, if anywhere."""
    for _ in range(_MOST_NODES):
        if node is None:
            return True
        if type(node).__name__ == "AccumulateGrad":
            return not isinstance(node.variable, nn.Parameter) and node.variable.dim() == 0
        inputs = [each for each, _ in node.next_functions if each is not None]
        if type(node).__name__ not in _LINEAR or len(inputs) != 1:
            return False
        node = inputs[0]
    return False


def _is_of_weights(node: Any) -> bool:
    """Whether a summand is a penalty on one parameter."""
    for _ in range(_MOST_NODES):
        name = type(node).__name__
        if name == "AccumulateGrad":
            return isinstance(node.variable, nn.Parameter)
        inputs = {each for each, _ in node.next_functions if each is not None}
        if len(inputs) != 1 or not (name in _LINEAR or _OF_WEIGHTS.match(name)):
            return False
        (node,) = inputs
    return False
