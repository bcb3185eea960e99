"""Measure what `regcheck.watch` costs one training step, after the first epoch.

    OMP_NUM_THREADS=1 python benchmarks/training.py

Epochs of one training alternate in pairs, without and with the recorder. Prints the CPU time of a step without it and
what it adds, each from the best epoch, and the median ratio of the pairs.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from regcheck.runtime.recorder import EventRecorder


class Classifier(nn.Module):
    """Transformer layers, and a head on the mean of their positions."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.encoder(x).mean(1))
        return scores


def perceptron() -> nn.Module:
    """Returns a network of two linear layers."""
    return nn.Sequential(nn.Linear(20, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 2))


def convolutions(layers: int, width: int) -> nn.Module:
    """Returns convolutions with batch norms."""
    blocks = [
        each
        for number in range(layers)
        for each in (nn.Conv2d(width if number else 3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(width, 2))


def epoch(model: nn.Module, x: torch.Tensor, optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Returns the CPU seconds of one training step, with its part of a validation every four steps."""
    labels = torch.arange(len(x)) % 2
    start = time.process_time()
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for _ in range(steps // 4):
            model(x)
    return (time.process_time() - start) / steps


def compare(model: nn.Module, x: torch.Tensor, steps: int, pairs: int = 12) -> tuple[float, float, float]:
    """Returns the CPU seconds of one step without and with the recorder (the best), and the median ratio of pairs."""
    optimizer = torch.optim.Adam(model.parameters())
    times: dict[bool, list[float]] = {False: [], True: []}
    with EventRecorder() as recorder:
        epoch(model, x, optimizer, steps)
        for pair in range(pairs):
            for watched in (bool(pair % 2), not pair % 2):
                (recorder.start if watched else recorder.stop)()
                times[watched].append(epoch(model, x, optimizer, steps))
    ratios = (with_ / without for without, with_ in zip(times[False], times[True], strict=True))
    return min(times[False]), min(times[True]), statistics.median(ratios)


def main() -> None:
    """Print a table."""
    torch.manual_seed(0)
    models = (
        ("two linear layers", perceptron(), torch.randn(16, 20), 400),
        ("6 convolutions", convolutions(6, 16), torch.randn(8, 3, 32, 32), 40),
        ("4 transformer layers", Classifier(64, 4), torch.randn(8, 32, 64), 40),
        ("12 transformer layers", Classifier(256, 12), torch.randn(8, 64, 256), 4),
    )
    for name, model, x, steps in models:
        without, watched, ratio = compare(model, x, steps)
        added = (watched - without) * 1000
        print(f"{name:24}{without * 1000:8.2f} ms a step, {added:+.2f} ms watched, median ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
