"""The checks of a dropping layer: what its masks are like, and what it does with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch
from torch import Tensor

from regcheck.probe.reductions import constant_axes, tally
from regcheck.probe.seeds import seed_streams

from .dropout_layers import RATE, DropoutLayer, signal
from .execution_modes import describe_error
from .independence import agreement, interval, worst_correlation
from .results import CheckResult, CheckSubject

UNITS = 2**17
"""At least this many draws: a rate that is off by 0.01 is then off by nine standard deviations of the count."""

ROUNDINGS = 4
"""A kept value comes of 1 - p, 1 / (1 - p), a product and (alpha dropout) a sum, each of them rounded once."""

STATISTICAL = 3
"""So many checks of a layer are statistical, and share its α: rate, independence, two seeds."""

Run = Callable[[Tensor], Tensor]


def check_masks(
    subject: CheckSubject, layer: DropoutLayer, compile: Callable[[Run], Run], seed: int, alpha: float
) -> Iterator[CheckResult]:
    """Make every check of a layer on the subject's device.

    Args:
        subject: what the outcomes speak of.
        layer: the layer.
        compile: makes of a module what is run in its place.
        seed: seeds the first stream of draws; the second one has the next.
        alpha: the probability that any of the checks fails although all is right.
    """
    module = layer.build().to(subject.device, layer.dtype)
    masks = MaskChecks(layer, compile(module), layer.input(subject.device).requires_grad_())
    alpha /= STATISTICAL
    first = masks.results(seed, 1)[0]
    calls = max(2, -(-UNITS // masks.draws(masks.dropped(first)).numel()))
    results = masks.results(seed, calls)
    dropped = [masks.dropped(each) for each in results]
    draws = torch.stack([masks.draws(each) for each in dropped])

    share, (low, high) = float(draws.double().mean()), interval(draws.numel(), RATE, alpha)
    honest = low <= share <= high
    expected = f"{low:.4f} to {high:.4f}"
    yield subject.judged("rate", honest, share, expected, alpha=alpha, samples=draws.numel())

    bound = ROUNDINGS * torch.finfo(layer.dtype).eps
    worst = max(masks.deviation(each, ~mask) for each, mask in zip(results, dropped, strict=True))
    yield subject.within("scaling", worst, bound, "" if worst <= bound else masks.scaled(results[0], dropped[0]))
    try:
        yield subject.within("gradient", *masks.gradient(seed, bound))
    except Exception as error:  # a device may compute no gradients
        yield subject.missed("gradient", describe_error(error))

    rate = RATE if honest else share
    if 0 < rate < 1:
        names = [layer.axes[axis] for axis in constant_axes([tally(each) for each in dropped])]
        shown, wanted = (", ".join(each) or "none" for each in (names, layer.shared))
        yield subject.judged("shared axes", set(names) == set(layer.shared), shown, wanted)
        axes = ["call", *(axis for axis in layer.axes if axis not in layer.shared)]
        found = worst_correlation(draws, axes, rate, alpha)
        expected = f"{found.low:.3f} to {found.high:.3f}"
        holds = found.low <= found.value <= found.high
        yield subject.judged(
            "independence", holds, found.value, expected, alpha=alpha, samples=found.samples, because=found.where
        )
        other = torch.stack([masks.draws(masks.dropped(each)) for each in masks.results(seed + 1, 2)])
        found = agreement("", draws[:2], other, rate, alpha)
        holds = found.low <= found.value <= found.high
        expected = f"{found.low:.3f} to {found.high:.3f}"
        yield subject.judged("two seeds", holds, found.value, expected, alpha=alpha, samples=found.samples)
    else:
        for check in ("shared axes", "independence", "two seeds"):
            yield subject.missed(check, "all draws are alike")

    same = all(map(torch.equal, results[:2], masks.results(seed, 2)))
    yield subject.judged("one seed", same, "equal" if same else "differ", "equal")
    if layer.modal:
        module.eval()
        yield subject.within("eval", masks.deviation(masks.results(seed, 1)[0], None), bound)


class MaskChecks:
    """A layer as it is run, its input, and how its masks are read off what it gives."""

    def __init__(self, layer: DropoutLayer, run: Run, input: Tensor) -> None:
        self.layer, self.run, self.input = layer, run, input
        self._ends: list[Tensor] = []

    def results(self, seed: int, calls: int) -> list[Tensor]:
        """What several calls in a row give, exactly, after one seed."""
        seed_streams(seed)
        return [self.run(self.input).detach().cpu().double() for _ in range(calls)]

    def reference(self, keep: Tensor, rate: float = RATE) -> Tensor:
        """What the reference gives for the layer's input."""
        return self.layer.reference(self.exact, keep, rate)

    @cached_property
    def exact(self) -> Tensor:
        """The input, in float64 on the CPU."""
        return self.input.detach().cpu().double()

    def ends(self, result: Tensor) -> tuple[Tensor, Tensor]:
        """What the reference gives where all, and where nothing, is kept."""
        if not self._ends:
            keep = torch.ones_like(result, dtype=torch.bool)
            self._ends.extend((self.reference(keep), self.reference(~keep)))
        kept, gone = self._ends
        return kept, gone

    def dropped(self, result: Tensor) -> Tensor:
        """Where a result is nearer to what a dropped unit gives than to what a kept one does."""
        kept, gone = self.ends(result)
        return (result - gone).abs() < (result - kept).abs()

    def draws(self, mask: Tensor) -> Tensor:
        """One position of a mask for each draw that the layer should make."""
        for axis in reversed(range(mask.dim())):
            mask = mask.select(axis, 0) if self.layer.axes[axis] in self.layer.shared else mask
        return mask

    def deviation(self, result: Tensor, keep: Tensor | None) -> float:
        """The largest deviation from the reference with this mask (from prediction without), relative to its size."""
        all_kept = torch.ones_like(result, dtype=torch.bool)
        exact = self.reference(all_kept, 0.0) if keep is None else self.reference(keep)
        kept, gone = self.ends(result)
        return float(((result - exact).abs() / (kept.abs() + gone.abs())).max())

    def scaled(self, result: Tensor, dropped: Tensor) -> str:
        """How large kept values are."""
        ratio = float((result / self.ends(result)[0])[~dropped].median())
        return f"kept values are {ratio:.4g} of what they should be"

    def gradient(self, seed: int, bound: float) -> tuple[float, float]:
        """How far the gradient is from that of the reference with the mask of the forward pass, and how far it may be.

        Where values are read in several places their gradients are summed, with one more rounding (in float32 at
        least) for each.
        """
        seed_streams(seed)
        result = self.run(self.input)
        above = signal(tuple(result.shape)).flip(-1)
        (theirs,) = torch.autograd.grad(result, self.input, above.to(result))
        exact = self.exact.requires_grad_()
        found = result.detach().cpu().double()
        masks = ~self.dropped(found), torch.ones_like(found, dtype=torch.bool)
        ours, whole = (
            torch.autograd.grad(self.layer.reference(exact, keep, RATE), exact, above.double())[0] for keep in masks
        )
        terms = found.numel() // exact.numel() if found.numel() > exact.numel() else 0
        gap = float(((theirs.cpu().double() - ours).abs() / whole).max())
        return gap, bound + terms * torch.finfo(torch.float32).eps
