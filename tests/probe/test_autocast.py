"""Captured calls are measured as they ran: under autocast where that was on, and on the devices in use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from regcheck import watch
from regcheck.runtime.captures import Captures

TESTS = Path(__file__).parent.parent


class Half(nn.Module):
    """A model that only runs under autocast, and drops in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.dropout(self.layer(x), 0.5)
        assert y.dtype is torch.bfloat16
        return y


def test_a_capture_remembers_autocast() -> None:
    """The kinds of device for which autocast was on are kept with the call, and others are not."""
    kept = Captures()
    model = Half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept.note_returned(kept.add(model, (torch.ones(1, 64),), {}, "key", True))
    kept.note_returned(kept.add(model, (torch.ones(1, 64),), {}, "key", True))
    assert [each.autocast for each in kept.completed().values()] == [(("cpu", torch.bfloat16),), ()]


def test_a_watched_call_is_measured_under_its_autocast() -> None:
    """A model that ran under autocast is proved under it after the block, and autocast is off again then."""
    model = Half().eval()
    with watch({"devices": ["cpu"]}) as seen, torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        model(torch.randn(4, 64))
    found = [(each.code, each.evidence and each.evidence.verdict.value) for each in seen.report.findings]
    assert found == [("REG202", "confirmed")]
    assert not torch.is_autocast_enabled("cpu")


UNUSED = """
import sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
import torch
from torch import nn
from regcheck import audit, watch
from regcheck.tracing import accelerators

asked = []


def unused():
    asked.append(1)
    return 1


# An accelerator that this torch is built for, which tells whether it is initialized, and is not.
accelerators._built_for = lambda: SimpleNamespace(is_initialized=lambda: False)
accelerators.kind = unused
with watch() as seen:
    nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5)).eval()(torch.randn(2, 8))
assert not seen.report.not_checked, seen.report
print(asked, seen.report.devices)
"""


def test_an_accelerator_that_a_watched_program_does_not_use_is_not_asked_for() -> None:
    """Where none is initialized, a watched program is measured on the CPU, and nobody asks what devices there are."""
    ran = subprocess.run([sys.executable, "-c", UNUSED, str(TESTS)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "[] ('cpu',)\n"
