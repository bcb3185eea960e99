"""Results of earlier scans: taken only where nothing changed, and never in the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcheck import scanning
from regcheck.cli.main import main
from regcheck.scanning import scan
from regcheck.source import cache

NET = """import torch.nn.functional as F
from torch import nn
class Net(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A faulty file, beside an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "code").mkdir()
    path = tmp_path / "code" / "net.py"
    path.write_text(NET)
    return path


def never(*_: object) -> cache.Result:
    """Stand for a scan that should not happen."""
    raise AssertionError("scanned anew")


def test_the_same_files_are_not_scanned_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second scan of the same files gives the same report without reading a class."""
    (file.parent / "broken.py").write_text("import torch  # .eval()\nclass (\n")
    first = scan([file.parent], cached=True)
    monkeypatch.setattr(scanning, "found", never)
    second = scan([file.parent], cached=True)
    assert second.to_json() == first.to_json()
    assert [each.line for each in second.findings] == [5] and len(second.not_checked) == 1


@pytest.mark.parametrize("change", ["content", "a file more", "the package", "the rules", "the place", "not cached"])
def test_whatever_a_scan_depends_on_makes_it_anew(file: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """A change of the files, their names, the rules or the working directory, or no wish for it, is a new scan."""
    scan([file], cached=True)
    paths, options = [file], {}
    if change == "content":
        file.write_text(NET.replace("0.5", "0.4"))
    elif change == "a file more":
        paths = [file, file.parent / "more.py"]
        paths[1].write_text("import torch\n")
    elif change == "the package":
        (file.parent / "__init__.py").write_text("")
    elif change == "the rules":
        options = {"select": ["REG2"]}
    elif change == "the place":
        monkeypatch.chdir(file.parent)
    monkeypatch.setattr(scanning, "found", never)
    with pytest.raises(AssertionError, match="anew"):
        scan(paths, options, cached=change != "not cached")


def test_silencing_is_judged_after_the_cache(file: Path) -> None:
    """Options that choose what to show of the findings act on a kept result, too."""
    assert len(scan([file], cached=True).findings) == 1
    assert scan([file], {"per-file-ignores": {"net.py": ["REG202"]}}, cached=True).findings == ()


@pytest.mark.parametrize("damage", ["", "{}", "[[{}], []]", '[[], [{"nonsense": 1}]]', "\0"])
def test_a_damaged_result_is_made_anew(file: Path, damage: str) -> None:
    """What cannot be read is not there."""
    first = scan([file], cached=True)
    (kept,) = cache.folder().iterdir()
    kept.write_text(damage)
    assert scan([file], cached=True).to_json() == first.to_json()
    assert kept.read_text() != damage


def test_a_cache_that_cannot_be_written_stops_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no cache the scan does without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert len(scan([file], cached=True).findings) == 1


def test_only_so_many_results_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest results go."""
    monkeypatch.setattr(cache, "KEPT", 3)
    for rate in range(6):
        file.write_text(NET.replace("0.5", f"0.{rate}"))
        scan([file], cached=True)
    assert len([*cache.folder().iterdir()]) == 3


def test_the_command_keeps_results_unless_told_not_to(file: Path) -> None:
    """`--no-cache` leaves nothing behind; without it a result is kept."""
    assert main(["scan", str(file), "--no-cache", "--output-format=concise"]) == 1
    assert not cache.folder().exists()
    assert main(["scan", str(file), "--output-format=concise"]) == 1
    assert len([*cache.folder().iterdir()]) == 1
