"""Which files belong to the user's project."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from regcheck.runtime.project_files import ProjectFiles


def install(packages: Path, name: str, source: Path | str, editable: bool = False) -> None:
    """Write the metadata of a distribution, as pip does for one with that source (PEP 610)."""
    metadata = packages / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    url = source.as_uri() if isinstance(source, Path) else source
    form = {"dir_info": {"editable": editable}} if editable else {}
    (metadata / "direct_url.json").write_text(json.dumps({"url": url, **form}))
    (metadata / "RECORD").write_text(f"{name}/__init__.py,sha256=x,1\n{name}-1.0.dist-info/RECORD,,\n")


@pytest.fixture
def files(tmp_path: Path) -> ProjectFiles:
    """The files of a project with a virtual environment in its folder, beside which a fork of a library lies."""
    root, packages = tmp_path / "a project", tmp_path / "a project" / ".venv" / "lib" / "site-packages"
    for folder in (packages, root / "dist", tmp_path / "fork" / "lib", tmp_path / "notes"):
        folder.mkdir(parents=True)
    wheel = root / "dist" / "shipped-1.0.whl"
    wheel.touch()
    install(packages, "built", root)
    install(packages, "shipped", wheel)
    install(packages, "fork", tmp_path / "fork", editable=True)
    install(packages, "mine", root, editable=True)
    install(packages, "fetched", "https://example.org/fetched-1.0.whl")
    (packages / "malformed-1.0.dist-info").mkdir()
    (packages / "malformed-1.0.dist-info" / "direct_url.json").write_text("[]")
    return ProjectFiles(str(root), [str(packages)])


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("a project/src/net.py", True),
        ("a project/third_party/net.py", True),
        ("notes/script.py", True),
        ("a project/.venv/lib/site-packages/timm/optim.py", False),
        ("a project/.venv/lib/site-packages/fetched/__init__.py", False),
        ("usr/lib/python3/dist-packages/skorch/net.py", False),
        ("fork/lib/loop.py", False),
        ("forks/lib/loop.py", True),
        ("a project/.venv/lib/site-packages/built/net.py", True),
        ("a project/.venv/lib/site-packages/shipped/net.py", True),
        ("a project/.venv/lib/site-packages/malformed/net.py", False),
    ],
)
def test_installed_packages_are_libraries_unless_built_from_the_project(
    tmp_path: Path, files: ProjectFiles, path: str, is_own: bool
) -> None:
    """A file is the project's unless it is installed from elsewhere; a package built from the project is its own."""
    assert (str(tmp_path / path) in files) is is_own


def test_the_interpreter_is_a_library(files: ProjectFiles) -> None:
    """The standard library and console scripts are no files of the project; code typed in by the user is."""
    assert f"{sysconfig.get_path('stdlib')}/timeit.py" not in files
    assert f"{sysconfig.get_path('scripts')}/accelerate" not in files
    assert "<frozen runpy>" not in files
    assert "<stdin>" in files
    assert "<ipython-input-3-5c1f>" in files


def test_a_project_inside_an_installed_package_is_its_own(tmp_path: Path) -> None:
    """Someone who works in a folder of installed packages works on it."""
    root = tmp_path / "site-packages" / "lib"
    assert str(root / "loop.py") in ProjectFiles(str(root), [])
