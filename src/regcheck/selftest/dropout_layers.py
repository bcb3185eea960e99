"""torch's dropout layers, each arranged so that its result shows its mask.

A recurrent network with identity weights passes positive values on unchanged, so its result shows the mask between its
layers. Attention on equal queries and keys gives each key the same weight, and a diagonal matrix of values shows these
weights. The inputs, and 1 / (1 - p), have so few binary digits that reduced precision in matrix products (as in TF32)
is exact.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regcheck.lazy_dataclass import dataclass
from regcheck.reference import alpha_dropout, inverted_dropout

RATE = 0.2
"""The rate of all layers: p and 1 - p differ, and 1 / (1 - p) is 1.25."""

MAPS = ("sample", "channel", "row", "column")
WEIGHTS = ("sample", "head", "query", "key")


@dataclass(frozen=True)
class DropoutLayer:
    """A layer of torch at `RATE`, its input, and the layout of its mask.

    Attributes:
        name: its spelling in user code.
        build: builds the layer, in train mode.
        shape: the shape of its input.
        axes: the names of the axes of its result, which has the shape of its mask.
        shared: the axes along which a draw is shared.
        reference: returns the exact result for an input, a mask of surviving units, and a rate.
        dtype: the dtype of input and result.
        modal: whether it follows train and eval mode.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    shared: tuple[str, ...] = ()
    reference: Callable[[Tensor, Tensor, float], Tensor] = inverted_dropout
    dtype: torch.dtype = torch.float32
    modal: bool = True

    def input(self, device: str) -> Tensor:
        """Returns positive values with few binary digits."""
        return signal(self.shape).to(device, self.dtype)


def signal(shape: tuple[int, ...]) -> Tensor:
    """Returns 1, 1.25, 1.5, 1.75, repeated."""
    return 1 + torch.arange(torch.Size(shape).numel()).reshape(shape) % 4 / 4


class Attention(nn.Module):
    """Scaled dot-product attention of `size` equal queries and keys, with values diag(x)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Maps x, shape (N, H, S), to the attention weights times x, shape (N, H, L, S)."""
        equal = torch.zeros(*x.shape, self.size, dtype=x.dtype, device=x.device)
        values = torch.diag_embed(x)
        return F.scaled_dot_product_attention(equal, equal, values, dropout_p=RATE)  # regcheck: ignore[REG202] meant


class Heads(nn.Module):
    """Multi-head attention with equal queries and keys, and identity projections of values and result."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention = nn.MultiheadAttention(heads * size, heads, dropout=RATE, bias=False, batch_first=True)
        with torch.no_grad():
            assert self.attention.in_proj_weight is not None
            self.attention.in_proj_weight.zero_()[-heads * size :].fill_diagonal_(1)
            self.attention.out_proj.weight.zero_().fill_diagonal_(1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps x, shape (N, H, S), to the attention weights times x, shape (N, H, L, S)."""
        values = torch.diag_embed(x).transpose(1, 2).flatten(2)
        equal = torch.zeros_like(values)
        result: Tensor = self.attention(equal, equal, values, need_weights=True)[0]
        return result.reshape(*values.shape[:2], self.heads, -1).transpose(1, 2)


def between_layers(features: int) -> nn.Module:
    """Returns two recurrent layers that pass positive values on unchanged."""
    network = nn.RNN(features, features, num_layers=2, nonlinearity="relu", bias=False, dropout=RATE)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            weight.zero_()
            if "ih" in name:
                weight.fill_diagonal_(1)
    return _First(network)


class _First(nn.Module):
    """Returns the first result of a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.inner(x)[0]
        return result


def uniform_attention(values: Tensor, keep: Tensor, rate: float) -> Tensor:
    """Attention of equal queries and keys with values diag(x): weights of 1 / S, some of them dropped."""
    weights = torch.full_like(keep, 1 / keep.size(-1), dtype=values.dtype)
    return inverted_dropout(weights, keep, rate) * values.unsqueeze(-2)


LAYERS = (
    DropoutLayer("nn.Dropout", lambda: nn.Dropout(RATE), (16, 32, 16, 16), MAPS),
    DropoutLayer("nn.Dropout1d", lambda: nn.Dropout1d(RATE), (64, 128, 2), (*MAPS[:2], "position"), ("position",)),
    DropoutLayer("nn.Dropout2d", lambda: nn.Dropout2d(RATE), (64, 128, 2, 2), MAPS, MAPS[2:]),
    DropoutLayer(
        "nn.Dropout3d", lambda: nn.Dropout3d(RATE), (64, 128, 2, 2, 2), (*MAPS, "slice"), (*MAPS[2:], "slice")
    ),
    DropoutLayer("nn.AlphaDropout", lambda: nn.AlphaDropout(RATE), (16, 32, 16, 16), MAPS, reference=alpha_dropout),
    DropoutLayer(
        "nn.FeatureAlphaDropout",
        lambda: nn.FeatureAlphaDropout(RATE),
        (64, 128, 2, 2),
        MAPS,
        MAPS[2:],
        reference=alpha_dropout,
    ),
    DropoutLayer("nn.RNN(dropout=…)", lambda: between_layers(64), (16, 64, 64), ("step", "sample", "feature")),
    DropoutLayer("nn.MultiheadAttention", lambda: Heads(4, 32), (16, 4, 32), WEIGHTS, reference=uniform_attention),
    *(
        DropoutLayer(
            f"scaled_dot_product_attention ({kind})",
            lambda: Attention(64),
            (4, 4, 64),
            WEIGHTS,
            reference=uniform_attention,
            dtype=dtype,
            modal=False,
        )
        for kind, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    ),
)
