"""The text of examined files."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest

from regcheck.files.text import overlay, text_of


@pytest.mark.parametrize("entry", [(5, None, ["old\n"], "net.py"), (lambda: "old\n",)], ids=["loaded", "to be loaded"])
def test_the_disk_counts_also_where_a_loader_gave_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: tuple[object, ...]
) -> None:
    """Lines that an import left for tracebacks, with no time, do not hide what the file says now."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("new\n", encoding="utf-8")
    monkeypatch.setitem(linecache.cache, str(tmp_path / "net.py"), entry)  # type: ignore[arg-type]
    assert text_of("net.py") == "new\n"


def test_a_relative_path_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same name elsewhere on `sys.path`, which was asked for before, does not stand for it."""
    for name in ("elsewhere", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "net.py").write_text("elsewhere\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "here")
    text_of("net.py")
    Path("net.py").write_text("here\n", encoding="utf-8")
    assert text_of("net.py") == "here\n"


def test_an_overlay_counts_in_its_block(tmp_path: Path) -> None:
    """Inside the block the text is that of the overlay, after it that of the disk."""
    file = tmp_path / "net.py"
    file.write_text("disk\n", encoding="utf-8")
    with overlay({str(file): b"overlay\r\n"}):
        assert text_of(str(file)) == "overlay\n"
    assert text_of(str(file)) == "disk\n"
