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
