"""What a rule is, and what it may ask of the probe that measures its suspicions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

from .errors import DOCS, BrokenRule
from .finding import Evidence, Finding, Severity, Suspicion, Verdict
from .graph import Mode, Op
from .patch import Code, Patch
from .usage import Event

HEADINGS = ("What it finds", "Why it matters", "How it is confirmed", "When to keep the code", "References")
MARK = "# <-"
About = Literal["graph", "usage", "ignores"]


@dataclass(frozen=True)
class Figures:
    """The figure a measurement found, the one the reference predicts, what it is, and the samples it rests on."""

    measured: float
    expected: float
    statistic: str
    samples: int


@dataclass(frozen=True)
class Spread:
    """Output deviations from a reference run, as the suspect's random stream is kept, changed, and removed.

    Every other random op keeps its stream throughout. `p_value` is that of the rank test that changing the suspect's
    stream does nothing: the probability that all `changed` deviations exceed all `kept` ones by chance. `relative` is
    the standard deviation over the changed runs relative to that of the output's values.
    """

    kept: tuple[float, ...]
    changed: tuple[float, ...]
    removed: tuple[float, ...]
    relative: float
    p_value: float

    @property
    def runs(self) -> int:
        return len(self.kept) + len(self.changed)

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "std over seeds relative to the output's; exact rank test", self.runs)

    @property
    def floor(self) -> float:
        """The largest deviation between two runs that drew the same numbers."""
        return max(self.kept, default=0.0)

    @property
    def acts(self) -> bool:
        """Whether every changed run differs from the reference by more than any replay does."""
        return bool(self.changed) and min(self.changed) > self.floor

    @property
    def vanishes(self) -> bool:
        """Whether the runs with the suspect removed agree as closely as replays do."""
        return max(self.removed, default=0.0) <= self.floor


@dataclass(frozen=True)
class Share:
    """The share of units lost over `draws` independent draws, with the exact binomial interval around the rate.

    `constant` says that the image of a dropped unit is the same for all samples; `without` is the share lost when the
    call is replaced by identity.
    """

    value: float
    draws: int
    expected: float
    interval: tuple[float, float]
    constant: bool
    without: float

    @property
    def as_expected(self) -> bool:
        return self.interval[0] <= self.value <= self.interval[1]

    @property
    def figures(self) -> Figures:
        statistic = "share of output units replaced by a constant; exact binomial interval"
        return Figures(self.value, self.expected, statistic, self.draws)


@dataclass(frozen=True)
class Maps:
    """How a mask falls on feature maps.

    `partly` of `maps` maps were zeroed in part. `r_squared` is that of a least-squares fit of dropped values on the
    mean of their kept neighbours, `p_value` that of the F test that neighbours say nothing, over `samples` values.
    `reference` is the same R² where the reference spatial dropout drops at the same rate. `extent` is the map's
    spatial extent; `conv_map` says whether a convolution or pooling of this run produced maps of that extent.
    """

    partly: int
    maps: int
    r_squared: float
    reference: float
    p_value: float
    samples: int
    extent: tuple[int, ...]
    conv_map: bool

    @property
    def figures(self) -> Figures:
        statistic = "R² of dropped values on their kept neighbours; F test"
        return Figures(self.r_squared, self.reference, statistic, self.samples)


@dataclass(frozen=True)
class Gap:
    """Predictions in the mode a call was made in against those in eval mode, on the input of that call.

    `relative` is the norm of the difference over the norm of the eval-mode prediction, `flips` the share of argmax
    changes (None where there is no class dimension), `floor` the largest deviation between two eval-mode runs and
    `p_value` that of the rank test that the mode does nothing.
    """

    relative: float
    flips: float | None
    smallest: float
    floor: float
    p_value: float
    runs: int

    @property
    def figures(self) -> Figures:
        return Figures(self.relative, 0.0, "relative change against eval mode; exact rank test", self.runs)


@dataclass(frozen=True)
class Decay:
    """One real optimizer step on copies, against the reference steps in float64.

    `coupled` and `decoupled` are the largest relative distances of the real step to the two references (None where
    there is no reference for this optimizer); `p5` and `p95` are percentiles, over parameters, of the effective decay
    relative to the constant asked for.
    """

    coupled: float | None
    decoupled: float | None
    p5: float
    p95: float
    asked: float
    parameters: int
    tolerance: float

    @property
    def is_coupled(self) -> bool:
        """Whether the step equals the coupled reference and differs from the decoupled one."""
        return _within(self.coupled, self.tolerance) and not _within(self.decoupled, self.tolerance)

    @property
    def is_uniform(self) -> bool:
        """Whether every weight is decayed by the same share of itself."""
        return abs(self.p95 - self.p5) <= self.tolerance * abs(self.p95)

    @property
    def figures(self) -> Figures:
        statistic = "spread (p5 to p95) of the effective decay relative to weight_decay; exact step comparison"
        return Figures(self.p95 - self.p5, 0.0, statistic, self.parameters)


def _within(distance: float | None, tolerance: float) -> bool:
    return distance is not None and abs(distance) <= tolerance


Measured = Spread | Share | Maps | Gap | Decay


class Probe(Protocol):
    """Measures the subject at hand on one device. Methods raise `CannotMeasure` with the reason."""

    alpha: float
    seed: int
    device: str

    def spread(self, ops: Sequence[Op], mode: Mode) -> Spread:
        """Vary only the random streams of `ops` in `mode`, then replace them, and compare the outputs."""

    def zeroed(self, op: Op) -> Share:
        """Share of the units that `op` hands to the outputs which dropping turns into a constant, in train mode."""

    def maps(self, op: Op) -> Maps:
        """How the mask of `op` falls on the feature maps it is applied to, in train mode."""

    def gap(self, event: Event) -> Gap:
        """Predictions as a call made them against eval mode, on its captured input."""

    def decay(self, event: Event) -> Decay:
        """One real step of the optimizer that was stepped against the coupled and the decoupled reference."""

    def evidence(
        self, verdict: Verdict, because: str, measured: Measured, lowers_to: Severity | None = None
    ) -> Evidence:
        """Evidence with the measurement's figures and this probe's device, seed and alpha."""


@dataclass(frozen=True)
class Example:
    """A self-contained source that shows the defect (BAD) or the right way (GOOD).

    For a graph rule the source leaves a `model` and a tuple `inputs` behind; for a usage rule running it is the usage.
    Lines that must be reported end in `# <-`.
    """

    source: str

    @property
    def marked(self) -> tuple[int, ...]:
        """Numbers of the marked lines, from 1."""
        return tuple(n for n, line in enumerate(self.source.splitlines(), 1) if line.rstrip().endswith(MARK))


@dataclass(frozen=True)
class Rule:
    """A rule as loaded from its file. `about` says what `check` reads: a graph, a usage, or the ignores of a file."""

    code: str
    name: str
    severity: Severity
    family: str
    page: str
    about: About
    check: Callable[[Any], Iterable[Suspicion]]
    confirm: Callable[[Suspicion, Probe], Evidence] | None
    bad: tuple[Example, ...] = ()
    good: tuple[Example, ...] = ()
    fix: Callable[[Code], Patch | None] | None = None
    module: str = field(default="", compare=False)

    @property
    def docs(self) -> str:
        """Address of the rule's page."""
        return f"{DOCS}rules/{self.name}/"

    @property
    def summary(self) -> str:
        """The first line of the rule's page."""
        return self.page.strip().splitlines()[0]

    @classmethod
    def from_module(cls, module: ModuleType) -> Rule:
        """Read a rule from its file.

        Raises:
            BrokenRule: the file lacks a part, with its name and the part.
        """
        path = Path(module.__file__ or module.__name__)

        def part(name: str) -> Any:
            try:
                return getattr(module, name)
            except AttributeError:
                raise BrokenRule(f"{path}: the rule has no `{name}`") from None

        page = inspect.cleandoc(module.__doc__ or "")
        missing = [heading for heading in HEADINGS if f"\n## {heading}\n" not in page]
        if missing:
            raise BrokenRule(f"{path}: the page lacks the heading(s) {', '.join(missing)}")
        code, check = part("CODE"), part("check")
        if not re.fullmatch(r"[A-Z]{2,}[0-9]{3}", code):
            raise BrokenRule(f"{path}: CODE {code!r} is not letters followed by three digits")
        about = next(iter(inspect.signature(check).parameters), "")
        if about not in get_args(About):
            raise BrokenRule(f"{path}: `check` must take `graph`, `usage` or `ignores`, not {about!r}")
        return cls(
            code=code,
            name=path.stem.replace("_", "-"),
            severity=part("SEVERITY"),
            family=module.__name__.split(".")[-2] if "." in module.__name__ else "",
            page=page,
            about=cast(About, about),
            check=check,
            confirm=getattr(module, "confirm", None),
            bad=tuple(part("BAD")),
            good=tuple(part("GOOD")),
            fix=getattr(module, "fix", None),
            module=module.__name__,
        )


def merged(suspicions: Iterable[Suspicion]) -> Iterator[Suspicion]:
    """Merge suspicions that share a place and a message, so that one line is reported once however often it ran."""
    groups: dict[object, list[Suspicion]] = {}
    for index, suspicion in enumerate(suspicions):
        place = suspicion.place
        known = (place, suspicion.message) if place else (suspicion.module, suspicion.message, index)
        groups.setdefault(known, []).append(suspicion)
    for group in groups.values():
        ops = tuple(each.at for each in group if isinstance(each.at, Op))
        first = group[0]
        yield Suspicion(first.at, first.message, first.fix, ops, first.severity)


def finding(rule: Rule, suspicion: Suspicion, evidence: Evidence) -> Finding:
    """The finding that a rule's suspicion becomes with its evidence, which may lower the severity."""
    severities = (rule.severity, suspicion.severity, evidence.lowers_to)
    place = suspicion.place
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=min(each for each in severities if each is not None),
        message=suspicion.message,
        module=suspicion.module,
        path=place.path if place else None,
        line=place.line if place else None,
        column=place.column if place else None,
        fix=suspicion.fix,
        evidence=evidence,
        docs=rule.docs,
    )
