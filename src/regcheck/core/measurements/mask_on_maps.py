"""How the mask of a dropout falls on feature maps, and whether neighbouring positions reveal what it drops."""

from __future__ import annotations

from typing import ClassVar

from regcheck.core.finding import Effect
from regcheck.lazy_dataclass import dataclass

from . import Figures, Measurement


@dataclass(frozen=True)
class MaskOnMaps(Measurement):
    """How a mask falls on feature maps.

    `partly` of `maps` maps are zeroed in part. `r_squared` is that of a least-squares fit of dropped values on the mean
    of their surviving neighbours, over `samples` values; `reference` is the same R² where the reference spatial dropout
    drops at the same rate. `p_value` is that of the F test, on the values' ranks, whose null hypothesis says that
    neighbours explain nothing; `p_value_of_material` that of the test, on the same ranks, whose null hypothesis says
    that they explain a material share. `extent` is the map's spatial extent; `conv_map` says whether a convolution or
    pooling of this run returned maps of that rank. `whole` is the probability that elementwise draws leave every map
    whole.
    """

    measured_by: ClassVar = "regcheck.probe.measurements.mask_on_maps"

    partly: int
    maps: int
    r_squared: float
    reference: float
    p_value: float
    samples: int
    extent: tuple[int, ...]
    conv_map: bool
    whole: float
    p_value_of_material: float = 1.0

    @property
    def effect(self) -> Effect:
        name, unit = "variance of dropped values that their neighbours explain", "of the variance"
        return Effect(name, self.r_squared, unit)

    @property
    def figures(self) -> Figures:
        statistic = "R² of dropped values on their surviving neighbours; F test of their ranks"
        return Figures(self.r_squared, self.reference, statistic, self.samples)
