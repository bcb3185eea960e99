"""Compare the masks that a product multiplies with in two train-mode calls, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Mode, Op, Site
from regcheck.core.measurements.mask_reuse import MaskReuse
from regcheck.probe import statistics
from regcheck.probe.probes import ModelProbe, measures
from regcheck.tracing.nested_values import tensors_in
from regcheck.tracing.user_line import calling_place


@measures(ModelProbe, forwards=3)
def measure(probe: ModelProbe, op: Op) -> MaskReuse:
    """Call the model in train mode twice, or until that many equal masks are no chance, and once in eval mode.

    Each call gets other random numbers, and begins with the state that the one before it has left. `op` is a product,
    or a draw that becomes a mask.
    """
    runner = probe.runner
    with runner.in_succession():

        def masks(mode: Mode, turn: int) -> list[Tensor]:
            runner.plan(1)
            observer = MaskObserver(op.site)
            runner.run(mode, probe.seed + turn, observe=observer)
            return observer.masks

        first = masks(Mode.TRAIN, 0)
        alike = units = 0
        chance = independent = 1.0
        for turn in range(1, statistics.REPLAYS):
            pairs = [
                pair for pair in zip(first, masks(Mode.TRAIN, turn), strict=False) if pair[0].shape == pair[1].shape
            ]
            if not pairs:
                raise CannotMeasure("no mask of zeros and one other value is multiplied with in each call")
            units += sum(one.numel() for one, _ in pairs)
            alike += sum(int((one == other).sum()) for one, other in pairs)
            dropped = sum(int(one.sum()) for one, _ in pairs) / sum(one.numel() for one, _ in pairs)
            independent = dropped**2 + (1 - dropped) ** 2
            chance = independent**units
            if alike < units or chance <= probe.alpha:
                break
        last = masks(Mode.EVAL, statistics.REPLAYS)
    in_eval = bool(last) and all(map(torch.equal, first, last))
    return MaskReuse(alike / units, units, independent, chance, in_eval)


class MaskObserver:
    """An observer that notes which units each mask at a site drops: the factors of a product, or what a call draws."""

    def __init__(self, site: Site) -> None:
        self.masks: list[Tensor] = []
        self._site = site

    def __call__(self, site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if name != self._site.function or (site or self._site) != self._site:
            return
        if site is None and calling_place() != self._site.place:
            return
        with torch._C.DisableTorchFunction():
            values = tensors_in(result if site else (args, kwargs))
            self.masks += [each == 0 for each in values if is_mask(each)]


def is_mask(factor: Tensor) -> bool:
    """Whether a tensor consists of zeros and one other value."""
    rest = factor[factor != 0]
    return 0 < rest.numel() < factor.numel() and bool((rest == rest[0]).all())
