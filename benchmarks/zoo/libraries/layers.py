"""torch.nn: recurrent networks and transformers, as such and with a head."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry

WIDTH, HEADS, LENGTH, SAMPLES = 32, 4, 12, 4


class Tagger(nn.Module):
    """Token ids to a class for each token, through an encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.embedding, self.encoder, self.head = nn.Embedding(100, WIDTH), encoder, nn.Linear(WIDTH, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states: Any = self.encoder(self.embedding(ids))
        classes: torch.Tensor = self.head(states[0] if isinstance(states, tuple) else states)
        return classes


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True), 2)


def decoder() -> nn.Module:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, 64, batch_first=True), 2)


def transformer() -> nn.Module:
    return nn.Transformer(WIDTH, HEADS, 2, 2, 64, batch_first=True)


def entries(library: str) -> Iterator[Entry]:
    """Dropout wherever torch.nn puts it."""
    for kind in (nn.RNN, nn.LSTM, nn.GRU):
        made = partial(kind, WIDTH, WIDTH, num_layers=2, dropout=0.2, batch_first=True)
        yield Entry(library, kind.__name__, made, one)
        yield Entry(library, f"Tagger-{kind.__name__}", lambda made=made: Tagger(made()), ids)  # type: ignore[misc]
    yield Entry(library, "TransformerEncoder", encoder, one)
    yield Entry(library, "Tagger-TransformerEncoder", lambda: Tagger(encoder()), ids)
    yield Entry(library, "TransformerDecoder", decoder, two)
    yield Entry(library, "Transformer", transformer, two)
    yield Entry(library, "MultiheadAttention", partial(nn.MultiheadAttention, WIDTH, HEADS, 0.1), three)


def ids(model: nn.Module) -> Arguments:
    return (torch.randint(1, 100, (SAMPLES, LENGTH)),), {}


def one(model: nn.Module, number: int = 1) -> Arguments:
    return tuple(torch.randn(SAMPLES, LENGTH, WIDTH) for _ in range(number)), {}


def two(model: nn.Module) -> Arguments:
    return one(model, 2)


def three(model: nn.Module) -> Arguments:
    return one(model, 3)
