"""A measurement that one device confirms and another refutes.

## What it finds

A suspicion of another rule that was measured on several devices (`--device cpu,cuda`, or `auto` with an accelerator),
confirmed on one of them and refuted on another: dropout that acts in eval mode on one device only, masks with another
rate there, statistics that leak between samples in one backend's kernel. Suspicions come from a run on the model's own
device, so a defect that does not show there is not compared.

## Why it matters

Either the model takes another path on that device, or one backend computes a different result. A test on a CPU then
says nothing about the GPU.

## How it is confirmed

The same measurement ran on copies of the model on each device, with the same seed, inputs and α. Masks differ between
devices by design, and so does rounding (TF32, sums in any order), so the comparison uses verdicts, never values; a
device without a measurement does not count. The evidence has both figures: that of the differing device as measured,
the other as expected.

## When to keep the code

If a model acts differently there on purpose, for example with a kernel that only one device has: ignore the line, with
the reason. `regcheck selftest` shows whether the backend itself is wrong.

## References

PyTorch documentation, "Reproducibility": results may differ between CPU and GPU, even with identical seeds.
"""

from __future__ import annotations

from collections.abc import Iterator

from regcheck.core.device_evidence import EvidenceByDevice, Proofs
from regcheck.core.finding import Evidence, Severity, Suspicion, Verdict
from regcheck.core.rule import Example

CODE = "REG905"
SEVERITY = Severity.WARNING
SINCE = "1.0"


def check(proofs: Proofs) -> Iterator[Suspicion]:
    for proof in proofs.proofs:
        by_verdict = {each.verdict: each for each in reversed(proof.evidence)}
        if Verdict.CONFIRMED in by_verdict and Verdict.REFUTED in by_verdict:
            confirmed, refuted = by_verdict[Verdict.CONFIRMED], by_verdict[Verdict.REFUTED]
            yield Suspicion(
                proof.suspicion.at,
                f"{proof.code} is confirmed on {confirmed.device} and refuted on {refuted.device}",
                fix="look for code that depends on the device; `regcheck selftest` checks the backend",
                evidence=between(confirmed, refuted, proof),
            )


def between(confirmed: Evidence, refuted: Evidence, proof: EvidenceByDevice) -> Evidence:
    """Both devices' evidence as one: the figure of the device measured first is the expected one."""
    first, other = sorted((confirmed, refuted), key=proof.evidence.index)
    return Evidence(
        Verdict.CONFIRMED,
        measured=other.measured,
        expected=first.measured,
        statistic=first.statistic,
        alpha=confirmed.alpha,
        samples=first.samples,
        device=f"{first.device}, {other.device}",
        seed=first.seed,
        because=f"on {first.device}: {first.because}; on {other.device}: {other.because}",
        effect=confirmed.effect,
    )


BAD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.hidden(x)
        on_cpu = x.device.type == "cpu"
        return self.head(F.dropout(x, 0.5, self.training or on_cpu))  # <-


model, inputs = Net(), (torch.randn(8, 16),)
measured = {"cpu": "confirmed", "cuda": "refuted"}
"""),
)

GOOD = (
    Example("""\
import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x), 0.5))


model, inputs = Net(), (torch.randn(8, 16),)
measured = {"cpu": "confirmed", "cuda": "confirmed", "mps": "unmeasured"}
"""),
)
