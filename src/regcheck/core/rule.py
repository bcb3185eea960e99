"""Rules, their examples, and the interface of the probe that measures their suspicions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, cast, get_args

from regcheck.lazy_dataclass import dataclass

from .errors import DOCS, BrokenRule
from .finding import Evidence, Finding, Severity, Suspicion, Verdict
from .graph import Op
from .measurements import M, Measurement
from .patch import Code, Patch
from .starting_points import Start, is_of_ops, is_start

HEADINGS = ("What it finds", "Why it matters", "How it is confirmed", "When to keep the code", "References")
FIX_HEADING = "How it is fixed"
"""The heading, before "When to keep the code", that the page of a rule with a fix has as well."""
MARK = "# <-"
About = Literal["graph", "usage", "graph and usage", "ignores", "proofs", "ranks"]
"""The names of the parameters of a rule's `check`."""
READS_SOURCE = ("graph", "usage", "graph and usage")
"""The rules that a scan runs, and that name their starting points."""


class Probe(Protocol):
    """Measures one subject (a model, a call, an optimizer, a group of ranks) on one device."""

    alpha: float
    seed: int
    device: str

    def measure(self, measurement: type[M], *about: Any) -> M:
        """Make a measurement about an op or an event, with what else its function takes.

        Raises:
            CannotMeasure: the subject does not allow it, or its budget; with the reason.
        """

    def at_least(self, share: float, units: int, rate: float) -> float:
        """The probability that at least this share of so many units is dropped at a rate (exact binomial test)."""

    def evidence(
        self,
        verdict: Verdict,
        because: str,
        measurement: Measurement,
        *,
        material_from: float = 0.0,
        lowers_to: Severity | None = None,
    ) -> Evidence:
        """Evidence with the measurement's effect and figures, and this probe's device, seed and alpha.

        Args:
            verdict: what the measurement decides.
            because: the sentence that a reader needs.
            measurement: the result of `measure`.
            material_from: the effect's value from which it matters; any does at 0.
            lowers_to: the severity that an immaterial effect leaves.
        """


@dataclass(frozen=True)
class Example:
    """A self-contained source that shows the defect (BAD) or the right way (GOOD).

    For a graph rule the source defines a `model` and a tuple `inputs`; for a usage rule running it is the usage.
    For a rule about proofs it also defines `measured`: the verdict of each device on the model's active dropouts.
    For a rule about ranks it defines, in place of a model, a function `begin` that builds the model of a rank.
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

    Attributes:
        about: the arguments of `check`: a graph, a usage, a graph with a usage of its model, the ignores of a file, the
            evidence of several devices, or the ranks of a process group.
        begins_at: the kinds and traits of ops, and the types of events, that `check` starts from; empty where it reads
            neither a graph nor a usage.
        since: the version of its package that brought it, as major.minor; empty where the file does not say.
        module: the rule's module, for messages.

    Raises:
        BrokenRule: `begins_at` holds anything else, or nothing that the arguments of `check` hold.
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
    since: str = ""
    module: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if wrong := [each for each in self.begins_at if not is_start(each)]:
            raise BrokenRule(f"{self.module}: BEGINS_AT {wrong[0]!r} is no Kind, no Trait and no type of Event")
        for subject in {"graph", "usage"}.intersection(self.about.split(" and ")):
            if not any(is_of_ops(each) == (subject == "graph") for each in self.begins_at):
                raise BrokenRule(f"{self.module}: `check` takes a {subject}, and BEGINS_AT names nothing in one")

    @property
    def reads_use(self) -> bool:
        """Whether `check` takes a model's graph together with its use."""
        return self.about == "graph and usage"

    @property
    def doors(self) -> str:
        """What can find it: `scan`, `run`, or both."""
        if self.begins_at:
            return "scan" if self.confirm is None else "scan, run"
        return "scan, run" if self.about == "ignores" else "run"

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
            begins_at=tuple(part("BEGINS_AT")) if about in READS_SOURCE else (),
            since=getattr(module, "SINCE", ""),
            module=module.__name__,
        )


def merged(suspicions: Iterable[Suspicion]) -> Iterator[Suspicion]:
    """Merge suspicions that share a place and a message, so that one line is reported once however often it ran."""
    groups: dict[object, list[Suspicion]] = {}
    for index, suspicion in enumerate(suspicions):
        place = suspicion.place
        where = (place,) if place else (suspicion.module, index)
        key = (*where, suspicion.message, suspicion.undecided is None)
        groups.setdefault(key, []).append(suspicion)
    for group in groups.values():
        ops = tuple(each.at for each in group if isinstance(each.at, Op))
        first = group[0]
        severities = [each.severity for each in group if each.severity is not None]
        severity = max(severities) if len(severities) == len(group) else None
        yield replace(first, ops=ops, severity=severity)


def by_code(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules, sorted by code.

    Raises:
        BrokenRule: two rules share a code or a name.
    """
    owners: dict[str, Rule] = {}
    codes: dict[str, Rule] = {}
    for rule in rules:
        for word in (rule.code, rule.name):
            if word in owners:
                raise BrokenRule(f"{rule.module} and {owners[word].module} are both called {word}")
            owners[word] = rule
        codes[rule.code] = rule
    return tuple(codes[code] for code in sorted(codes))


def finding(rule: Rule, suspicion: Suspicion, evidence: Evidence) -> Finding:
    """The finding that a rule's suspicion becomes with its evidence, which may lower the severity."""
    severities = (rule.severity, suspicion.severity, evidence.lowers_to)
    place, library = suspicion.place, suspicion.library
    return Finding(
        code=rule.code,
        name=rule.name,
        severity=min(each for each in severities if each is not None),
        message=suspicion.message + (f" (in {library.in_package}:{library.line})" if library else ""),
        module=suspicion.module,
        path=place.path if place else None,
        line=place.line if place else None,
        column=place.column if place else None,
        fix=suspicion.fix,
        evidence=evidence,
        docs=rule.docs,
    )
