"""Time the recording of a forward in eager forwards of the same model on the same inputs, measured alternately.

    python benchmarks/record.py

Prints, for each model: one eager forward in milliseconds, the torch calls recorded, and how many eager forwards a
recording of one mode and of both takes (medians of paired runs). Both modes are compared with an eager forward in each.
Times are those of the processor, on one thread, so that a busy machine shows less.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from regcheck.tracing.record import record


class Bottleneck(nn.Module):
    """ResNet's block of three convolutions."""

    def __init__(self, width: int, inner: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True))
        self.second = nn.Sequential(
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)
        )
        self.third = nn.Sequential(nn.Conv2d(inner, 4 * inner, 1, bias=False), nn.BatchNorm2d(4 * inner))
        self.short = nn.Sequential()
        if stride > 1 or width != 4 * inner:
            self.short = nn.Sequential(nn.Conv2d(width, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner))
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(self.third(self.second(self.first(x))) + self.short(x))
        return result


def resnet50() -> nn.Module:
    """ResNet-50."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    width = 64
    for inner, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for index in range(blocks):
            layers.append(Bottleneck(width, inner, stride if index == 0 else 1))
            width = 4 * inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class VisionTransformer(nn.Module):
    """ViT-small with patches of 16."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 384, 16, 16)
        self.positions = nn.Parameter(torch.randn(1, 196, 384))
        self.drop = nn.Dropout(0.1)
        self.blocks = encoder(384, 6, 12)
        self.head = nn.Linear(384, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        result: torch.Tensor = self.head(self.blocks(self.drop(tokens)).mean(1))
        return result


class Bert(nn.Module):
    """A small BERT-like encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(5000, 256), nn.Embedding(128, 256)
        self.norm, self.drop = nn.LayerNorm(256), nn.Dropout(0.1)
        self.blocks = encoder(256, 4, 4)
        self.head = nn.Linear(256, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.words(ids) + self.positions(torch.arange(ids.size(1), device=ids.device))
        result: torch.Tensor = self.head(self.blocks(self.drop(self.norm(hidden)))[:, 0])
        return result


def encoder(width: int, heads: int, depth: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class Language(nn.Module):
    """Two LSTM layers, and a cell unrolled by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5000, 256)
        self.lstm = nn.LSTM(256, 512, 2, dropout=0.2, batch_first=True)
        self.cell = nn.LSTMCell(512, 512)
        self.head = nn.Linear(512, 5000)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.words(ids))
        hidden = cell = states.new_zeros(len(ids), 512)
        for step in states.unbind(1):
            hidden, cell = self.cell(step, (hidden, cell))
        result: torch.Tensor = self.head(hidden)
        return result


def milliseconds(run: Callable[..., Any], *args: Any) -> float:
    start = time.process_time()
    run(*args)
    return 1000 * (time.process_time() - start)


def both(model: nn.Module, x: torch.Tensor) -> None:
    """Record both modes, as tracing a model does."""
    for training in (True, False):
        record(model.train(training), (x,), {})


def timed(model: nn.Module, x: torch.Tensor) -> tuple[float, float, float, float]:
    """Returns eager forwards in eval and train mode in milliseconds; a recording in eval mode, and in each mode."""
    model.eval()
    forward, recording = milliseconds(model, x), milliseconds(record, model, (x,), {})
    model.train()
    return forward, milliseconds(model, x), recording, milliseconds(both, model, x)


def main() -> None:
    """Print a line per model."""
    torch.set_num_threads(1)
    cases: dict[str, tuple[nn.Module, torch.Tensor]] = {
        "vit small": (VisionTransformer(), torch.randn(4, 3, 224, 224)),
        "bert small": (Bert(), torch.randint(5000, (4, 128))),
        "lstm": (Language(), torch.randint(5000, (4, 64))),
        "resnet50": (resnet50(), torch.randn(4, 3, 224, 224)),
    }
    print("model       forward ms  nodes  record  record both modes", flush=True)
    for name, (model, x) in cases.items():
        calls = len(record(model.eval(), (x,), {}).graph.nodes)
        timed(model, x)
        rows = [timed(model, x) for _ in range(5)]
        forward, _, _, _ = (statistics.median(column) for column in zip(*rows, strict=True))
        one = statistics.median(recording / eager for eager, _, recording, _ in rows)
        two = statistics.median(2 * recordings / (eager + train) for eager, train, _, recordings in rows)
        print(f"{name:11} {forward:10.1f} {calls:6} {one:7.2f} {two:18.2f}", flush=True)


if __name__ == "__main__":
    main()
