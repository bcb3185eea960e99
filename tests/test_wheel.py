"""What ships: the wheel, built and installed into a clean environment without torch."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from regcheck.core.version import __version__

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    (file,) = folder.glob("*.whl")
    return file


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


def test_the_installed_wheel_scans_without_torch(wheel: Path, tmp_path: Path) -> None:
    """In a clean environment the command is there, works, and does not bring torch along."""
    venv.create(tmp_path / "env", with_pip=True)
    bin = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([bin / "python", "-m", "pip", "install", "--quiet", wheel], check=True, capture_output=True)
    (tmp_path / "net.py").write_text("import torch.nn.functional as F\n", encoding="utf-8")
    done = subprocess.run([bin / "regcheck", "scan", "net.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    missing = subprocess.run([bin / "python", "-c", "import torch"], capture_output=True)
    assert missing.returncode == 1
