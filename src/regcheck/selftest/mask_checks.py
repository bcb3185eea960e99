"""The checks of a dropout layer: the distribution of its masks, and their use."""

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
"""The minimum number of draws: a rate that is off by 0.01 is then off by nine standard deviations of the count."""

ROUNDINGS = 4
"""A surviving value needs 1 - p, 1 / (1 - p), a product and (alpha dropout) a sum, each rounded once."""

STATISTICAL = 3
"""The number of statistical checks of a layer, which share its α: rate, independence, two seeds."""

Run = Callable[[Tensor], Tensor]


def check_masks(
    subject: CheckSubject, layer: DropoutLayer, compile: Callable[[Run], Run], seed: int, alpha: float
) -> Iterator[CheckResult]:
    """Yields the result of each check of a layer on the subject's device.

    Args:
        subject: the layer, device and mode of the results.
        layer: the layer.
        compile: returns the function to run in place of a module.
        seed: seed of the first stream of draws; the second stream uses the next seed.
        alpha: the false-alarm probability of all checks together.
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
    in_interval = low <= share <= high
    expected = f"{low:.4f} to {high:.4f}"
    yield subject.result("rate", in_interval, share, expected, alpha=alpha, samples=draws.numel())

    bound = ROUNDINGS * torch.finfo(layer.dtype).eps
    worst = max(masks.deviation(each, ~mask) for each, mask in zip(results, dropped, strict=True))
    yield subject.within("scaling", worst, bound, "" if worst <= bound else masks.scaled(results[0], dropped[0]))
    try:
        yield subject.within("gradient", *masks.gradient(seed, bound))
    except Exception as error:  # a device may compute no gradients
        yield subject.not_run("gradient", describe_error(error))

    rate = RATE if in_interval else share
    if 0 < rate < 1:
        names = [layer.axes[axis] for axis in constant_axes([tally(each) for each in dropped])]
        shown, wanted = (", ".join(each) or "none" for each in (names, layer.shared))
        yield subject.result("shared axes", set(names) == set(layer.shared), shown, wanted)
        axes = ["call", *(axis for axis in layer.axes if axis not in layer.shared)]
        correlation = worst_correlation(draws, axes, rate, alpha)
        expected = f"{correlation.low:.3f} to {correlation.high:.3f}"
        holds = correlation.low <= correlation.value <= correlation.high
        yield subject.result(
            "independence",
            holds,
            correlation.value,
            expected,
            alpha=alpha,
            samples=correlation.samples,
            because=correlation.where,
        )
        other = torch.stack([masks.draws(masks.dropped(each)) for each in masks.results(seed + 1, 2)])
        correlation = agreement("", draws[:2], other, rate, alpha)
        holds = correlation.low <= correlation.value <= correlation.high
        expected = f"{correlation.low:.3f} to {correlation.high:.3f}"
        yield subject.result("two seeds", holds, correlation.value, expected, alpha=alpha, samples=correlation.samples)
    else:
        for check in ("shared axes", "independence", "two seeds"):
            yield subject.not_run(check, "all draws are alike")

    same = all(map(torch.equal, results[:2], masks.results(seed, 2)))
    yield subject.result("one seed", same, "equal" if same else "differ", "equal")
    if layer.modal:
        module.eval()
        yield subject.within("eval", masks.deviation(masks.results(seed, 1)[0], None), bound)


class MaskChecks:
    """A layer as it runs, its input, and the masks that its results show."""

    def __init__(self, layer: DropoutLayer, run: Run, input: Tensor) -> None:
        self.layer, self.run, self.input = layer, run, input
        self._ends: list[Tensor] = []

    def results(self, seed: int, calls: int) -> list[Tensor]:
        """Returns the results of several calls in a row after one seed, in float64."""
        seed_streams(seed)
        return [self.run(self.input).detach().cpu().double() for _ in range(calls)]

    def reference(self, keep: Tensor, rate: float = RATE) -> Tensor:
        """Returns the reference's result for the layer's input."""
        return self.layer.reference(self.exact, keep, rate)

    @cached_property
    def exact(self) -> Tensor:
        """The input, in float64 on the CPU."""
        return self.input.detach().cpu().double()

    def ends(self, result: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the reference's results if every unit survives, and if none does."""
        if not self._ends:
            keep = torch.ones_like(result, dtype=torch.bool)
            self._ends.extend((self.reference(keep), self.reference(~keep)))
        surviving, dropped = self._ends
        return surviving, dropped

    def dropped(self, result: Tensor) -> Tensor:
        """Returns the mask of dropped units: those nearer to the value of a dropped unit than to a surviving one."""
        surviving, dropped = self.ends(result)
        return (result - dropped).abs() < (result - surviving).abs()

    def draws(self, mask: Tensor) -> Tensor:
        """Returns one position of a mask for each draw that the layer should make."""
        for axis in reversed(range(mask.dim())):
            mask = mask.select(axis, 0) if self.layer.axes[axis] in self.layer.shared else mask
        return mask

    def deviation(self, result: Tensor, keep: Tensor | None) -> float:
        """Returns the largest relative deviation from the reference with this mask (without one: from prediction)."""
        everything = torch.ones_like(result, dtype=torch.bool)
        exact = self.reference(everything, 0.0) if keep is None else self.reference(keep)
        surviving, dropped = self.ends(result)
        return float(((result - exact).abs() / (surviving.abs() + dropped.abs())).max())

    def scaled(self, result: Tensor, dropped: Tensor) -> str:
        """Returns the scale of surviving values, in words."""
        ratio = float((result / self.ends(result)[0])[~dropped].median())
        return f"surviving values are {ratio:.4g} times the expected ones"

    def gradient(self, seed: int, bound: float) -> tuple[float, float]:
        """Returns the gradient's deviation from the reference with the mask of the forward pass, and its bound.

        The gradient of a value with several uses is a sum, with one more rounding (in float32 at least) for each term.
        """
        seed_streams(seed)
        result = self.run(self.input)
        above = signal(tuple(result.shape)).flip(-1)
        (theirs,) = torch.autograd.grad(result, self.input, above.to(result))
        exact = self.exact.requires_grad_()
        exact_result = result.detach().cpu().double()
        masks = ~self.dropped(exact_result), torch.ones_like(exact_result, dtype=torch.bool)
        ours, whole = (
            torch.autograd.grad(self.layer.reference(exact, keep, RATE), exact, above.double())[0] for keep in masks
        )
        terms = exact_result.numel() // exact.numel() if exact_result.numel() > exact.numel() else 0
        gap = float(((theirs.cpu().double() - ours).abs() / whole).max())
        return gap, bound + terms * torch.finfo(torch.float32).eps
