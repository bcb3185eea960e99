"""Time an audit in eager forwards of the same model on the same inputs, measured alternately.

    python benchmarks/audit.py

Prints, for each model: one eager forward in milliseconds, then the duration in forwards of a recording, of an audit
without findings, and of an audit with one finding and its proof (medians of paired runs).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from regcheck import audit
from regcheck.tracing.record import record


class Faulty(nn.Module):
    """A model with a dropout that ignores the mode before one more layer."""

    def __init__(self, model: nn.Module, width: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(F.dropout(self.model(x), 0.1))
        return scores


def convolutional() -> nn.Module:
    """Twelve convolutions with batch norm."""
    layers: list[nn.Module] = []
    width = 3
    for stage in (64, 128, 256, 512):
        for stride in (2, 1, 1):
            layers += [nn.Conv2d(width, stage, 3, stride, 1), nn.BatchNorm2d(stage), nn.ReLU()]
            width = stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(512, 64))


def transformer() -> nn.Module:
    """Six encoder layers of width 256."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), nn.Linear(256, 64))


def milliseconds(run: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    start = time.perf_counter()
    run(*args, **kwargs)
    return 1000 * (time.perf_counter() - start)


def timed(model: nn.Module, x: torch.Tensor) -> tuple[float, float, float, float]:
    """Returns an eager forward in milliseconds; a recording, a clean audit and a proof in eager forwards."""
    faulty, options = Faulty(model, 64), {"devices": ["cpu"]}
    forward = milliseconds(model, x)
    recording = milliseconds(record, model, (x,), {})
    clean = milliseconds(audit, model, x, options=options)
    proven = milliseconds(audit, faulty, x, options=options)
    return forward, recording / forward, clean / forward, proven / forward


def main() -> None:
    """Print a line per model."""
    cases = {"convolutional": (convolutional(), (4, 3, 224, 224)), "transformer": (transformer(), (4, 128, 256))}
    print("model          forward ms  record  audit, clean  audit, one finding proven")
    for name, (model, shape) in cases.items():
        timed(model, torch.randn(shape))
        rows = [timed(model, torch.randn(shape)) for _ in range(5)]
        forward, recording, clean, proven = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:14} {forward:10.1f} {recording:7.2f} {clean:13.2f} {proven:26.1f}")


if __name__ == "__main__":
    main()
