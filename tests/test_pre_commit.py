"""The hook as its users get it: installed by pre-commit itself, from this repository, and run by `git commit`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
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


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process that finds pre-commit, which installs its hooks into folders of its own."""
    if not (ROOT / ".git").exists():
        pytest.skip("pre-commit installs hooks from a git repository only")
    folder = tmp_path_factory.mktemp("pre-commit")
    venv.create(folder / "env", with_pip=True)
    bin = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([bin / "python", "-m", "pip", "install", "--quiet", "pre-commit"], check=True, capture_output=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON"))}
    return {
        **inherited,
        "PATH": os.pathsep.join((str(bin), os.environ["PATH"])),
        "PRE_COMMIT_HOME": str(folder / "hooks"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@dataclass
class Repository:
    """A git repository whose pre-commit configuration names the hook."""

    folder: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        hook = f"- repo: {ROOT.as_uri()}\n    rev: {revision.stdout.strip()}\n    hooks:\n      - id: regcheck"
        (self.folder / ".pre-commit-config.yaml").write_text(f"repos:\n  {hook}\n", encoding="utf-8")
        assert self.run("git", "init", "--quiet").returncode == 0

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)


def test_the_hook_installs_without_torch_and_blocks_a_bad_commit(tmp_path: Path, environment: dict[str, str]) -> None:
    """Installed from nothing the hook brings no torch along, stops a faulty commit, and lets the mended one pass."""
    repository = Repository(tmp_path, environment)
    assert repository.run("pre-commit", "install").returncode == 0

    def committed(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "net.py").write_text(text, encoding="utf-8")
        repository.run("git", "add", ".")
        return repository.run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-m", "A model")

    blocked = committed(BAD)
    assert blocked.returncode == 1
    assert "net.py:12:26 error REG202 dropout-ignores-mode" in blocked.stdout + blocked.stderr
    assert repository.run("git", "rev-parse", "HEAD").returncode != 0, "nothing was committed"

    passed = committed(GOOD)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "Passed" in passed.stdout + passed.stderr
    assert repository.run("git", "rev-parse", "HEAD").returncode == 0

    installed = {each.name.partition("-")[0] for each in Path(environment["PRE_COMMIT_HOME"]).rglob("*.dist-info")}
    assert {"regcheck", "pluggy", "rich"} <= installed
    assert "torch" not in installed


def test_the_hook_finds_in_a_project_what_a_scan_finds(tmp_path: Path, environment: dict[str, str]) -> None:
    """pre-commit names the files of a whole project, in one process, and the report is that of a scan of the folder.

    The copies of one file are more than pre-commit passes to one of several processes.
    """
    shutil.copytree(ROOT / "fixtures" / "projects" / "quickstart", tmp_path, dirs_exist_ok=True)
    for number in range(40):
        (tmp_path / f"unused_{number}.py").write_text(GOOD, encoding="utf-8")
    repository = Repository(tmp_path, environment)
    repository.run("git", "add", ".")
    hook = repository.run("pre-commit", "run", "--all-files", "--verbose")
    scan = subprocess.run([sys.executable, "-m", "regcheck", "scan"], cwd=tmp_path, capture_output=True, text=True)
    findings = [line for line in scan.stdout.splitlines() if re.search(r" REG\d+ ", line)]
    assert findings
    assert [line for line in hook.stdout.splitlines() if re.search(r" REG\d+ ", line)] == findings
