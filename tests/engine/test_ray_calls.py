"""Audits on a Ray cluster: the report of one process, though a worker is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from regcheck.cli.main import main

MODELS = """
import os
import signal
from pathlib import Path

import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(F.dropout(x, 0.5))


class Sound(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)


class KillsItsWorkerOnce(Sound):
    def __init__(self):
        super().__init__()
        if "WORKER" in os.environ and not Path("killed").exists():
            Path("killed").touch()
            server = Path(f"/proc/{os.getppid()}/stat").read_text()
            os.kill(int(server.rpartition(")")[2].split()[1]), signal.SIGKILL)
            signal.pause()


class Exits(Sound):
    def forward(self, x):
        os._exit(3)


class Other1(Sound): ...
class Other2(Sound): ...
class Other3(Sound): ...
"""

DRIVER = """
import os
import sys
from ray.cluster_utils import Cluster
from regcheck.cli.main import main

os.environ["WORKER"] = "1"
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 2 * 10**9})
cluster.add_node(num_cpus=1, memory=2 * 10**9)
arguments = ["zoo.py:*", "--cluster", cluster.address, "--output-format", "json"]
assert main(["audit", *arguments, "--memory", "3", "--output-file", "none.json"]) == 2
code = main(["audit", *arguments, "--memory", "2", "--resume", "results.jsonl", "--output-file", "cluster.json"])
cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.skipif("sys.platform != 'linux'", reason="kills the worker that it finds in /proc")
def test_a_killed_worker_loses_nothing_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two nodes report what one machine does, each model once, though SIGKILL ends a worker in the middle."""
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.chdir(tmp_path)
    Path("zoo.py").write_text(MODELS, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, timeout=280)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no node has 3 GB" in done.stderr and not Path("none.json").exists()
    assert Path("killed").exists()
    assert main(["audit", "zoo.py:*", "--jobs", "2", "--memory", "2", "--output-format", "json"]) == 1
    assert json.loads(Path("cluster.json").read_text(encoding="utf-8")) == json.loads(capsys.readouterr().out)
    entries = map(json.loads, Path("results.jsonl").read_text(encoding="utf-8").splitlines()[1:])
    targets = [each["target"] for each in entries]
    assert sorted(targets) == [f"zoo.py:{name}" for name in "KillsItsWorkerOnce Net Other1 Other2 Other3 Sound".split()]


def test_without_ray_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing extra is wrong usage, with the command that installs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    Path("zoo.py").write_text(MODELS, encoding="utf-8")
    assert main(["audit", "zoo.py:Net", "--cluster", "local"]) == 2
    assert "pip install 'regcheck[ray]'" in capsys.readouterr().err
