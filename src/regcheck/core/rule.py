"""What a rule is, and what it may ask of the probe that measures its suspicions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast, get_args

from .errors import DOCS, BrokenRule
from .finding import Evidence, Finding, Severity, Suspicion, Verdict
from .graph import Mode, Op
from .patch import Code, Patch
from .starting_points import Start, is_of_ops, is_start
from .usage import Event

if TYPE_CHECKING:
    from .measurements import (
        ActivationOfZero,
        Agreement,
        BatchDependence,
        Decay,
        Effect,
        HandmadeMask,
        MaskOnMaps,
        Measured,
        ModeDifference,
        Moments,
        Share,
        Shift,
        Shrinkage,
        Spread,
        Stacked,
        UnitMask,
    )
    from .rank_masks import RankMasks

HEADINGS = ("What it finds", "Why it matters", "How it is confirmed", "When to keep the code", "References")
MARK = "# <-"
About = Literal["graph", "usage", "graph and usage", "ignores", "proofs", "ranks"]
"""What a rule's `check` takes, by the names of its parameters."""


class Probe(Protocol):
    """Measures the subject at hand on one device. Methods raise `CannotMeasure` with the reason."""

    alpha: float
    seed: int
    device: str

    def spread(self, ops: Sequence[Op], mode: Mode) -> Spread:
        """Vary only the random streams of `ops` in `mode`, then replace them, and compare the outputs."""

    def zeroed(self, op: Op) -> Share:
        """Share of the units that `op` hands to the outputs which dropping turns into a constant, in train mode."""

    def drawn(self, op: Op) -> UnitMask:
        """What `op` drops in train mode: the share of its units, and what one unit is."""

    def effect(self, op: Op) -> Effect:
        """What the draws of `op`, and the op itself, change in train mode."""

    def shift(self, op: Op) -> Shift:
        """How much more the input of the next batch norm varies in train mode with `op` than without it."""

    def mates(self, op: Op) -> BatchDependence:
        """How a sample's eval-mode output depends on its batch mates through the statistics that `op` takes."""

    def kept(self, op: Op) -> HandmadeMask:
        """The mask that the draw of `op` becomes, as it is multiplied with activations in train mode."""

    def stacked(self, op: Op) -> Stacked:
        """What `op` and the dropouts right before it drop together in train mode."""

    def moments(self, op: Op) -> Moments:
        """How `op` moves the mean and variance of what it is given in train mode, beside the other kind of dropout."""

    def image(self, op: Op) -> ActivationOfZero:
        """What the activation right behind `op` makes of the units that are dropped, in train mode."""

    def agreement(self, op: Op) -> Agreement:
        """How far the masks of successive turns of `op` in a loop agree, in train mode."""

    def maps(self, op: Op, material: float) -> MaskOnMaps:
        """How the mask of `op` falls on feature maps in train mode, and whether neighbours explain a material share."""

    def masks(self, op: Op) -> RankMasks:
        """The masks that the ranks of a process group draw for `op`, each from its own stream."""

    def gap(self, event: Event, against: Mode = Mode.EVAL, parts: Sequence[str] = ("",)) -> ModeDifference:
        """What a call made against what it makes with the model, or those parts, in another mode, on its own input."""

    def decay(self, event: Event) -> Decay:
        """One real step of the optimizer that was stepped against the coupled and the decoupled reference."""

    def shrinkage(self, event: Event) -> Shrinkage:
        """One real step of the optimizer that was stepped, on its biases and norm scales, at zero gradient."""

    def at_least(self, share: float, units: int, rate: float) -> float:
        """The probability that at least this share of so many units is dropped at a rate (exact binomial test)."""

    def evidence(
        self, verdict: Verdict, because: str, measured: Measured, lowers_to: Severity | None = None
    ) -> Evidence:
        """Evidence with the measurement's figures and this probe's device, seed and alpha."""


@dataclass(frozen=True)
class Example:
    """A self-contained source that shows the defect (BAD) or the right way (GOOD).

    For a graph rule the source leaves a `model` and a tuple `inputs` behind; for a usage rule running it is the usage.
    For a rule about proofs it also leaves `measured` behind: what each device says of the model's active dropouts.
    For one about ranks it leaves, in place of a model, a function `begin` that makes the model of a rank.
    Lines that must be reported end in `# <-`. `fixed` is the source after the rule's fix is applied to it; empty where
    the rule proposes no fix for it.
    """

    source: str
    fixed: str = ""

    @property
    def marked(self) -> tuple[int, ...]:
        """Numbers of the marked lines, from 1."""
        return tuple(n for n, line in enumerate(self.source.splitlines(), 1) if line.rstrip().endswith(MARK))

    @staticmethod
    def unmarked(source: str) -> str:
        """A source without its marks."""
        return re.sub(rf"[ \t]*{MARK}[ \t]*$", "", source, flags=re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """A rule as loaded from its file.

    `about` says what `check` reads: a graph, a usage, each graph with each usage of its model, the ignores of a file,
    what was measured on several devices, or the ranks of a process group. `begins_at` names the kinds and traits of
    ops, and the types of events, that it starts from; it is empty where `check` reads neither a graph nor a usage.
    """

    code: str
    name: str
    severity: Severity
    family: str
    page: str
    about: About
    check: Callable[..., Iterable[Suspicion]]
    confirm: Callable[[Suspicion, Probe], Evidence] | None
    bad: tuple[Example, ...] = ()
    good: tuple[Example, ...] = ()
    fix: Callable[[Code], Patch | None] | None = None
    begins_at: tuple[Start, ...] = ()
    module: str = field(default="", compare=False)

    @property
    def reads_use(self) -> bool:
        """Whether `check` takes a model's graph together with its use."""
        return self.about == "graph and usage"

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
        about = " and ".join(inspect.signature(check).parameters)
        if about not in get_args(About):
            raise BrokenRule(f"{path}: `check` must take one of {', '.join(get_args(About))}, not {about!r}")
        begins_at = tuple(part("BEGINS_AT")) if "graph" in about or "usage" in about else ()
        if wrong := [each for each in begins_at if not is_start(each)]:
            raise BrokenRule(f"{path}: BEGINS_AT {wrong[0]!r} is no Kind, no Trait and no type of Event")
        for subject in {"graph", "usage"}.intersection(about.split(" and ")):
            if not any(is_of_ops(each) == (subject == "graph") for each in begins_at):
                raise BrokenRule(f"{path}: `check` takes a {subject}, and BEGINS_AT names nothing that one holds")
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
            begins_at=begins_at,
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
        severities = [each.severity for each in group if each.severity is not None]
        severity = max(severities) if len(severities) == len(group) else None
        yield Suspicion(first.at, first.message, first.fix, ops, severity, first.evidence, first.tentative)


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
