"""What a call's prediction becomes in another mode, run against run under the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from regcheck.core.measurements import ModeDifference

from . import statistics
from .reductions import wide
from .runner import Modes, Runner


def gap_between(runner: Runner, quiet: Modes, noisy: Modes, seed: int, paired: bool = False) -> ModeDifference:
    """Compare runs in the `noisy` modes with runs in the `quiet` ones, as many as the rank test needs.

    Where runs in the quiet modes differ from seed to seed, as something draws there as well, each run is compared with
    a quiet one of the same seed only: what draws in both then draws the same. `paired` says that this is known before.
    """

    def run(modes: Modes, each: int) -> list[torch.Tensor]:
        return runner.run(modes, each)

    reference = runner.fit(quiet, seed, statistics.REPLAYS * (5 if paired else 2))
    calm = range(seed + 1, seed + 1 + statistics.REPLAYS)
    apart = (seed, *range(calm.stop, calm.stop + statistics.REPLAYS - 1))
    replays = [statistics.deviation(run(quiet, each), reference) for each in calm]
    if max(replays) > 0 and not paired:
        runner.plan(3 * statistics.REPLAYS)
        paired = True
    if paired:
        replays = [statistics.deviation(run(quiet, each), run(quiet, each)) for each in calm]
    others: list[float] = []
    changes: list[tuple[float, float | None]] = []
    for each in apart:
        made, other = run(noisy, each), run(quiet, each) if paired else reference
        others.append(statistics.deviation(made, other))
        changes.append(change(made, other))
    relative, flips = next((each for each in changes if each[0] > 0), changes[0])
    above = sum(each > max(replays) for each in others)
    p_value = statistics.rank_test(len(replays), len(others))
    return ModeDifference(relative, flips, above, len(others), max(replays), p_value, len(replays) + len(others))


def change(made: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> tuple[float, float | None]:
    """How far the output that changes most is from the reference, and the share of argmax flips along its classes.

    The size is the norm of the difference over that of the reference; infinite where nothing can be compared.
    """
    pairs = [(one, other) for one, other in zip(made, reference, strict=False) if one.shape == other.shape]
    changes = [_change_of(one, other) for one, other in pairs if one.numel()]
    largest = max(changes, key=lambda each: (math.isfinite(each[0]), each[0]), default=(0.0, None))
    comparable = len(pairs) == len(made) == len(reference)
    return largest if largest[0] > 0 or comparable else (math.inf, None)


def _change_of(one: torch.Tensor, other: torch.Tensor) -> tuple[float, float | None]:
    """The same for one output; of integers, the share that differs."""
    if one.is_complex() and other.is_complex():
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    if not (one.is_floating_point() and other.is_floating_point()):
        return float((one != other).float().mean()), None
    classes, flips = 1 if one.dim() in (2, 4) else -1, None
    if one.dim() > 1 and one.size(classes) > 1:
        flips = float((one.argmax(classes) != other.argmax(classes)).float().mean())
    one, other = wide(one), wide(other)
    alike = (one == other) | (one.isnan() & other.isnan())
    size = float(torch.where(alike, 0.0, one - other).norm())
    if not math.isfinite(size):
        return math.inf, None
    return (size / (float(other[other.isfinite()].norm()) or size) if size > 0 else 0.0), flips
