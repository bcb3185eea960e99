"""The hook as its users get it: installed by pre-commit itself, from this repository, and run by `git commit`."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BAD = """\
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(16, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        return self.head(F.dropout(self.hidden(x)))
"""
GOOD = BAD.replace("(x)))", "(x), training=self.training))")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="pre-commit installs hooks from a git repository only")
def test_the_hook_installs_without_torch_and_blocks_a_bad_commit(tmp_path: Path) -> None:
    """Installed from nothing the hook brings no torch along, stops a faulty commit, and lets the mended one pass."""
    venv.create(tmp_path / "env", with_pip=True)
    bin = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([bin / "python", "-m", "pip", "install", "--quiet", "pre-commit"], check=True, capture_output=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
    environment = {
        **inherited,
        "PATH": os.pathsep.join((str(bin), os.environ["PATH"])),
        "PRE_COMMIT_HOME": str(tmp_path / "hooks"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    project = tmp_path / "project"
    project.mkdir()

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)

    def committed(text: str) -> subprocess.CompletedProcess[str]:
        (project / "net.py").write_text(text, encoding="utf-8")
        run("git", "add", ".")
        return run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-m", "A model")

    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    (project / ".pre-commit-config.yaml").write_text(
        f"repos:\n  - repo: {ROOT.as_uri()}\n    rev: {revision.stdout.strip()}\n    hooks:\n      - id: regcheck\n",
        encoding="utf-8",
    )
    assert run("git", "init", "--quiet").returncode == 0
    assert run("pre-commit", "install").returncode == 0

    blocked = committed(BAD)
    assert blocked.returncode == 1
    assert "net.py:12:26 REG202 dropout-ignores-mode" in blocked.stdout + blocked.stderr
    assert run("git", "rev-parse", "HEAD").returncode != 0, "nothing was committed"

    passed = committed(GOOD)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "Passed" in passed.stdout + passed.stderr
    assert run("git", "rev-parse", "HEAD").returncode == 0

    installed = {each.name.partition("-")[0] for each in (tmp_path / "hooks").rglob("*.dist-info")}
    assert {"regcheck", "pluggy", "rich"} <= installed
    assert "torch" not in installed
