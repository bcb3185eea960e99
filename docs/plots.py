"""Draw the plots of docs/explanation/how-it-decides.md from real measurements with fixed seeds.

    python docs/plots.py

Prints the figures that the page's examples quote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import nn

from regcheck.core.graph import Mode, Op
from regcheck.core.measurements.dropped_outputs import DroppedOutputs
from regcheck.core.measurements.mask_on_maps import MaskOnMaps
from regcheck.core.measurements.spread import Spread
from regcheck.core.measurements.unit_mask import UnitMask
from regcheck.core.measurements.variance_shift import VarianceShift
from regcheck.probe.dropout_calls import capture, dropped_by
from regcheck.probe.interventions import identity
from regcheck.probe.measurements.variance_shift import channel_variance
from regcheck.probe.probes import ModelProbe
from regcheck.probe.runner import Runner
from regcheck.rules.placement.dropout_before_batchnorm import MATERIAL
from regcheck.rules.placement.elementwise_dropout_after_conv import MATERIAL as EXPLAINED
from regcheck.tracing.example_inputs import Inputs
from regcheck.tracing.strategies import trace_model

FOLDER = Path(__file__).parent / "explanation" / "plots"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "regcheck",  # the same plot, the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
BLUE, ORANGE, GREY = "#1f6feb", "#d1570c", "#8b949e"


class Does(nn.Module):
    """Layers with whatever is done between them."""

    def __init__(self, does: Callable[[Any, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.does = does
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.does(self, x)


def measured(model: nn.Module, x: torch.Tensor, mode: Mode = Mode.TRAIN) -> tuple[ModelProbe, Runner, Op]:
    """A probe of a model, its runner, and its last dropout."""
    graph = trace_model(model, "model", Inputs((x,))).graph
    runner = Runner(model, (x,), {}, "cpu")
    return ModelProbe(runner, graph, 0), runner, list(graph.dropouts(mode))[-1]


def replays(axes: Axes) -> None:
    """REG202: runs with the suspect's stream kept, changed, and the suspect taken out."""
    model = Does(
        lambda m, x: m.head(F.scaled_dot_product_attention(x, x, x, dropout_p=0.1).mean(1)), head=nn.Linear(32, 10)
    )
    probe, _, op = measured(model, torch.randn(4, 16, 32), Mode.EVAL)
    found = probe.measure(Spread, [op], Mode.EVAL)
    print(f"REG202: {found.above} of {len(found.changed)} differ, floor {found.floor}, std {found.relative:.3g}")
    groups = {"same stream": found.replays, "other stream": found.changed, "call re-gated": found.removed}
    for (name, values), color in zip(groups.items(), (GREY, ORANGE, BLUE), strict=True):
        axes.plot([name] * len(values), values, "o", color=color, alpha=0.5)
    axes.set_ylabel("largest difference between outputs")
    axes.set_title(f"{found.above} of {len(found.changed)} runs above the floor: p = {found.p_value:.1e}")


def masks(axes: Axes) -> None:
    """REG105: what `Dropout1d` drops of values whose features come last."""
    layers = {"first": nn.Linear(8, 24), "drop": nn.Dropout1d(0.3), "last": nn.GELU()}
    model = Does(lambda m, x: m.last(m.drop(m.first(x))), **layers)
    probe, runner, op = measured(model, torch.randn(4, 32, 8))
    found = probe.measure(UnitMask, op)
    torch.manual_seed(0)
    mask = dropped_by(op.site, capture(runner, op, 0))[0]
    print(f"REG105: constant along {found.axes} of {found.shape}, {found.units} draws, share {found.share:.3g}")
    axes.imshow(mask.float(), cmap="Greys", interpolation="nearest", aspect="auto")
    axes.set_xlabel("features (axis 2)")
    axes.set_ylabel("positions (axis 1)")
    axes.set_title("one sample's mask, black where dropped: whole positions, no features")


def neighbours(axes: Axes) -> None:
    """REG102: how well kept neighbours predict dropped values, by rate."""
    grid = torch.linspace(0, 6, 32)
    x = torch.stack([(grid[:, None] * k + grid).sin() + 0.3 * torch.randn(32, 32) for k in (0.5, 1.0, 1.5)])
    rates, found = [round(0.1 * turn, 1) for turn in range(1, 10)], []
    for rate in rates:
        layers = {"conv": nn.Conv2d(3, 16, 5, padding=2), "drop": nn.Dropout(rate), "last": nn.Conv2d(16, 8, 3)}
        torch.manual_seed(0)
        probe, _, op = measured(Does(lambda m, x: m.last(m.drop(m.conv(x))), **layers), x.expand(4, -1, -1, -1))
        found.append(probe.measure(MaskOnMaps, op, EXPLAINED))
    chosen = found[2]
    print(f"REG102: p = 0.3: R² {chosen.r_squared:.3g}, {chosen.partly} of {chosen.maps}, p-value {chosen.p_value:.1e}")
    axes.plot(rates, [each.r_squared for each in found], "o-", color=ORANGE, label="elementwise dropout")
    axes.plot(rates, [each.reference for each in found], "o-", color=BLUE, label="reference spatial dropout")
    axes.set_xlabel("rate p")
    axes.set_ylabel("R² of dropped values on their neighbours")
    axes.legend()


def variances(axes: Axes) -> None:
    """REG103: the variance at a batch norm's input, channel by channel."""
    layers = {"first": nn.Linear(32, 64), "second": nn.Linear(64, 64), "norm": nn.BatchNorm1d(64)}
    for rate, color in ((0.1, GREY), (0.3, BLUE), (0.5, ORANGE)):
        model = Does(lambda m, x: m.norm(m.second(m.drop(m.first(x).relu()))), **layers, drop=nn.Dropout(rate))
        probe, runner, op = measured(model, torch.randn(256, 32, generator=torch.Generator().manual_seed(0)))
        seen: list[torch.Tensor] = []

        def at_the_norm(site: Any, name: str, args: Any, kwargs: Any, result: Any, seen: Any = seen) -> None:
            if name == "batch_norm":
                seen.append(channel_variance(args[0]))

        runner.run(Mode.TRAIN, 0, replace={op.site: identity}, observe=at_the_norm)
        runner.run(Mode.TRAIN, 0, observe=at_the_norm)
        found = probe.measure(VarianceShift, op, 1 + MATERIAL)
        print(f"REG103: p = {rate}: {found.median:.3f}, {min(found.ratios):.3f} to {max(found.ratios):.3f}")
        axes.plot((seen[1] / seen[0]).sort().values, "o", color=color, label=f"p = {rate}, median {found.median:.2f}")
    axes.axhline(1 + MATERIAL, color="black", linewidth=0.8, linestyle=":")
    axes.annotate(f"material from {1 + MATERIAL}", (40, 1 + MATERIAL - 0.1))
    axes.set_xlabel("channels, sorted")
    axes.set_ylabel("variance with dropout / without")
    axes.legend()


def decays(axes: Axes) -> None:
    """REG301: what a step takes off each weight for decay, by the size of the weight's gradients."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** (-4 * torch.rand(200, generator=generator, dtype=torch.float64))
    start = torch.randn(200, generator=generator, dtype=torch.float64)
    gradients = [sizes * torch.randn(200, generator=generator, dtype=torch.float64) for _ in range(10)]

    def after(kind: type[torch.optim.Adam], decay: float) -> tuple[torch.Tensor, torch.Tensor]:
        weights = start.clone().requires_grad_()
        optimizer = kind([weights], lr=1e-3, weight_decay=0.01)
        for turn, gradient in enumerate(gradients):
            before = weights.detach().clone()
            if turn == len(gradients) - 1:
                optimizer.param_groups[0]["weight_decay"] = decay
            weights.grad = gradient.clone()
            optimizer.step()
        return before, weights.detach()

    for kind, color in ((torch.optim.Adam, ORANGE), (torch.optim.AdamW, BLUE)):
        (before, with_decay), (_, without) = (after(kind, decay) for decay in (0.01, 0.0))
        effective = (without - with_decay) / (1e-3 * 0.01 * before)
        low, high = torch.quantile(effective, torch.tensor([0.05, 0.95], dtype=effective.dtype)).tolist()
        print(f"REG301: {kind.__name__}: {low:.3g} to {high:.3g}")
        axes.loglog(sizes, effective, "o", color=color, alpha=0.5, label=f"{kind.__name__}, weight_decay=0.01")
    axes.set_xlabel("size of the weight's gradients")
    axes.set_ylabel("decay of the weight / decay asked for")
    axes.legend()


def shares(axes: Axes) -> None:
    """REG101: the share of output units lost, and the interval that it must lie in."""
    model = Does(lambda m, x: F.dropout(m.head(x), 0.2, m.training), head=nn.Linear(8, 5))
    found = []
    for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        probe, _, op = measured(model, torch.randn(batch, 8))
        found.append(probe.measure(DroppedOutputs, op))
    draws = [each.draws for each in found]
    last = found[-1]
    print(f"REG101: {last.share:.4g} of {last.draws}, in {last.interval[0]:.4g} to {last.interval[1]:.4g}")
    low, high = zip(*(each.interval for each in found), strict=True)
    axes.fill_between(draws, low, high, color=GREY, alpha=0.3, linewidth=0, label="exact binomial interval, α = 1e-6")
    axes.axhline(last.expected, color="black", linewidth=0.8, linestyle=":")
    axes.semilogx(draws, [each.share for each in found], "o-", color=ORANGE, label="output units lost")
    axes.set_xlabel("draws")
    axes.set_ylabel("share lost (p = 0.2)")
    axes.legend()


def main() -> None:
    """Write every plot."""
    mpl.use("svg")
    FOLDER.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for draw in (replays, masks, neighbours, variances, decays, shares):
            torch.manual_seed(0)
            figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
            draw(axes)
            figure.savefig(FOLDER / f"{draw.__name__}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main()
