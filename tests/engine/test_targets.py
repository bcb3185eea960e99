"""Models built from targets, and what is said when they cannot be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from torch import nn

from regcheck.core.errors import CannotBuild, UsageError
from regcheck.engine.targets import build, call_factory

SOURCE = """\
from torch import nn
from nets_beside import WIDTH


class Net(nn.Linear):
    def __init__(self, width=WIDTH):
        super().__init__(width, 1)


class Wide(nn.Module):
    def __init__(self, width, *rest, **more):
        super().__init__()


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(-3, "x")


def factory():
    return Net(5)


def number():
    return 3


def leaves():
    raise SystemExit(2)


def chained():
    try:
        [][1]
    except IndexError as error:
        raise ImportError("no luck") from error


def batch():
    return Net.__name__, WIDTH


class Family:
    Inner = Net


ready = Net(7)
WORD = "no model"
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of models and the module it imports, as the working directory."""
    (tmp_path / "nets.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "nets_beside.py").write_text("WIDTH = 3\n", encoding="utf-8")
    (tmp_path / "nets_wrong.py").write_text("x = 1\nx.nothing\n", encoding="utf-8")
    (tmp_path / "nets_unparsed.py").write_text("x = 1\nclass :\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("nets"):
            del sys.modules[name]


@pytest.mark.parametrize("where", ["nets.py", "./nets.py", "nets"])
@pytest.mark.parametrize(("name", "width"), [("Net", 3), ("factory", 5), ("ready", 7), ("Family.Inner", 3)])
def test_a_name_is_a_model_a_class_or_a_factory(where: str, name: str, width: int) -> None:
    """From a file or a module, a model is taken as it is, and a class or a factory is called without arguments."""
    model = build(f"{where}:{name}")
    assert isinstance(model, nn.Linear)
    assert model.in_features == width


def test_a_file_anywhere_finds_its_neighbours(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's own imports work as if it were run, whatever the working directory."""
    monkeypatch.chdir("/")
    assert isinstance(build(f"{project / 'nets.py'}:Net"), nn.Linear)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nets.py", "target 'nets.py' is not of the form `pkg.mod:Name`"),
        ("nets.py:", "is not of the form"),
        (":Net", "is not of the form"),
        ("nets.py:Nett", "nets.py:Nett: there is no 'Nett' (did you mean 'Net'?)"),
        ("nets:Family.Iner", "there is no 'Iner' (did you mean 'Inner'?)"),
        ("nots.py:Net", "there is no file 'nots.py'"),
        ("nots:Net", "there is no module 'nots'"),
        ("nots.deep:Net", "there is no module 'nots'"),
    ],
)
def test_what_is_not_there_is_a_usage_error(target: str, says: str) -> None:
    """A target that names nothing is refused at once, with its nearest neighbour."""
    with pytest.raises(UsageError) as caught:
        build(target)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("target", "says", "line"),
    [
        ("nets.py:Wide", "takes arguments: width", None),
        ("nets.py:Broken", "cannot be built: ", 18),
        ("nets.py:leaves", "cannot be built: SystemExit: 2", 30),
        (
            "nets.py:chained",
            "cannot be built: ImportError: no luck, because of IndexError: list",
            37,
        ),
        ("nets.py:number", "is of type int, not an nn.Module", None),
        ("nets.py:WORD", "is of type str, not an nn.Module", None),
        ("nets_wrong:Net", "nets_wrong cannot be imported: AttributeError: 'int' object has no attribute 'nothing'", 2),
        ("nets_wrong.py:Net", "nets_wrong.py cannot be imported: AttributeError", 2),
        ("nets_unparsed.py:Net", "nets_unparsed.py cannot be imported: SyntaxError", 2),
    ],
)
def test_what_cannot_be_built_names_the_users_line(project: Path, target: str, says: str, line: int | None) -> None:
    """When the user's code stops, the error says why, what to do, and the user's own line, not torch's."""
    with pytest.raises(CannotBuild) as caught:
        build(target)
    assert str(caught.value).startswith(says)
    assert caught.value.what_to_do
    assert caught.value.line == line
    assert (caught.value.path is not None) == (line is not None)
    if caught.value.path is not None:
        assert Path(caught.value.path).resolve().parent == project.resolve()


@pytest.mark.parametrize(
    ("library", "prefix"), [("timm", "timm"), ("torchvision", "torchvision"), ("transformers", "hf")]
)
def test_a_library_that_is_not_there_is_named(library: str, prefix: str) -> None:
    """Without the library its targets are refused, with the command that installs it."""
    if find_spec(library):
        pytest.skip(f"{library} is installed here, so its absence cannot be shown")
    with pytest.raises(UsageError, match=f"{library} is not installed: `pip install {library}`"):
        build(f"{prefix}:resnet18")


def test_a_factory_is_called() -> None:
    """What a named function returns is handed on as it is."""
    assert call_factory("nets.py:batch") == ("Net", 3)


@pytest.mark.parametrize(
    ("target", "kind", "says"),
    [
        ("nets.py:WORD", UsageError, "is of type str, not a function"),
        ("nets.py:bach", UsageError, "there is no 'bach' (did you mean 'batch'?)"),
        ("nowhere.py:batch", UsageError, "there is no file 'nowhere.py'"),
        ("nets.py:Wide", CannotBuild, "takes arguments: width"),
        ("nets.py:leaves", CannotBuild, "nets.py:leaves raised: SystemExit: 2"),
    ],
)
def test_a_factory_that_cannot_be_called_says_why(target: str, kind: type[Exception], says: str) -> None:
    """A factory that is not there is wrong usage; one that raises is named with what it raised."""
    with pytest.raises(kind) as caught:
        call_factory(target)
    assert says in str(caught.value)


LIBRARY = """\
from torch import nn


class Config:
    def __init__(self, width=6, architectures=None):
        self.width, self.architectures = width, architectures


class TinyModel(nn.Linear):
    config_class = Config

    def __init__(self, config):
        super().__init__(config.width, 2)


class TinyForClassification(TinyModel):
    pass


class AutoConfig:
    @staticmethod
    def from_pretrained(name, local_files_only=False):
        assert local_files_only, "nothing is downloaded"
        if name != "./saved":
            raise OSError(f"{name} is not here")
        return Config(9, ["TinyForClassification"])


class AutoModel:
    pass
"""


@pytest.fixture
def transformers(project: Path) -> Iterator[None]:
    """A library of that name with two models, one saved configuration, and no network."""
    if find_spec("transformers"):
        pytest.skip("transformers is installed here, and would be shadowed")
    (project / "transformers.py").write_text(LIBRARY, encoding="utf-8")
    sys.path.insert(0, str(project))
    yield
    sys.modules.pop("transformers", None)


@pytest.mark.parametrize(
    ("target", "kind", "width"),
    [("hf:TinyModel", "TinyModel", 6), ("hf:./saved", "TinyForClassification", 9)],
)
def test_a_transformers_model_has_random_weights(transformers: None, target: str, kind: str, width: int) -> None:
    """A class is built by its default configuration, a saved configuration by the class that it names."""
    model = build(target)
    assert type(model).__name__ == kind and model.in_features == width


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ("hf:TinyModal", UsageError, "transformers has no class 'TinyModal' (did you mean 'TinyModel'?)"),
        ("hf:AutoModel", CannotBuild, "AutoModel has no configuration of its own"),
        ("hf:some/model", CannotBuild, "no configuration of 'some/model' on this machine: OSError"),
    ],
)
def test_a_transformers_model_that_is_not_here(
    transformers: None, target: str, error: type[Exception], says: str
) -> None:
    """Unknown classes name their nearest neighbour; a model that would have to be downloaded is not built."""
    with pytest.raises(error) as caught:
        build(target)
    assert says in str(caught.value)


LAYOUTS = {
    "src without configuration": ({}, "src"),
    "pytest": ({"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["lib", "code"]\n'}, "code"),
    "pytest's own file": ({"pytest.ini": "[pytest]\npythonpath = lib code\n"}, "code"),
    "setuptools where": ({"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["code"]\n'}, "code"),
    "setuptools folder": ({"pyproject.toml": '[tool.setuptools]\npackage-dir = {"" = "code"}\n'}, "code"),
    "setuptools file": ({"setup.cfg": "[options]\npackage_dir =\n    = code\n"}, "code"),
    "hatch": ({"pyproject.toml": '[tool.hatch.build.targets.wheel]\npackages = ["code/nets_pkg"]\n'}, "code"),
    "poetry": ({"pyproject.toml": '[[tool.poetry.packages]]\ninclude = "nets_pkg"\nfrom = "code"\n'}, "code"),
    "uv": ({"pyproject.toml": '[tool.uv.build-backend]\nmodule-root = "code"\n'}, "code"),
}
MODULE = """\
from torch import nn
from .parts import WIDTH


class Net(nn.Linear):
    def __init__(self):
        super().__init__(WIDTH, 1)
"""


def package(folder: Path, init: str | None = "") -> Path:
    """Writes a package of two modules, one of which imports the other relatively, and returns the importing file."""
    (folder / "nets_pkg" / "deep").mkdir(parents=True)
    for each in (folder / "nets_pkg", folder / "nets_pkg" / "deep"):
        if init is not None:
            (each / "__init__.py").write_text(init, encoding="utf-8")
    (folder / "nets_pkg" / "deep" / "parts.py").write_text("WIDTH = 4\n", encoding="utf-8")
    module = folder / "nets_pkg" / "deep" / "mod.py"
    module.write_text(MODULE, encoding="utf-8")
    return module


@pytest.mark.parametrize("start", [".", "tests"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_module_is_found_where_the_project_keeps_its_source(
    project: Path, monkeypatch: pytest.MonkeyPatch, layout: str, start: str
) -> None:
    """A dotted name is found in the source folder of the project's configuration, also from a folder below it."""
    files, source = LAYOUTS[layout]
    (project / ".git").mkdir()
    (project / "tests").mkdir()
    for name, text in files.items():
        (project / name).write_text(text, encoding="utf-8")
    package(project / source)
    monkeypatch.chdir(project / start)
    model = build("nets_pkg.deep.mod:Net")
    assert isinstance(model, nn.Linear)
    assert model.in_features == 4


@pytest.mark.parametrize("init", ["", None], ids=["package", "namespace"])
@pytest.mark.parametrize("start", [".", "src/nets_pkg"])
def test_a_file_in_a_package_is_imported_as_part_of_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, init: str | None, start: str
) -> None:
    """The relative imports of a file work, whatever the working directory, and its classes have their dotted names."""
    (project / "pyproject.toml").write_text("", encoding="utf-8")
    file = package(project / "src", init)
    monkeypatch.chdir(project / start)
    model = build(f"{file}:Net")
    assert type(model).__module__ == "nets_pkg.deep.mod"


def test_a_package_that_cannot_be_imported_does_not_stop_a_file_that_can(project: Path) -> None:
    """A file without relative imports is imported alone where the `__init__.py` beside it raises."""
    (project / "nets_zoo").mkdir()
    (project / "nets_zoo" / "__init__.py").write_text("import nets_that_is_not_there\n", encoding="utf-8")
    (project / "nets_zoo" / "mod.py").write_text("from torch import nn\nready = nn.Linear(6, 1)\n", encoding="utf-8")
    assert isinstance(build("nets_zoo/mod.py:ready"), nn.Linear)
    with pytest.raises(CannotBuild, match="No module named 'nets_that_is_not_there'"):
        build("nets_zoo.mod:ready")


def test_a_script_is_no_part_of_a_package(project: Path) -> None:
    """A file without an `__init__.py` beside it imports its neighbours by their names, and the project's packages."""
    package(project / "src")
    (project / "scripts").mkdir()
    source = "import nets_near\nfrom nets_pkg.deep.mod import Net\nready = Net()\n"
    (project / "scripts" / "nets_train.py").write_text(source, encoding="utf-8")
    (project / "scripts" / "nets_near.py").write_text("", encoding="utf-8")
    assert build("scripts/nets_train.py:ready").in_features == 4


def test_a_module_that_is_not_found_says_where_it_was_searched(project: Path) -> None:
    """The error names the searched folders, and how to add one."""
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = 'code'\n", encoding="utf-8")
    (project / "code").mkdir()
    with pytest.raises(UsageError, match=r"there is no module 'nots' in \., code or installed: add its folder to"):
        build("nots:Net")
    package(project / "code")
    with pytest.raises(UsageError, match=r"there is no module 'dep' in nets_pkg \(did you mean 'deep'\?\)"):
        build("nets_pkg.dep:Net")
