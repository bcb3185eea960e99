"""Files are written completely or not at all, and keep permissions, links and devices."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from regcheck.files.atomic_write import write_atomically


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_is_replaced_with_its_permissions(tmp_path: Path) -> None:
    """The new content has the old file's mode; a reader with the old file open continues to read it."""
    file = tmp_path / "report"
    file.write_bytes(b"old")
    file.chmod(0o640)
    with file.open("rb") as reading:
        write_atomically(file, b"new")
        assert reading.read() == b"old"
    assert file.read_bytes() == b"new" and file.stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["report"]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    """A new file has the permissions that `open` gives."""
    write_atomically(tmp_path / "new", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link(tmp_path: Path, there: bool) -> None:
    """The target of a symbolic link is written, whether it existed or not."""
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert names(tmp_path / "elsewhere") == ["file"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    """A named pipe stays one, and its reader gets the content."""
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", b"new")
    reader.join()
    assert found == [b"new"] and names(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="there is no such device here")
@pytest.mark.parametrize("redirected", [True, False])
def test_standard_output_by_its_name_is_written_to(tmp_path: Path, redirected: bool) -> None:
    """`--output-file /dev/stdout` writes there, also where a shell has redirected it to a file."""
    (tmp_path / "a.py").write_text("import torch\n")
    command = [sys.executable, "-m", "regcheck", "scan", "--no-cache", "a.py", "--output-file=/dev/stdout"]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(command, cwd=tmp_path, stdout=out if redirected else subprocess.PIPE)
    text = (tmp_path / "out").read_bytes() if redirected else done.stdout
    assert done.returncode == 0 and b"0 findings" in text


@pytest.mark.parametrize("option", ["--output-file", "--html"])
def test_a_report_that_cannot_be_written_leaves_the_last_one(tmp_path: Path, option: str) -> None:
    """If the disk is full the old report is still there, and no temporary file."""
    (tmp_path / "a.py").write_text("import torch\n")
    (tmp_path / "report").write_bytes(b"old")
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (9, 9)); from regcheck.cli.main import main;"
        f" raise SystemExit(main(['scan', '--no-cache', 'a.py', '{option}=report']))"
    )
    done = subprocess.run([sys.executable, "-c", full], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and os.strerror(errno.EFBIG) in done.stderr
    assert (tmp_path / "report").read_bytes() == b"old" and names(tmp_path) == ["a.py", "report"]
