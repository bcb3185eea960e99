"""Measure how a dropout's mask falls on feature maps, and how well neighbours predict the dropped values."""

from __future__ import annotations

from typing import Any

import torch

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Kind, Mode, Op, Site
from regcheck.core.measurements.mask_on_maps import MaskOnMaps
from regcheck.probe import statistics
from regcheck.probe.interventions import Replacement, nothing
from regcheck.probe.probes import ModelProbe, measures
from regcheck.probe.reductions import wide
from regcheck.probe.runner import Enough
from regcheck.reference.dropout import spatial_dropout
from regcheck.torch_api.functions import KINDS


@measures(ModelProbe, forwards=1)
def measure(probe: ModelProbe, op: Op, material: float) -> MaskOnMaps:
    """Record the mask of `op` in one train run, and fit the dropped values on their surviving neighbours.

    `material` is the share of the variance that neighbours explain where the effect is material.
    """
    runner, seed = probe.runner, probe.seed
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    ranks: set[int] = set()

    def look(site: Site | None, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if site == op.site:
            calls.append((args[0] if args else kwargs["input"], result))
        elif KINDS.get(name) in (Kind.CONV, Kind.POOL) and isinstance(result, torch.Tensor):
            ranks.add(result.dim())
        if calls and calls[0][0].dim() in ranks:
            raise Enough

    def inputs_and_result(replace: dict[Site, Replacement] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        calls.clear()
        runner.plan(1)
        runner.run(Mode.TRAIN, seed, replace=replace, observe=look)
        if not calls:
            raise CannotMeasure("this call does not run in train mode")
        inputs, returned = calls[0]
        return wide(inputs.detach()), wide(returned.detach())

    values, result = inputs_and_result()
    extent = tuple(values.shape[2:])
    if values.dim() < 3:
        return MaskOnMaps(0, values.shape[0], 0.0, 0.0, 1.0, 0, extent, False, 1.0)
    blank = inputs_and_result({op.site: nothing})[1].flatten()[0] if "alpha" in op.site.function else 0.0
    dropped, surviving = (result == blank) & (values != 0), result != blank
    partly = int((dropped.flatten(2).any(2) & surviving.flatten(2).any(2)).sum())
    r_squared, samples, _ = statistics.neighbour_fit(values, dropped, surviving)
    keep = torch.rand(values.shape[:2], generator=torch.Generator().manual_seed(seed), device="cpu")
    keep = keep >= (op.rate or 0.0)
    spatial = spatial_dropout(values, keep.to(values.device), op.rate or 0.0)
    reference, _, _ = statistics.neighbour_fit(values, (spatial == 0) & (values != 0), spatial != 0)
    ranked = statistics.neighbour_fit(values, dropped, surviving, ranked=True)
    p_value, p_material = statistics.fit_test(*ranked), statistics.material_fit_test(*ranked, material)
    conv_map = values.dim() in ranks
    maps = values.shape[0] * values.shape[1]
    whole = whole_chance((values != 0).flatten(2).sum(2), op.rate)
    return MaskOnMaps(partly, maps, r_squared, reference, p_value, samples, extent, conv_map, whole, p_material)


def whole_chance(sizes: torch.Tensor, rate: float | None) -> float:
    """Probability that elementwise draws keep or drop all maps, with so many elements each, as a whole."""
    if rate is None:
        return 1.0
    return float(((1 - rate) ** wide(sizes) + rate ** wide(sizes)).clamp(max=1).prod())
