"""What ships: the archives, and the wheel in clean environments without torch, of each Python that is there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from regcheck.core.version import __version__

ROOT = Path(__file__).parent.parent
FAULTY = """\
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return self.head(torch.nn.functional.dropout(x))
"""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source archive of this checkout, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("archives")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> Path:
    """The wheel of this checkout."""
    (file,) = archives.glob("*.whl")
    return file


def test_the_source_archive_has_all_that_the_tests_need(archives: Path) -> None:
    """Every file under version control is in it, so that a distribution can build it and run its tests."""
    (file,) = archives.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert {name for name in tracked.stdout.splitlines() if (ROOT / name).is_file()} <= names


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of `src/regcheck`, the typing marker and the schema among them, is in the wheel; no test is."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "src"
    there = {
        file.relative_to(source).as_posix()
        for file in source.rglob("*")
        if file.suffix in (".py", ".json", ".typed", ".jinja", ".css", ".js")
    }
    assert names == there
    assert "regcheck/py.typed" in names
    assert "regcheck/report/schema.json" in names
    assert wheel.name == f"regcheck-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize("python", ["python3.10", "python3.11", "python3.12", "python3.13", "python3.14"])
def test_the_installed_wheel_scans_without_torch(wheel: Path, tmp_path: Path, python: str) -> None:
    """In a clean environment the command is there, finds a fault, and does not bring torch along."""
    works = shutil.which(python) and subprocess.run([python, "-c", "import venv"], capture_output=True).returncode == 0
    if not works:
        pytest.skip(f"no {python} here")
    subprocess.run([python, "-m", "venv", tmp_path / "env"], check=True, capture_output=True)
    bin = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([bin / "python", "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    (tmp_path / "net.py").write_text(FAULTY, encoding="utf-8")
    done = subprocess.run([bin / "regcheck", "scan", "net.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "net.py:4:" in done.stdout and "REG202" in done.stdout
    missing = subprocess.run([bin / "python", "-c", "import torch"], capture_output=True)
    assert missing.returncode == 1
