"""What measurements hand to rules: small values, each with the figures that its evidence shows."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from .finding import Verdict


class Measured(Protocol):
    """A measurement: whatever it found, it can be shown as figures."""

    @property
    def figures(self) -> Figures: ...


@dataclass(frozen=True)
class Figures:
    """The figure a measurement found, the one the reference predicts, what it is, and the samples it rests on."""

    measured: float
    expected: float
    statistic: str
    samples: int


class Interval:
    """A share of units that is judged by the exact binomial interval around what is expected of it."""

    share: float
    interval: tuple[float, float]

    @property
    def as_expected(self) -> bool:
        return self.interval[0] <= self.share <= self.interval[1]

    @property
    def too_few(self) -> bool:
        """Whether nothing was found though something was expected, in so few draws that this may be chance."""
        return self.share == 0 and self.as_expected


def in_doubt(above: int, changed: int, floor: float) -> bool:
    """Whether `above` of `changed` runs differ too much for nothing, where all of them would for something.

    Where replays agree to the bit (`floor` is zero), a single run that differs is no chance. Where they do not, a
    changed run is as likely as a replay to differ most of all, and doubt begins with half of the changed runs.
    """
    return above > 0 if floor == 0 else 2 * above >= changed


FIRST_LOOK, SECOND_LOOK = 7e-7, 3e-7
"""The false-alarm probabilities of a spread's two looks, together no more than α."""


@dataclass(frozen=True)
class Spread:
    """Output deviations from a reference run, as the suspect's random stream is kept, changed, and removed.

    Every other random op keeps its stream throughout. `p_value` is that of the rank test that changing the suspect's
    stream does nothing: the probability that the largest of all deviations, as many as lie above all `kept` ones, are
    `changed` ones by chance. `relative` is the standard deviation over the changed runs relative to that of the
    output's values, `idle` the probability that no run would differ though the suspect drops (0 where that is not
    known). A second look is taken at twice the runs where the first cannot decide, or with `others` active dropouts
    made identity where it sees nothing and these might hide it: so they share α, and `look` is what this one may use.
    """

    kept: tuple[float, ...]
    changed: tuple[float, ...]
    removed: tuple[float, ...]
    relative: float
    p_value: float
    idle: float = 0.0
    others: int = 0
    look: float = FIRST_LOOK

    @property
    def runs(self) -> int:
        return len(self.kept) + len(self.changed)

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "std over seeds relative to the output's; exact test", self.runs)

    @property
    def floor(self) -> float:
        """The largest deviation between two runs that drew the same numbers."""
        return max(self.kept, default=0.0)

    @property
    def above(self) -> int:
        """How many changed runs differ from the reference by more than any replay does."""
        return sum(each > self.floor for each in self.changed)

    @property
    def acts(self) -> bool:
        """Whether more changed runs differ from the reference than would by chance."""
        return self.p_value <= self.look

    @property
    def undecided(self) -> bool:
        """Whether the changed runs differ too seldom to say anything either way."""
        return not self.acts and (in_doubt(self.above, len(self.changed), self.floor) or self.idle > self.look)

    @property
    def verdict(self) -> Verdict:
        """What the runs say of the suspicion that the suspect acts."""
        if self.undecided:
            return Verdict.UNMEASURED
        return Verdict.CONFIRMED if self.acts else Verdict.REFUTED

    def told(self, suspect: str) -> str:
        """What the runs showed of the suspect, in words."""
        if self.undecided:
            return f"only {self.above} of {len(self.changed)} eval runs differ, too few to tell"
        if not self.acts:
            return f"{self.runs} eval runs agree whatever {suspect} draws"
        differ = f"{self.above} eval runs differ (std {self.relative:.2g} of the output's)"
        return differ + (f" where {self.others} more, which hide it, are made identity" if self.others else "")

    @property
    def vanishes(self) -> bool:
        """Whether the runs with the suspect removed agree as closely as replays do."""
        return max(self.removed, default=0.0) <= self.floor


@dataclass(frozen=True)
class Share(Interval):
    """The `share` of units lost over `draws` independent draws, with the exact binomial interval around the rate.

    `constant` says that the image of a dropped unit is the same for all samples; `without` is the share lost when the
    call is replaced by identity.
    """

    share: float
    draws: int
    expected: float
    interval: tuple[float, float]
    constant: bool
    without: float

    @property
    def figures(self) -> Figures:
        statistic = "share of output units replaced by a constant; exact binomial interval"
        return Figures(self.share, self.expected, statistic, self.draws)


@dataclass(frozen=True)
class UnitMask(Interval):
    """What a dropping call drops, read off the call itself: made again, on ones of its input's shape, many times.

    `share` of `units` were dropped; `expected` is the rate it was given, `interval` the exact binomial one around that.
    A unit is what one draw decides: `axes` are those of the `shape` that a unit extends along, in full. `channel` is
    the axis of features, by the last linear layer or convolution that made values of this shape (None: there is none);
    then `otherwise` are the axes that a unit of the reference extends along, which drops features at the same rate.
    """

    share: float
    units: int
    expected: float
    interval: tuple[float, float]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    channel: int | None = None
    otherwise: tuple[int, ...] = ()

    @property
    def figures(self) -> Figures:
        return Figures(self.share, self.expected, "share of units dropped; exact binomial test", self.units)


@dataclass(frozen=True)
class Effect:
    """What a call changes: how far runs in which it draws anew, and a run with it made identity, are from a reference.

    All else is held still. `floor` is the largest deviation between replays of the reference, `p_value` that of the
    rank test that the call's draws change nothing.
    """

    changed: tuple[float, ...]
    removed: float
    floor: float
    p_value: float

    @property
    def acts(self) -> bool:
        """Whether every run with other draws differs by more than any replay does."""
        return min(self.changed) > self.floor

    @property
    def nothing(self) -> bool:
        """Whether neither other draws nor taking the call out changes anything."""
        return max(*self.changed, self.removed) <= self.floor

    @property
    def figures(self) -> Figures:
        return Figures(max(self.changed), self.floor, "largest change over seeds; exact rank test", len(self.changed))


@dataclass(frozen=True)
class Shift:
    """Variances at the input of the first batch norm that a dropout's noise reaches, with and without that dropout.

    Each of the `ratios` belongs to one mask and is the median over channels of the variance with the dropout over that
    without it; `expected` is their median under the reference dropout. Without such a batch norm all are one.
    """

    ratios: tuple[float, ...]
    expected: float

    @property
    def median(self) -> float:
        return sorted(self.ratios)[len(self.ratios) // 2]

    @property
    def figures(self) -> Figures:
        statistic = "variance at the norm's input with over without this dropout, median channel; exact sign test"
        return Figures(self.median, self.expected, statistic, len(self.ratios))


@dataclass(frozen=True)
class BatchDependence:
    """How far the outputs of one sample move, in eval mode, as the other samples of its batch are exchanged.

    `changed` are the deviations in batches with other mates, `held` those in the same batches with the suspect's
    statistics held as they were at first: what is left then is rounding. `relative` is the largest change over the
    output's own size, `p_value` that of the rank test that the statistics change nothing.
    """

    changed: tuple[float, ...]
    held: tuple[float, ...]
    relative: float
    p_value: float

    @property
    def matter(self) -> bool:
        """Whether every other batch moves the sample farther than any does with the statistics held."""
        return min(self.changed) > max(self.held)

    @property
    def verdict(self) -> Verdict:
        """What the batches say of the suspicion that mates matter."""
        if self.matter:
            return Verdict.CONFIRMED
        return Verdict.REFUTED if max(self.changed) <= max(self.held) else Verdict.UNMEASURED

    @property
    def figures(self) -> Figures:
        statistic = "relative change of a sample's output with its batch mates; exact rank test"
        return Figures(self.relative, 0.0, statistic, len(self.changed) + len(self.held))


@dataclass(frozen=True)
class HandmadeMask:
    """The mask that a random draw becomes: `kept` of its `units` are not zero, and these are scaled by `scale`.

    `mean` is its average, one where train mode passes on what eval mode does; `p_value` that of the exact two-sided
    binomial test that units are kept with a probability of 1 / `scale`. `otherwise` is the average of a mask of the
    reference that drops as large a share of as many units.
    """

    kept: int
    units: int
    scale: float
    p_value: float
    otherwise: float

    @property
    def mean(self) -> float:
        return self.scale * self.kept / self.units

    @property
    def figures(self) -> Figures:
        return Figures(self.mean, 1.0, "average of the mask; exact binomial test", self.units)


@dataclass(frozen=True)
class Stacked(Interval):
    """What a dropout and those right before it drop together: the `share` of `units` that are zero behind it.

    `alone` is its own rate and `together` what the rates of all of them make, with the exact binomial `interval` around
    that; without another dropout before it both are the same. `without` is the share that is zero as those before
    it are made identity.
    """

    share: float
    units: int
    alone: float
    together: float
    interval: tuple[float, float]
    without: float

    @property
    def figures(self) -> Figures:
        return Figures(self.share, self.together, "share of units dropped; exact binomial test", self.units)


@dataclass(frozen=True)
class Moments:
    """Mean and variance of the activations that a dropout is given, and what becomes of them.

    `before`, `after` and `otherwise` are pairs of a mean and a variance: of what the call is given, of what it makes of
    that, and of what the other kind of dropout (alpha or inverted) makes of it. `moved` and `expected` are the
    divergences of the two from what was given, one for each set of masks.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    otherwise: tuple[float, float]
    moved: tuple[float, ...]
    expected: tuple[float, ...]

    @property
    def farther(self) -> bool:
        """Whether the call moves the moments farther than the other kind does, each time."""
        return all(one > other for one, other in zip(self.moved, self.expected, strict=True))

    @property
    def nearer(self) -> bool:
        """Whether the call moves them less far each time."""
        return all(one < other for one, other in zip(self.moved, self.expected, strict=True))

    @property
    def figures(self) -> Figures:
        middle = len(self.moved) // 2
        statistic = "divergence of mean and variance from those before the dropout; exact sign test"
        return Figures(sorted(self.moved)[middle], sorted(self.expected)[middle], statistic, len(self.moved))


@dataclass(frozen=True)
class ActivationOfZero(Interval):
    """What becomes of dropped units in the `activation` right behind their dropout (empty: there is none).

    `value` is the average of what it makes of them (None: zero for some of them only), `level` the average size of what
    it makes of units that are not dropped. `share` of the `units` come out as dropped ones do, and `interval` is the
    exact binomial one around the rate.
    """

    activation: str
    value: float | None
    level: float
    share: float
    units: int
    interval: tuple[float, float]

    @property
    def figures(self) -> Figures:
        statistic = "what a dropped unit passes on; exact binomial interval of their share"
        return Figures(self.value or 0.0, 0.0, statistic, self.units)


@dataclass(frozen=True)
class Agreement(Interval):
    """The `share` of `units` that successive ones of a call's `steps` turns treat alike: both drop, or both keep.

    `alone` is the share that masks drawn each on its own agree in, with the exact binomial `interval` around it. One
    mask for all steps, as in the reference, agrees everywhere; so does a call that is made once.
    """

    share: float
    units: int
    steps: int
    alone: float
    interval: tuple[float, float]

    as_if_alone = Interval.as_expected

    @property
    def figures(self) -> Figures:
        return Figures(self.share, 1.0, "share of units that two steps treat alike; exact binomial test", self.units)


@dataclass(frozen=True)
class MaskOnMaps:
    """How a mask falls on feature maps.

    `partly` of `maps` maps were zeroed in part. `r_squared` is that of a least-squares fit of dropped values on the
    mean of their kept neighbours, `p_value` that of the F test on their ranks that neighbours say nothing, over
    `samples` values, `weak` that of the test, on the same ranks, that they say as much as is material. `reference` is
    the same R² where the reference spatial dropout drops at the same rate. `extent` is the map's spatial extent;
    `conv_map` says whether a convolution or pooling of this run produced maps of that extent, and `whole` is the
    probability that draws for each element would have left every map whole.
    """

    partly: int
    maps: int
    r_squared: float
    reference: float
    p_value: float
    samples: int
    extent: tuple[int, ...]
    conv_map: bool
    whole: float
    weak: float = 1.0

    @property
    def figures(self) -> Figures:
        statistic = "R² of dropped values on their kept neighbours; F test of their ranks"
        return Figures(self.r_squared, self.reference, statistic, self.samples)


@dataclass(frozen=True)
class ModeDifference:
    """Predictions in the mode a call was made in against those in another one, on the input of that call.

    `relative` is the norm of the difference over that of the eval-mode prediction, for the output that changes most
    (infinite where the two cannot be compared), `flips` the share of argmax changes there (None where there is no class
    dimension). Of `others`, the runs that should differ from the reference, `above` do so
    by more than `floor`, the largest deviation of those that should not. `p_value` is that of the rank test that modes
    do not matter.
    """

    relative: float
    flips: float | None
    above: int
    others: int
    floor: float
    p_value: float
    runs: int

    @property
    def verdict(self) -> Verdict:
        """What the runs say of the suspicion that the mode changes the prediction."""
        if self.above == self.others and self.relative > 0:
            return Verdict.CONFIRMED
        return Verdict.UNMEASURED if in_doubt(self.above, self.others, self.floor) else Verdict.REFUTED

    @property
    def away(self) -> str:
        """How far a prediction is from that in the other mode, to be followed by whose."""
        if isfinite(self.relative):
            return f"{self.relative:.2g} (relative) away from"
        return "of other shapes, or not finite, against"

    @property
    def doubt(self) -> str:
        return f"only {self.above} of {self.others} runs differ between the modes, too few to tell"

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "relative change between modes; exact rank test", self.runs)


BLURRED = 1e-2
"""The largest tolerance: beyond it the step says nothing about the decay."""


@dataclass(frozen=True)
class Pairs:
    """Weights in pairs, of which chance gave one large gradients and the other small ones.

    `lighter` of the `counted` pairs decay the one with large gradients by at most half of the share of the other.
    """

    counted: int
    lighter: int


@dataclass(frozen=True)
class Decay:
    """One real optimizer step on copies, against the reference steps in float64.

    `coupled` and `decoupled` are the largest relative distances of the real step to the two references; `p5` and `p95`
    are percentiles, over the parameters that are decayed, of the effective decay relative to the constant asked for.
    Where no method is known the references are steps of the optimizer itself, and `pairs` tell whether it scales the
    decay as it scales the gradient.
    """

    coupled: float
    decoupled: float
    p5: float
    p95: float
    asked: float
    parameters: int
    tolerance: float
    pairs: Pairs | None = None

    @property
    def is_coupled(self) -> bool:
        """Whether the step equals the coupled reference and differs from the decoupled one."""
        return self.coupled <= self.tolerance < self.decoupled

    @property
    def is_spread(self) -> bool:
        """Whether there are weights that are decayed at least twice as much as others."""
        return self.p95 >= 2 * self.p5

    @property
    def is_near(self) -> bool:
        """Whether the step may equal the coupled reference but for the precision that it computes in."""
        return self.coupled <= BLURRED

    @property
    def is_uniform(self) -> bool:
        """Whether the weights are decayed by the same share of themselves; a single one tells nothing."""
        return self.parameters > 1 and self.p95 != 0 and abs(self.p95 - self.p5) <= self.tolerance * abs(self.p95)

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes nothing in the step."""
        return self.p5 == self.p95 == self.decoupled == 0

    @property
    def figures(self) -> Figures:
        statistic = "spread (p5 to p95) of the effective decay relative to weight_decay; exact step comparison"
        return Figures(self.p95 - self.p5, 0.0, statistic, self.parameters)


@dataclass(frozen=True)
class Shrinkage:
    """One real optimizer step on copies of biases and norm scales, with gradients of zero.

    `smallest` and `largest` are the shares of themselves that they lose in it, less what they lose in the same step
    without decay. Differences within `tolerance` are rounding.
    """

    smallest: float
    largest: float
    norm_scales: int
    biases: int
    values: int
    tolerance: float

    @property
    def is_decay(self) -> bool:
        """Whether the decay shrinks every one of them."""
        return self.smallest > self.tolerance

    @property
    def is_nothing(self) -> bool:
        """Whether the decay changes none of them."""
        return max(self.largest, -self.smallest) <= self.tolerance

    @property
    def figures(self) -> Figures:
        statistic = "smallest share that decay takes in a step at zero gradient; exact step comparison"
        return Figures(self.smallest, 0.0, statistic, self.values)
