"""Suspicions, the evidence a measurement gave for them, and the findings that result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field, replace
from enum import Enum
from functools import total_ordering
from importlib import import_module
from math import isfinite
from typing import Any

from regcheck.files.escape import visible
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .graph import Op
from .patch import Patch
from .usage import Event

Key = tuple[str, str | None, int | None, str]
"""Identifies a defect: code, path, line, and what distinguishes it from others that share these."""


@total_ordering
class Severity(Enum):
    """How much a finding matters: wrong predictions, weaker regularization, or advice."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Severity):
            return NotImplemented
        order = list(Severity)
        return order.index(self) < order.index(other)


class Verdict(Enum):
    """The outcome of measuring a suspicion."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True)
class Suspicion:
    """A defect that a rule infers from the graph or the usage alone: where, what is wrong, and what to do about it.

    Suspicions of one rule at one place with one message are merged: `ops` then holds every op concerned. A rule that
    reads the evidence of other rules passes its own `evidence` at once. A `tentative` suspicion becomes a finding only
    if a measurement confirms it. An `undecided` one holds only if that op keeps the axes of what it is given, or if
    outputs depend on the branch that it stands for, which the graph does not show: it becomes no finding, but is listed
    as not checked.
    """

    at: Op | Event
    message: str
    fix: str = ""
    ops: tuple[Op, ...] = ()
    severity: Severity | None = None
    evidence: Evidence | None = None
    tentative: bool = False
    undecided: Op | None = None

    @property
    def op(self) -> Op:
        if not isinstance(self.at, Op):
            raise TypeError("this suspicion is about an event, not about an op of a graph")
        return self.at

    @property
    def event(self) -> Event:
        if isinstance(self.at, Op):
            raise TypeError("this suspicion is about an op of a graph, not about an event")
        return self.at

    @property
    def place(self) -> Place | None:
        return self.at.place

    @property
    def library(self) -> Place | None:
        """The line of an installed library to which `place` leads, where the event happens there."""
        return None if isinstance(self.at, Op) else self.at.library

    @property
    def module(self) -> str:
        if isinstance(self.at, Op):
            more = len({op.module for op in self.ops}) - 1
            return self.at.module + (f" (and {more} more)" if more > 0 else "")
        subject = getattr(self.at, "model", None) or getattr(self.at, "optimizer", None)
        return subject.name if subject else ""


@dataclass(frozen=True)
class Effect:
    """How large a measured effect is. A larger `value` is always more harmful.

    The `value` counts in the `unit`; a unit that begins with "of" is that of a share, so 0.85 "of the units" is 85 % of
    the units. From `material_from` on the effect is material; 0 says that any effect is. The value is None where it is
    not finite, as where an output changes its shape.
    """

    name: str
    value: float | None
    unit: str
    material_from: float = 0.0

    def __post_init__(self) -> None:
        if self.value is not None and not isfinite(self.value):
            object.__setattr__(self, "value", None)


@dataclass(frozen=True)
class Evidence:
    """The outcome of a measurement on one device.

    `effect` is the size of the effect. `measured` and `expected` are the measured figure and the one that the reference
    predicts; `statistic` names the figure and the test. `alpha` bounds the probability that the verdict `confirmed` is
    a false alarm, and that `refuted` overlooks the effect that the rule claims: where the samples cannot decide, the
    verdict is `unmeasured`. `samples` counts the independent samples of the test. `because` is the one sentence that a
    reader needs. Evidence may lower the severity of its finding (`lowers_to`), never raise it.
    """

    verdict: Verdict
    measured: float | None = None
    expected: float | None = None
    statistic: str = ""
    alpha: float | None = None
    samples: int | None = None
    device: str = ""
    seed: int | None = None
    because: str = ""
    effect: Effect | None = None
    lowers_to: Severity | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _make_visible(self, "statistic", "because")

    def to_dict(self) -> dict[str, Any]:
        document = asdict(self)
        del document["lowers_to"]
        for name in ("measured", "expected"):
            figure = document[name]
            document[name] = figure if figure is not None and isfinite(figure) else None
        return {**document, "verdict": self.verdict.value}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Evidence:
        """Rebuild evidence from `to_dict`."""
        effect = document.get("effect")
        verdict = Verdict(document["verdict"])
        return cls(**{**document, "verdict": verdict, "effect": Effect(**effect) if effect else None})


@dataclass(frozen=True)
class Finding:
    """One defect, with its evidence. `line` and `column` count from 1; None where the source is not known.

    In a notebook they count within the code cell number `cell`. `fix` is advice; `patch`, if any, holds edits that
    follow it.
    """

    code: str
    name: str
    severity: Severity
    message: str
    module: str
    path: str | None
    line: int | None
    column: int | None
    fix: str
    evidence: Evidence
    docs: str
    cell: int | None = None
    patch: Patch | None = None

    def __post_init__(self) -> None:
        _make_visible(self, "message", "module", "fix")

    def __repr__(self) -> str:
        return (
            f"<Finding {self.code} {self.name} at {self.where}: {self.severity.value}, {self.evidence.verdict.value}>"
        )

    def _repr_html_(self) -> str | None:
        """The card that a notebook displays; None without Jinja2, so that it displays the `repr`."""
        card: str | None = import_module("regcheck.report.display").html_of(self)
        return card

    @property
    def key(self) -> Key:
        """Equal for two findings of the same defect, wherever and however often it was seen."""
        within = f"{self.module}: {self.message}" if self.path is None else f"cell {self.cell}" if self.cell else ""
        return self.code, self.path, self.line, within

    @property
    def is_confirmed(self) -> bool:
        """Whether a measurement confirmed it."""
        return self.evidence.verdict is Verdict.CONFIRMED

    @property
    def module_path(self) -> str:
        """The path of the first module concerned, without the count of the others."""
        return self.module.split(" (")[0]

    @property
    def title(self) -> str:
        """Code and name, marked `(info)` where the finding is advice."""
        return f"{self.code} {self.name}" + (" (info)" if self.severity is Severity.INFO else "")

    @property
    def where(self) -> str:
        """The finding's position as `path:line:column`, or the module's path where there is no source."""
        cell = f"cell {self.cell}:" if self.cell else ""
        return f"{visible(self.path)}:{cell}{self.line}:{self.column}" if self.path else f"<{self.module or 'model'}>"

    def to_dict(self) -> dict[str, Any]:
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        patch = asdict(self.patch) if self.patch else None
        return {**document, "severity": self.severity.value, "evidence": self.evidence.to_dict(), "patch": patch}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Finding:
        """Rebuild a finding from `to_dict`."""
        patch = document.get("patch")
        return cls(
            **{
                **document,
                "severity": Severity(document["severity"]),
                "evidence": Evidence.from_dict(document["evidence"]),
                "patch": Patch.from_dict(patch) if patch else None,
            }
        )

    def at(self, path: str | None) -> Finding:
        """The same finding with its path written as `path`."""
        return replace(self, path=path)


@dataclass(frozen=True)
class RuleFindings:
    """What one rule finds in a graph or a usage: findings, and questions that it leaves undecided."""

    findings: tuple[Finding, ...] = ()
    undecided: tuple[Finding, ...] = ()


FindingsByRule = Mapping[str, RuleFindings]
"""What the rules find in a graph or a usage, by code; rules that find nothing are left out."""


@dataclass(frozen=True)
class NotChecked:
    """Something that regcheck could not trace or measure: it never counts as clean."""

    subject: str
    reason: str
    what_to_do: str = ""
    path: str | None = None
    line: int | None = None

    def __post_init__(self) -> None:
        _make_visible(self, "subject", "reason", "what_to_do")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _make_visible(value: object, *names: str) -> None:
    """Escape texts for display, once for every format; a path keeps its name in the file system."""
    for name in names:
        text = getattr(value, name)
        if not text.isprintable() or "#" in text or ":" in text:
            object.__setattr__(value, name, visible(text))
