"""The order of the parts: imports only go down, and what must be light is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "regcheck"
FLOORS = (
    ("lazy_dataclass",),
    ("files",),
    ("core",),
    ("torch_api", "keras_api", "config"),
    ("suppression",),
    ("tracing", "runtime", "static", "reference"),
    ("probe",),
    ("rules",),
    ("hookspecs", "import_hook"),
    ("input_sources",),
    ("plugins",),
    ("engine",),
    ("report", "session"),
    ("cli", "suite", "testing", "callbacks"),
    ("selftest", "editor", "__init__", "__main__", "pytest_plugin"),
)
"""The parts of the package from the ground up; parts on one floor may not import one another."""

FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
FILES = sorted(PACKAGE.rglob("*.py"))


PARALLEL = (
    *("runtime", "tracing", "reference", "torch_api"),
    *(f"static/{each.name}" for each in PACKAGE.glob("static/*/")),
    *("core/measurements", "probe/measurements"),
)
"""Packages that treat the same subjects (calls, optimizers, one measurement) each in its way, and so share names."""


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file: Path, tree: ast.Module | None = None) -> Iterator[str]:
    """The full names that a file imports, wherever in the file (or in what is left of its tree) the import stands."""
    package = ["regcheck", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(tree or ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(file: Path) -> str:
    """The full name of a file's module."""
    return ".".join(["regcheck", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")


MODULES = {module_of(file): file for file in FILES}


def run_time_imports(file: Path) -> set[str]:
    """The modules of regcheck that a file imports when it runs, wherever the import stands: not for types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = set(imported(file, tree))
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


def parts_imported(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(file) if name.startswith("regcheck.")}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_part_has_a_floor() -> None:
    """A new part of the package is given its floor before it lands."""
    assert {part_of(file) for file in FILES} == set(FLOOR)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_only_go_down(file: Path) -> None:
    """A file imports its own part and parts on lower floors, never a sibling and never upwards."""
    part = part_of(file)
    assert {each for each in parts_imported(file) if each != part and FLOOR[each] >= FLOOR[part]} == set()


def test_no_two_modules_import_each_other() -> None:
    """Imports at run time form no circle, neither of two modules nor of more."""
    order = TopologicalSorter({name: run_time_imports(file) - {name} for name, file in MODULES.items()})
    order.prepare()  # raises CycleError, which names the circle


def test_a_class_name_means_one_class() -> None:
    """No two classes of the package share a name."""
    owners: dict[str, list[str]] = defaultdict(list)
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                owners[node.name].append(name)
    assert {name: modules for name, modules in owners.items() if len(modules) > 1} == {}


def test_a_module_name_means_one_module() -> None:
    """Modules share a name only across parallel packages; a command of `cli` has the name of its verb."""
    homes: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        folder = file.relative_to(PACKAGE).parent.as_posix()
        if not file.stem.startswith("__") and folder != "cli":
            homes[file.stem].append(next((each for each in PARALLEL if f"{folder}/".startswith(f"{each}/")), ""))
    shared = {stem: found for stem, found in homes.items() if len(found) > 1}
    assert {stem for stem, found in shared.items() if "" in found or len(found) != len(set(found))} == set()


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("rules/*/*.py")), ids=lambda file: file.stem)
def test_rules_import_values_only(file: Path) -> None:
    """A rule speaks of core's values and of torch's table: it imports no other part, no other rule, no third party."""
    names = set(imported(file))
    light = ("regcheck.core.", "regcheck.torch_api.", "regcheck.files.place.", "regcheck.lazy_dataclass.")
    assert {each for each in names if each.startswith("regcheck.") and not each.startswith(light)} == set()
    assert {each.split(".")[0] for each in names} - {"regcheck"} <= sys.stdlib_module_names


@pytest.mark.parametrize("part", ["files", "core", "torch_api", "config", "suppression", "static", "rules", "report"])
def test_light_parts_never_name_torch(part: str) -> None:
    """What `regcheck scan` and a report reader run does not mention torch in any import."""
    files = [file for file in FILES if part_of(file) == part]
    assert {name.split(".")[0] for file in files for name in imported(file)} & {"torch", "numpy"} == set()


@pytest.mark.parametrize("part", ["selftest", "editor"])
def test_nothing_imports_a_verb_with_a_package_of_its_own(part: str) -> None:
    """`regcheck selftest` and `regcheck server` are loaded by name alone, so that no other run carries them."""
    importers = [file for file in FILES if part_of(file) != part and part in parts_imported(file)]
    assert importers == []


def test_every_test_states_its_promise() -> None:
    """Each test function says in its docstring what it promises."""
    silent = [
        f"{file.name}::{node.name}"
        for file in Path(__file__).parent.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_the_catalogue_loads_without_torch() -> None:
    """Every rule file can be imported where torch is not installed."""
    code = "import sys; sys.modules['torch'] = None; from regcheck.plugins import catalogue; print(len(catalogue()))"
    assert int(run(code)) >= 6


@pytest.mark.parametrize(
    ("code", "light"),
    [
        ("import regcheck; regcheck.Finding, regcheck.Report, regcheck.ignore", "torch rich pluggy"),
        ("from regcheck.plugins import catalogue; catalogue()", "torch rich"),
        ("import regcheck.pytest_plugin", "torch rich"),
        ("import regcheck.callbacks\nwith regcheck.watch():\n    pass", "torch rich"),
        ("from regcheck.cli.main import main; main(['rule'])", "torch rich"),
        ("from regcheck.cli.main import main; main(['scan', '--output-format=concise', 'setup.py'])", "torch rich"),
        ("from regcheck.cli.main import main; main(['scan', '--help'])", "torch rich"),
        (
            "from regcheck import cli; from regcheck.cli.main import main; main(['scan', '--no-cache', cli.__file__])",
            "torch rich pluggy importlib.metadata tempfile",
        ),
        (
            "import io\nfrom regcheck.cli.main import main\n"
            "sys.stdin = io.TextIOWrapper(io.BytesIO(b'from torch import nn\\nclass Net(nn.Module): pass'))\n"
            "main(['scan', '--no-cache', '-'])",
            "torch rich regcheck.static.keras_models.reader regcheck.static.fixes.patches secrets difflib",
        ),
    ],
)
def test_light_things_stay_light(code: str, light: str) -> None:
    """Importing regcheck, listing the rules and scanning load neither torch nor rich."""
    loaded = run(f"import sys\n{code}\nprint({light.split()!r}, [n for n in {light.split()!r} if n in sys.modules])")
    assert loaded.endswith("[]")


def test_public_names_are_there_and_stay() -> None:
    """The public functions are not replaced by submodules when those are imported."""
    code = (
        "import regcheck, regcheck.engine.audit, regcheck.engine.scan, regcheck.session.block\n"
        "regcheck.audit, regcheck.scan, regcheck.watch\n"
        "from regcheck import *\n"
        "print(*map(callable, (regcheck.audit, audit, scan, watch)), set(regcheck.__all__) <= set(dir(regcheck)))"
    )
    assert run(code) == "True True True True True"


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """`regcheck.nothing` fails as it does for any module."""
    import regcheck

    with pytest.raises(AttributeError, match="module 'regcheck' has no attribute 'nothing'"):
        _ = regcheck.nothing
