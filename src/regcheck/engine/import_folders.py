"""The folders from which a project imports its own modules, as its configuration and its layout name them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as MalformedIni
from pathlib import Path
from typing import Any, NamedTuple

from regcheck.files.project_folders import INSTALLATION, is_project, project_folders
from regcheck.files.toml import toml_document

_INI_FILES = {"pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest"}
"""The files of pytest's configuration beside `pyproject.toml`, and the section of each."""


def import_folders(start: Path) -> list[Path]:
    """Returns the existing folders that the project around the folder `start` imports from, nearest first, each once.

    These are pytest's `pythonpath`, the source folders of setuptools, Hatch, Poetry, PDM, uv and maturin, a folder
    `src` that is no package, and the folder with the project's installation file, of `start` and the folders above.
    """
    folders: list[Path] = []
    for folder in reversed(project_folders(start.resolve())):
        folders += (folder / each for each in _configured(folder))
        if not (folder / "src" / "__init__.py").exists():
            folders.append(folder / "src")
        if any((folder / each).exists() for each in INSTALLATION):
            folders.append(folder)
    return [*dict.fromkeys(each.resolve() for each in folders if each.is_dir())]


class PackageModule(NamedTuple):
    """A file as a module of a package: the folder to import it from, its dotted name, if it has relative imports."""

    folder: Path
    name: str
    is_relative: bool


def module_in_package(file: Path) -> PackageModule | None:
    """Returns how to import a file of a package; None for a script.

    A file is of a package if an `__init__.py` is beside it, or if it has relative imports. Without `__init__.py` it is
    imported from the nearest import folder above it, or the working directory, from which those resolve.
    """
    file = file.resolve()
    level = _relative_level(file)
    root = file.parent
    while (root / "__init__.py").exists() and root.name.isidentifier() and not is_project(root):
        root = root.parent
    if root == file.parent:
        if not 0 < level < len(file.parents):
            return None
        outside = file.parents[level:]
        roots = (*sorted(import_folders(file.parent), reverse=True), Path.cwd().resolve(), outside[0])
        root = next(each for each in roots if each in outside)
    parts = file.relative_to(root).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    valid = parts and all(each.isidentifier() for each in parts)
    return PackageModule(root, ".".join(parts), level > 0) if valid else None


def _relative_level(file: Path) -> int:
    """The most dots in front of a relative import of a file; 0 where there is none, or the file does not parse."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return 0
    return max((each.level for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)), default=0)


def _configured(folder: Path) -> Iterator[str]:
    """The folders, relative to `folder`, from which its configuration files import."""
    project = _toml(folder / "pyproject.toml")
    for table in ("tool.pytest.ini_options", "tool.pytest"):
        yield from _texts(_value(project, f"{table}.pythonpath"))
    yield from _texts(_value(project, "tool.setuptools.packages.find.where"))
    package_folders = _value(project, "tool.setuptools.package-dir")
    yield from _texts(package_folders.get("") if isinstance(package_folders, Mapping) else None)
    for build in ("tool.hatch.build", "tool.hatch.build.targets.wheel"):
        yield from (str(Path(each).parent) for each in _texts(_value(project, f"{build}.packages")))
        yield from _texts(_value(project, f"{build}.sources"))
        yield from _texts(_value(project, f"{build}.dev-mode-dirs"))
    packages = _value(project, "tool.poetry.packages")
    for each in packages if isinstance(packages, list) else ():
        yield from _texts(_value(each, "from"))
    for key in ("pdm.build.package-dir", "uv.build-backend.module-root", "maturin.python-source"):
        yield from _texts(_value(project, f"tool.{key}"))
    for name, section in _INI_FILES.items():
        settings = _ini(folder / name)
        yield from settings.get(section, "pythonpath", fallback="").split()
        if name == "setup.cfg":
            yield from settings.get("options.packages.find", "where", fallback="").split()
            rows = settings.get("options", "package_dir", fallback="").splitlines()
            yield from (value.strip() for row in rows for key, _, value in [row.partition("=")] if not key.strip())


def _value(table: Any, path: str) -> Any:
    """The value at a dotted path of a document; None where there is none."""
    for key in path.split("."):
        if not isinstance(table, Mapping):
            return None
        table = table.get(key)
    return table


def _texts(value: Any) -> list[str]:
    values = value.split() if isinstance(value, str) else value if isinstance(value, list) else []
    return [each for each in values if isinstance(each, str)]


def _toml(file: Path) -> Mapping[str, Any]:
    """A TOML document; empty where the file is absent or malformed."""
    try:
        return toml_document(file)
    except (OSError, ValueError):
        return {}


def _ini(file: Path) -> ConfigParser:
    """An INI file; empty where the file is absent or malformed."""
    settings = ConfigParser(interpolation=None, strict=False)
    try:
        settings.read(file, encoding="utf-8")
    except (MalformedIni, ValueError):
        return ConfigParser()
    return settings
