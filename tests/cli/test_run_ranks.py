"""`regcheck run` under `torchrun`: the ranks of one program have one report, and none ends before it is out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.core.finding import Evidence, Finding, Severity, Verdict
from regcheck.core.report import Report
from regcheck.session.rank_reports import Launch, joined

TRAIN = """\
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(16, 64), nn.Linear(64, 4)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x).relu(), 0.3))


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x), 0.2))


dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(rank)
net = nn.parallel.DistributedDataParallel(Net())
optimizer = torch.optim.SGD(net.parameters(), 0.1)
for _ in range(2):
    optimizer.zero_grad()
    net(torch.randn(8, 16)).square().mean().backward()
    optimizer.step()
dist.barrier()
if rank == 1:
    time.sleep(2)
    Critic()(torch.randn(8, 16)).mean().backward()
    print("rank 1 has finished", flush=True)
dist.destroy_process_group()
"""


def test_ranks_have_one_report(tmp_path: Path) -> None:
    """A finding of all ranks is there once, one of a single rank names it, and the faster rank waits for the slower."""
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [
        *launcher,
        "-m",
        "regcheck",
        "run",
        "--output-format",
        "json",
        "--output-file",
        "report.json",
        "train.py",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "rank 1 has finished" in done.stdout
    findings = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert [(each["code"], each["line"], each["evidence"]["verdict"]) for each in findings] == [
        ("REG202", 16, "confirmed"),
        ("REG202", 25, "confirmed"),
    ]
    assert ["; on rank 1 of 2" in each["evidence"]["because"] for each in findings] == [False, True]


def test_a_rank_without_a_report_is_not_checked() -> None:
    """The joined report names ranks that sent none, so that it does not pass for the report of all."""
    evidence = Evidence(Verdict.CONFIRMED, because="it was measured")
    finding = Finding("REG202", "n", Severity.ERROR, "m", "head", "net.py", 3, 1, "", evidence, "")
    report = joined({0: Report(), 2: Report((finding,)), 3: Report((finding,))}, 5)
    assert report.findings[0].evidence.because == "it was measured; on ranks 2 and 3 of 5"
    assert [(each.subject, each.reason) for each in report.not_checked] == [("ranks 1 and 4", "sent no report")]


@pytest.mark.parametrize("changed", [{"TORCHELASTIC_USE_AGENT_STORE": "False"}, {"WORLD_SIZE": "1"}, {"RANK": ""}])
def test_only_torchrun_launches_ranks_that_report_together(changed: dict[str, str]) -> None:
    """A process that is alone, or whose launcher has no store that outlives the program, reports for itself."""
    environment = {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RUN_ID": "job",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "RANK": "1",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "host",
        "MASTER_PORT": "29500",
    }
    assert Launch.of(environment) == Launch(1, 2, "host", 29500, "job/0")
    assert Launch.of({**environment, **changed}) is None
