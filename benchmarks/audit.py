"""Time an audit in eager forwards of the same model on the same inputs, measured alternately.

    python benchmarks/audit.py

Prints, for each model: one eager forward in milliseconds, then in such forwards a recording, an audit without findings,
and audits with one finding and its proof, where the dropout is before the last layer and where it is at the input. All
are medians of paired runs, in processor time on one thread.
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
    """A model before one more layer, with a dropout that ignores the mode before it or behind it."""

    def __init__(self, model: nn.Module, width: int, early: bool) -> None:
        super().__init__()
        self.model, self.early = model, early
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.model(F.dropout(x, 0.1)) if self.early else F.dropout(self.model(x), 0.1)
        scores: torch.Tensor = self.head(features)
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


class Recurrent(nn.Module):
    """Two LSTM layers, and a linear one on their states."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.out = nn.LSTM(128, 256, 2, batch_first=True), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.out(self.layers(x)[0])
        return scores


class Segmenting(nn.Module):
    """A U-Net of two levels."""

    def __init__(self) -> None:
        super().__init__()

        def block(given: int, width: int) -> nn.Module:
            layers = [nn.Conv2d(given, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
            return nn.Sequential(*layers, nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU())

        self.down, self.bottom, self.up = block(3, 32), block(32, 64), block(96, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.down(x)
        deep = F.interpolate(self.bottom(F.max_pool2d(wide, 2)), scale_factor=2)
        features: torch.Tensor = self.up(torch.cat([wide, deep], 1))
        return features.movedim(1, -1)


def milliseconds(run: Callable[..., Any], *args: Any, **kwargs: Any) -> float:
    start = time.process_time()
    run(*args, **kwargs)
    return 1000 * (time.process_time() - start)


def timed(model: nn.Module, x: torch.Tensor) -> tuple[float, ...]:
    """Returns an eager forward in milliseconds; a recording, a clean audit and two proofs in eager forwards."""
    options = {"devices": ["cpu"]}
    with torch.no_grad():
        forward = milliseconds(model, x)
        recording = milliseconds(record, model, (x,), {})
    clean = milliseconds(audit, model, x, options=options)
    late, early = (milliseconds(audit, Faulty(model, 64, early), x, options=options) for early in (False, True))
    return forward, *(each / forward for each in (recording, clean, late, early))


def main() -> None:
    """Print a line per model."""
    torch.set_num_threads(1)
    cases: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "convolutional": (convolutional(), (4, 3, 112, 112)),
        "transformer": (transformer(), (4, 128, 256)),
        "recurrent": (Recurrent(), (8, 128, 128)),
        "u-net": (Segmenting(), (4, 3, 128, 128)),
    }
    print("model          forward ms  record  audit, clean  one finding at the end  one at the input")
    for name, (model, shape) in cases.items():
        timed(model.eval(), torch.randn(shape))
        rows = [timed(model, torch.randn(shape)) for _ in range(3)]
        forward, recording, clean, late, early = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:14} {forward:10.1f} {recording:7.2f} {clean:13.2f} {late:23.1f} {early:17.1f}", flush=True)


if __name__ == "__main__":
    main()
