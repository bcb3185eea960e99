"""Build the models that targets name: `pkg.mod:Name`, `file.py:Name`, `timm:NAME`, `hf:NAME` and so on."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn

from regcheck import plugins
from regcheck.core.errors import CannotBuild, RegcheckError, UsageError, format_error, nearest
from regcheck.engine import artifacts
from regcheck.engine.import_folders import import_folders, module_in_package
from regcheck.probe.seeds import seed_everything
from regcheck.tracing.exported_programs import opened

T = TypeVar("T")
FORMS = "`pkg.mod:Name`, `file.py:Name`, `model.pt2`, `scripted.pt`, `torchvision:NAME`, `timm:NAME` or `hf:NAME`"


def build(target: str, seed: int = 0) -> nn.Module:
    """Returns the model that a target names, or that the named class or function without required arguments builds.

    The random streams are seeded before the import of its module and again before building it, so that its weights do
    not depend on earlier imports or models.

    Raises:
        UsageError: the target's form, file, module or name is not valid.
        CannotBuild: the user's code raised, or returned something else than a model.
    """
    seed_everything(seed)
    model = _attempt(lambda: plugins.call("regcheck_targets", target=target), "a plugin cannot build it")
    if model is None and artifacts.is_artifact(target):
        model = artifacts.load(target)
    if model is None:
        where, _, name = target.rpartition(":")
        if not where or not name:
            raise UsageError(f"target {target!r} is not of the form {FORMS}")
        if where in ZOOS:
            model = ZOOS[where](name)
        else:
            member = _member(_module(where), name, target)
            seed_everything(seed)
            model = _instantiate(target, member)
    if isinstance(model, torch.export.ExportedProgram):
        program = model
        model = _attempt(lambda: opened(program), "cannot be audited", "audit the program that is deployed")
    if not isinstance(model, nn.Module):
        raise CannotBuild(f"is of type {type(model).__name__}, not an nn.Module", "return the model itself")
    return model


def expanded(target: str) -> list[str]:
    """Returns the targets that a target with a glob names, in the order of their library or module.

    Of a module these are its models, and the model classes that it defines. A target without a glob names itself.

    Raises:
        UsageError: no model matches.
        CannotBuild: the module or the library cannot be imported.
    """
    where, _, glob = target.rpartition(":")
    if not where or not any(each in glob for each in "*?["):
        return [target]
    if where in LISTS:
        names = LISTS[where]()
    else:
        try:
            module = _module(where)
        except UsageError:
            return [target]  # a plugin may build it; else `build` says why it cannot be found
        names = [name for name, each in vars(module).items() if _is_model_of(module, each)]
    targets = [f"{where}:{name}" for name in names if fnmatchcase(name, glob)]
    if not targets:
        raise UsageError(f"{target}: there is no such model{nearest(glob.strip('*?'), names)}")
    return targets


def _is_model_of(module: ModuleType, value: Any) -> bool:
    is_class = isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == module.__name__
    return is_class or isinstance(value, nn.Module)


def call_factory(target: str) -> Any:
    """Calls the function that a target names, without arguments, and returns its result.

    Raises:
        UsageError: its file or its name does not exist.
        CannotBuild: it requires arguments, or it raised; the error has the line.
    """
    where, _, name = target.rpartition(":")
    member = _member(_module(where), name, target)
    if not callable(member):
        raise UsageError(f"{target} is of type {type(member).__name__}, not a function")
    if required := _required_arguments(member):
        raise CannotBuild(f"{target} takes arguments: {', '.join(required)}", "name a function that takes none")
    return _attempt(member, f"{target} raised")


def made_by(make: Callable[[], T]) -> T:
    """Calls a function without arguments and returns its result.

    Raises:
        CannotBuild: it raised; the error has the line.
    """
    return _attempt(make, "cannot be built")


def _torchvision(name: str) -> Any:
    models = _library("torchvision.models", "torchvision")
    if name not in models.list_models():
        raise UsageError(f"torchvision has no model {name!r}{nearest(name, models.list_models())}")
    return _attempt(lambda: models.get_model(name, weights=None), "cannot be built")


def _timm(name: str) -> Any:
    timm = _library("timm", "timm")
    if not timm.is_model(name):
        raise UsageError(f"timm has no model {name!r}{nearest(name, timm.list_models())}")
    return _attempt(lambda: timm.create_model(name, pretrained=False), "cannot be built")


def _transformers(name: str) -> Any:
    """Returns a model with random weights: of a class with its default configuration, or of a configuration on disk."""
    library = _library("transformers", "transformers")
    if name.isidentifier() and name[0].isupper():
        cls = _attempt(lambda: getattr(library, name, None), f"{name} cannot be imported")
        if cls is None:
            raise UsageError(f"transformers has no class {name!r}{nearest(name, dir(library))}")
        config_class = getattr(cls, "config_class", None)
        if not isinstance(cls, type) or config_class is None:
            raise CannotBuild(f"transformers' {name} has no configuration of its own", "name the class of one model")
        return _attempt(lambda: cls(config_class()), "cannot be built")
    todo = "name a folder, a class (`hf:BertModel`), or a model that the local cache holds: nothing is downloaded"
    read = library.AutoConfig.from_pretrained
    config = _attempt(lambda: read(name, local_files_only=True), f"no configuration of {name!r} on this machine", todo)
    names = [each for each in getattr(config, "architectures", None) or () if each in dir(library)]
    build = (lambda: getattr(library, names[0])(config)) if names else (lambda: library.AutoModel.from_config(config))
    return _attempt(build, "cannot be built")


ZOOS: dict[str, Callable[[str], Any]] = {"hf": _transformers, "timm": _timm, "torchvision": _torchvision}

LISTS: dict[str, Callable[[], list[str]]] = {
    "timm": lambda: [*_library("timm", "timm").list_models()],
    "torchvision": lambda: [*_library("torchvision.models", "torchvision").list_models()],
}
"""The names of the models of the libraries that list them."""


def _library(module: str, package: str) -> Any:
    if importlib.util.find_spec(package) is None:
        raise UsageError(f"{package} is not installed: `pip install {package}`")
    todo = f"install a {package} that matches the installed torch"
    return _attempt(lambda: importlib.import_module(module), f"{package} cannot be imported", todo)


def _module(where: str) -> ModuleType:
    """Imports the user's module: a file, or a dotted name, searched from the working directory first."""
    if where.endswith(".py"):
        return _file(Path(where))
    folders = [Path.cwd(), *import_folders(Path.cwd())]
    _look_in(folders)
    try:
        spec = importlib.util.find_spec(where)
    except ModuleNotFoundError as error:
        if not f"{where}.".startswith(f"{error.name}."):
            raise _failed(error, f"{where} cannot be imported") from error
        raise _no_module(error.name or where, folders) from None
    except Exception as error:  # the parent package's own code failed
        raise _failed(error, f"{where} cannot be imported") from error
    if spec is None:
        raise _no_module(where, folders)
    return _attempt(lambda: importlib.import_module(where), f"{where} cannot be imported")


def _no_module(name: str, folders: Sequence[Path]) -> UsageError:
    package, _, last = name.rpartition(".")
    if package in sys.modules:
        there = [each.name for each in pkgutil.iter_modules(getattr(sys.modules[package], "__path__", ()))]
        return UsageError(f"there is no module {last!r} in {package}{nearest(last, there)}; a target is {FORMS}")
    searched = ", ".join(dict.fromkeys(os.path.relpath(each) for each in folders))
    todo = "add its folder to pytest's `pythonpath`, or name the file, as in `folder/file.py:Name`"
    return UsageError(f"there is no module {name!r} in {searched} or installed: {todo}; a target is {FORMS}")


def _file(path: Path) -> ModuleType:
    """Imports a file: of a package as its module, and else as Python imports a script's neighbour."""
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    inside = module_in_package(path)
    here = path.resolve().parent
    _look_in([inside.folder if inside else here, *import_folders(here), Path.cwd()])
    if inside is None:
        return _script(path)
    try:
        module = _attempt(lambda: importlib.import_module(inside.name), f"{path} cannot be imported")
    except CannotBuild as error:
        if inside.is_relative or (error.path and os.path.realpath(error.path) == os.path.realpath(path)):
            raise
        return _script(path)  # another file of the package stopped it, which this one may not need
    return module if _is_of(module, path) else _script(path)


def _script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    loader, module = spec.loader, importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    _attempt(lambda: loader.exec_module(module), f"{path} cannot be imported")
    return module


def _is_of(module: ModuleType, path: Path) -> bool:
    """Whether a module was imported from this file, and not from another one of the same name."""
    file = getattr(module, "__file__", None)
    return file is not None and os.path.realpath(file) == os.path.realpath(path)


def _look_in(folders: Sequence[Path]) -> None:
    """Search these folders before all others, in their order."""
    sys.path[:0] = [each for each in dict.fromkeys(map(str, folders)) if each not in sys.path]


def _member(module: ModuleType, name: str, target: str) -> Any:
    member: Any = module
    for part in name.split("."):
        if not hasattr(member, part):
            public = [each for each in vars(member) if not each.startswith("_")]
            raise UsageError(f"{target}: there is no {part!r}{nearest(part, public)}")
        member = getattr(member, part)
    return member


def _instantiate(target: str, member: Any) -> Any:
    if isinstance(member, (nn.Module, torch.export.ExportedProgram)) or not callable(member):
        return member
    required = _required_arguments(member)
    if required:
        todo = f"name a function that takes none, as in `def model(): return {target.rpartition(':')[2]}(…)`"
        raise CannotBuild(f"takes arguments: {', '.join(required)}", todo)
    return _attempt(member, "cannot be built")


def _required_arguments(function: Callable[..., Any]) -> list[str]:
    """Returns the required arguments of a callable."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.default is each.empty and each.kind not in optional]


def _attempt(act: Callable[[], T], failure: str, what_to_do: str = "make it run on its own first") -> T:
    """Returns the result of `act`; turns an exception into `CannotBuild`, with the user's line."""
    try:
        return act()
    except RegcheckError:
        raise
    except (Exception, SystemExit) as error:
        raise _failed(error, failure, what_to_do) from error


def _failed(error: BaseException, failure: str, what_to_do: str = "make it run on its own first") -> CannotBuild:
    path, line = _user_line(error)
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    because = "" if first is error else f", because of {format_error(first)}"
    return CannotBuild(f"{failure}: {format_error(error)}{because}", what_to_do, path, line)


def _user_line(error: BaseException) -> tuple[str | None, int | None]:
    """Returns the innermost line of the user's code in the traceback."""
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename, error.lineno
    paths = sysconfig.get_paths()
    foreign = (paths["stdlib"], paths["purelib"], paths["platlib"], str(Path(__file__).parent), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(foreign):
            return frame.filename, frame.lineno
    return None, None
