"""Which files are read, and what is said of those that cannot be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from regcheck.core.errors import UsageError
from regcheck.core.finding import NotChecked
from regcheck.static.project.discovery import parse, python_files, read


def write(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("import torch\n")


def found(folder: Path, *exclude: str) -> list[str]:
    return [str(each.relative_to(folder)) for each in python_files([folder], exclude)]


def test_a_folder_is_read_without_what_is_hidden_installed_or_generated(tmp_path: Path) -> None:
    """Hidden folders, environments, builds and other kinds of file are skipped; the order is fixed."""
    write(tmp_path, "b.py", "a.py", "pkg/c.py", "notes.txt", ".hidden.py", ".git/x.py", "build/x.py", "venv/x.py")
    write(tmp_path, "node_modules/x.py", "mine/x.py", "x.egg-info/x.py", "__pycache__/x.py")
    (tmp_path / "mine" / "pyvenv.cfg").write_text("")
    assert found(tmp_path) == ["a.py", "b.py", "pkg/c.py"]


@pytest.mark.parametrize("glob", ["pkg", "pkg/", "pkg/*", "*/c.py", "c.py"])
def test_excluded_files_are_skipped(tmp_path: Path, glob: str) -> None:
    """An `exclude` glob takes out a file or a folder, wherever the scan began."""
    write(tmp_path, "a.py", "pkg/c.py")
    assert found(tmp_path, glob) == ["a.py"]


def test_a_named_file_is_always_read_and_only_once(tmp_path: Path) -> None:
    """A path that is named is taken even where a folder would skip it, and never twice."""
    write(tmp_path, ".hidden/build.py")
    file = tmp_path / ".hidden" / "build.py"
    assert list(python_files([file, file, tmp_path / ".hidden"])) == [file]


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    with pytest.raises(UsageError, match="nowhere"):
        list(python_files([tmp_path / "nowhere"]))


def test_a_file_without_torch_is_not_read(tmp_path: Path) -> None:
    """A file that never says torch is passed over, even where it is broken."""
    file = tmp_path / "other.py"
    file.write_text("def (")
    assert read(file) is None


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"import torch\ndef f(:\n", 2, "syntax error"),
        (b"import torch\nx = 1\0\n", None, ""),
        (b"# -*- coding: nonsense -*-\nimport torch\n", None, ""),
        (b"import torch\nx = '\xff'\n", None, ""),
        (b"import torch\nx = " + b"(" * 3000 + b")" * 3000, None, ""),
        (b"import torch\nx = " + b"-" * 100_000 + b"1", None, ""),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes, line: int | None, reason: str) -> None:
    """A file that cannot be parsed is named with a reason, and with its line where there is one."""
    file = tmp_path / "broken.py"
    result = parse(str(file), content)
    assert isinstance(result, NotChecked)
    assert result.path == str(file)
    assert reason in result.reason
    assert line is None or result.line == line


def test_a_latin_1_file_that_says_so_is_read() -> None:
    """A declared encoding is honoured."""
    content = "# -*- coding: latin-1 -*-\nimport torch  # é\n".encode("latin-1")
    assert isinstance(parse("old.py", content), ast.Module)
