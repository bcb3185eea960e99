"""Results of earlier scans: taken only where nothing changed, and never in the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regcheck.cli.main import main
from regcheck.engine import scan as scan_module
from regcheck.engine.scan import scan
from regcheck.files.user_cache import UserCache
from regcheck.static.project import result_cache

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


def never(*_: object, **__: object) -> result_cache.Result:
    """Stand for a scan that should not happen."""
    raise AssertionError("scanned anew")


def test_the_same_files_are_not_scanned_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second scan of the same files gives the same report without reading a class."""
    (file.parent / "broken.py").write_text("import torch  # .eval()\nclass (\n")
    first = scan([file.parent], cached=True)
    monkeypatch.setattr(scan_module, "fresh_result", never)
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
    monkeypatch.setattr(scan_module, "fresh_result", never)
    with pytest.raises(AssertionError, match="anew"):
        scan(paths, options, cached=change != "not cached")


def test_silencing_is_judged_after_the_cache(file: Path) -> None:
    """Options that choose what to show of the findings act on a kept result, too."""
    assert len(scan([file], cached=True).findings) == 1
    assert scan([file], {"per-file-ignores": {"net.py": ["REG202"]}}, cached=True).findings == ()


@pytest.mark.parametrize(
    "damaged",
    [
        lambda text: "",
        lambda text: "[[], [], []]",
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text + " ",
        lambda text: text.replace("error", "info"),
        lambda text: text.partition("\n")[0] + "\n[[], [], []]",
        lambda text: "\n" + text.partition("\n")[2],
        lambda text: "\0",
        lambda text: "[" * 100_000,
    ],
    ids="emptied empty cut half longer edited replaced unsigned null deep".split(),
)
def test_a_damaged_result_is_made_anew(file: Path, damaged: Callable[[str], str]) -> None:
    """A result that is not to the byte what was kept is never believed, and is kept anew."""
    first = scan([file], cached=True)
    (kept,) = result_cache.CACHE.folder.iterdir()
    whole = kept.read_text()
    assert damaged(whole) != whole
    kept.write_text(damaged(whole))
    assert scan([file], cached=True).to_json() == first.to_json()
    assert kept.read_text() == whole


def test_the_result_of_another_scan_is_not_believed(file: Path) -> None:
    """A result that was kept under another name, as that of other files is, is not taken for this one."""
    clean = file.with_name("clean.py")
    clean.write_text(NET.replace("0.5", "0.5, self.training"))
    assert scan([clean], cached=True).findings == ()
    (other,) = result_cache.CACHE.folder.iterdir()
    scan([file], cached=True)
    (kept,) = {*result_cache.CACHE.folder.iterdir()} - {other}
    kept.write_bytes(other.read_bytes())
    assert len(scan([file], cached=True).findings) == 1


def test_scans_at_the_same_time_keep_whole_results(file: Path) -> None:
    """Scans of the same files in several processes leave one whole result, and nothing unfinished."""
    command = [sys.executable, "-m", "regcheck", "scan", "--output-format=concise", str(file)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = {each.communicate()[0] for each in running}
    assert len(outputs) == 1 and b"REG202" in outputs.pop()
    (kept,) = result_cache.CACHE.folder.iterdir()
    assert result_cache.load(kept.stem) is not None


def test_a_cache_that_cannot_be_written_stops_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be no cache the scan does without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert len(scan([file], cached=True).findings) == 1


def test_only_so_many_results_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest results go."""
    monkeypatch.setattr(result_cache, "CACHE", UserCache("scans", most=3))
    for rate in range(6):
        file.write_text(NET.replace("0.5", f"0.{rate}"))
        scan([file], cached=True)
    assert len([*result_cache.CACHE.folder.iterdir()]) == 3


def test_the_command_keeps_results_unless_told_not_to(file: Path) -> None:
    """`--no-cache` leaves nothing behind; without it a result is kept."""
    assert main(["scan", str(file), "--no-cache", "--output-format=concise"]) == 1
    assert not result_cache.CACHE.folder.exists()
    assert main(["scan", str(file), "--output-format=concise"]) == 1
    assert len([*result_cache.CACHE.folder.iterdir()]) == 1
