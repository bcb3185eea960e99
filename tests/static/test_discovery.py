"""Which files are read, and what is said of those that cannot be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from regcheck.core.errors import UsageError
from regcheck.core.finding import NotChecked
from regcheck.engine.scan import scan
from regcheck.static.project import discovery
from regcheck.static.project.discovery import MOST_IMPORTS, files_around, parse, python_files, read


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


def test_excluded_files_are_skipped_where_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A glob takes out a named file, and all files of a folder that it matches, however their paths are written."""
    write(tmp_path, "a.py", "pkg/deep/c.py")
    monkeypatch.chdir(tmp_path)
    for path in ("pkg/deep/c.py", "./pkg/deep/c.py", tmp_path / "pkg/deep/c.py", "pkg"):
        for glob in ("pkg", "pkg/*"):
            assert [*python_files([path, "a.py"], [glob])] == [Path("a.py")]
            assert len([*python_files([path, "a.py"], [tmp_path.name, "other/*"])]) == 2
    assert [*python_files(["pkg/deep/c.py"], ["pkg"], force=False)] == [Path("pkg/deep/c.py")]


def test_a_hidden_file_is_read_where_it_is_named_and_only_once(tmp_path: Path) -> None:
    """A named path is read even where its folder would skip it, and never twice."""
    write(tmp_path, ".hidden/build.py")
    file = tmp_path / ".hidden" / "build.py"
    assert list(python_files([file, file, tmp_path / ".hidden"])) == [file]


def test_a_path_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    with pytest.raises(UsageError, match="nowhere"):
        list(python_files([tmp_path / "nowhere"]))


def test_a_file_without_torch_is_read_for_its_names_alone(tmp_path: Path) -> None:
    """A file that never says torch is not examined, even where it is broken; a notebook without it is not read."""
    file = tmp_path / "other.py"
    file.write_text("def (")
    assert read(file) == b"def ("
    assert scan([file]).not_checked == ()
    notebook = tmp_path / "other.ipynb"
    notebook.write_text("{")
    assert read(notebook) is None


def test_a_package_that_gathers_a_library_is_not_read(tmp_path: Path) -> None:
    """A file without the word torch that imports from very many others is passed over."""
    file = tmp_path / "__init__.py"
    file.write_text("".join(f"from .part{n} import *\n" for n in range(MOST_IMPORTS + 1)))
    assert read(file) is None
    file.write_text("".join(f"from .part{n} import *\n" for n in range(MOST_IMPORTS)))
    assert read(file) is not None


def test_the_project_around_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the outermost folder with a project's file in the repository; else the working directory, or the package.

    Nothing installed belongs to it, and of a project with too many files only the folders around the file.
    """
    write(tmp_path, "repo/tools/use.py", "repo/app/src/kit/net.py", "repo/app/src/kit/sub/loop.py", "repo/venv/x.py")
    write(tmp_path, "above.py", "repo/app/src/kit/__init__.py", "repo/app/src/kit/sub/__init__.py")

    def around(name: str) -> set[str]:
        return {str(each.relative_to(tmp_path.resolve())) for each in files_around([tmp_path / name])}

    kit = {f"repo/app/src/kit/{name}" for name in ("__init__.py", "net.py", "sub/__init__.py", "sub/loop.py")}
    loop = "repo/app/src/kit/sub/loop.py"
    assert around(loop) == kit
    monkeypatch.chdir(tmp_path / "repo" / "tools")
    assert around(loop) == kit
    monkeypatch.chdir(tmp_path)
    assert around(loop) == {*kit, "above.py", "repo/tools/use.py"}
    (tmp_path / "repo" / "app" / "pyproject.toml").touch()
    assert around(loop) == kit
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / "setup.py").touch()
    assert around(loop) == {*kit, "repo/tools/use.py"}
    monkeypatch.setattr(discovery, "MOST_FILES", 4)
    assert around(loop) == kit
    write(tmp_path, "env/lib/site-packages/kit/net.py", "env/lib/site-packages/other.py")
    monkeypatch.chdir(tmp_path / "env")
    assert around("env/lib/site-packages/kit/net.py") == {"env/lib/site-packages/kit/net.py"}


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
