"""How the mask of a dropout falls on feature maps, and what neighbours tell of the values that it drops."""

from __future__ import annotations

from typing import Any

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode, Op, Site
from regcheck.core.measurements import MaskOnMaps
from regcheck.reference.dropout import spatial_dropout
from regcheck.torch_api.functions import KINDS

from . import statistics
from .interventions import Replacement, nothing
from .reductions import wide
from .runner import Runner


def maps_of(runner: Runner, op: Op, material: float, seed: int) -> MaskOnMaps:
    """Read the mask of `op` off one train run, and fit what it drops on what it keeps beside that."""
    met: list[tuple[torch.Tensor, torch.Tensor]] = []
    extents: set[tuple[int, ...]] = set()

    def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if site == op.site:
            met.append((args[0] if args else kwargs["input"], result))
        elif KINDS.get(name) in (Kind.CONV, Kind.POOL) and isinstance(result, torch.Tensor):
            extents.add(tuple(result.shape[2:]))

    def seen(replace: dict[Site, Replacement] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        met.clear()
        runner.plan(1)
        runner.run(Mode.TRAIN, seed, replace=replace, observe=look)
        if not met:
            raise CannotMeasure("this call does not run in train mode")
        given, made = met[0]
        return wide(given.detach()), wide(made.detach())

    values, result = seen()
    extent = tuple(values.shape[2:])
    if values.dim() < 3:
        return MaskOnMaps(0, values.shape[0], 0.0, 0.0, 1.0, 0, extent, False, 1.0)
    blank = seen({op.site: nothing})[1].flatten()[0] if "alpha" in op.site.function else 0.0
    dropped, kept = (result == blank) & (values != 0), result != blank
    partly = int((dropped.flatten(2).any(2) & kept.flatten(2).any(2)).sum())
    r_squared, samples, _ = statistics.neighbour_fit(values, dropped, kept)
    keep = torch.rand(values.shape[:2], generator=torch.Generator().manual_seed(seed), device="cpu")
    keep = keep >= (op.rate or 0.0)
    spatial = spatial_dropout(values, keep.to(values.device), op.rate or 0.0)
    reference, _, _ = statistics.neighbour_fit(values, (spatial == 0) & (values != 0), spatial != 0)
    ranked = statistics.neighbour_fit(values, dropped, kept, ranked=True)
    p_value, weak = statistics.fit_test(*ranked), statistics.weaker_fit_test(*ranked, material)
    conv_map = extent in extents
    maps = values.shape[0] * values.shape[1]
    whole = whole_chance((values != 0).flatten(2).sum(2), op.rate)
    return MaskOnMaps(partly, maps, r_squared, reference, p_value, samples, extent, conv_map, whole, weak)


def whole_chance(sizes: torch.Tensor, rate: float | None) -> float:
    """Probability that draws for each element keep or drop every one of maps with these many elements as a whole."""
    if rate is None:
        return 1.0
    return float(((1 - rate) ** wide(sizes) + rate ** wide(sizes)).clamp(max=1).prod())
