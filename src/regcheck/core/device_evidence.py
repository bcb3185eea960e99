"""The evidence of each device for the suspicions about one subject, for rules that compare devices."""

from __future__ import annotations

from regcheck.lazy_dataclass import dataclass

from .finding import Evidence, Suspicion


@dataclass(frozen=True)
class EvidenceByDevice:
    """A suspicion of the rule with this code, and the evidence of each device."""

    code: str
    suspicion: Suspicion
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Proofs:
    """All measurements of one subject."""

    subject: str
    proofs: tuple[EvidenceByDevice, ...] = ()
