"""Compare a call's output in its own mode with that in another mode, under the same random numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from regcheck.core.graph import Mode
from regcheck.core.measurements.mode_difference import ModeDifference
from regcheck.core.usage import Event
from regcheck.probe import statistics
from regcheck.probe.probes import CallProbe, measures
from regcheck.probe.reductions import relative_change
from regcheck.probe.runner import Modes, Runner


@measures(CallProbe)
def measure(probe: CallProbe, event: Event, against: Mode = Mode.EVAL, parts: Sequence[str] = ("",)) -> ModeDifference:
    """Compare the call with one whose model, or only those parts of it, is in mode `against`."""
    other: Mode | Mapping[str, bool] = against
    if "" not in parts:
        within = [path for path in probe.modes if any(f"{path}.".startswith(f"{part}.") for part in parts)]
        other = {**probe.modes, **dict.fromkeys(within, against is Mode.TRAIN)}
    quiet, noisy = (other, probe.modes) if against is Mode.EVAL else (probe.modes, other)
    both = quiet is not Mode.EVAL and any(probe.modes.values())  # then layers draw in both modes
    return difference_between(probe.runner, quiet, noisy, probe.seed, both)


def difference_between(runner: Runner, quiet: Modes, noisy: Modes, seed: int, paired: bool = False) -> ModeDifference:
    """Compare runs in the `noisy` modes with runs in the `quiet` ones, as many as the rank test needs.

    Where quiet runs differ from seed to seed, because a layer draws there as well, each noisy run is compared with the
    quiet run of the same seed: a layer that draws in both then draws the same numbers. `paired` says so in advance.
    """
    reference = runner.fit(quiet, seed, statistics.REPLAYS * (5 if paired else 2))
    calm = range(seed + 1, seed + 1 + statistics.REPLAYS)
    apart = (seed, *range(calm.stop, calm.stop + statistics.REPLAYS - 1))
    replays = [statistics.deviation(runner.run(quiet, each), reference) for each in calm]
    if max(replays) > 0 and not paired:
        runner.plan(3 * statistics.REPLAYS)
        paired = True
    if paired:
        replays = [statistics.deviation(runner.run(quiet, each), runner.run(quiet, each)) for each in calm]
    others: list[float] = []
    changes: list[tuple[float, float | None]] = []
    for each in apart:
        output, other = runner.run(noisy, each), runner.run(quiet, each) if paired else reference
        others.append(statistics.deviation(output, other))
        changes.append(change(output, other))
    relative, flips = next((each for each in changes if each[0] > 0), changes[0])
    above = sum(each > max(replays) for each in others)
    p_value = statistics.rank_test(len(replays), len(others))
    return ModeDifference(relative, flips, above, len(others), max(replays), p_value, len(replays) + len(others))


def change(outputs: Sequence[torch.Tensor], reference: Sequence[torch.Tensor]) -> tuple[float, float | None]:
    """The relative change of the output that changes most, and the share of argmax flips along its class axis.

    Infinite where nothing can be compared.
    """
    pairs = [(one, other) for one, other in zip(outputs, reference, strict=False) if one.shape == other.shape]
    changes = [change_of_one(one, other) for one, other in pairs if one.numel()]
    largest = max(changes, key=lambda each: (math.isfinite(each[0]), each[0]), default=(0.0, None))
    comparable = len(pairs) == len(outputs) == len(reference)
    return largest if largest[0] > 0 or comparable else (math.inf, None)


def change_of_one(one: torch.Tensor, other: torch.Tensor) -> tuple[float, float | None]:
    """The same for one output; of integers, the share that differs."""
    if one.is_complex() and other.is_complex():
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    if not (one.is_floating_point() and other.is_floating_point()):
        return float((one != other).float().mean()), None
    classes, flips = 1 if one.dim() in (2, 4) else -1, None
    if one.dim() > 1 and one.size(classes) > 1:
        flips = float((one.argmax(classes) != other.argmax(classes)).float().mean())
    relative = relative_change([one], [other])
    return relative, flips if math.isfinite(relative) else None
