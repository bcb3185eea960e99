"""Seeing each torch call of a running model: which function, in which module, from which line.

Both the recorder and the probe's interventions are function modes built on `Sight`, so that they give the same call the
same `Site`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from regcheck.core.graph import Kind, Place, Site
from regcheck.core.vocabulary import DROPPING, KINDS

from .place import calling_place

Locate = Callable[[type, str], Place | None]
"""Finds where a class's `__init__` builds the layer at a module path, for layers that a container calls."""

_RENAMED = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "truediv": "div", "T": "t", "mT": "t"}
_PLACED = frozenset(DROPPING) | {name for name, kind in KINDS.items() if kind in (Kind.RANDOM, Kind.SOFTMAX)}
_names: dict[Any, str] = {}


def name_of(function: Any) -> str:
    """A torch function's bare name: `add` for `Tensor.__add__`, `bernoulli` for `Tensor.bernoulli_`."""
    try:
        return _names[function]
    except (KeyError, TypeError):
        name = str(getattr(function, "__name__", type(function).__name__))
        if name == "__get__":
            name = getattr(getattr(function, "__self__", None), "__name__", name)
        name = name if name in _RENAMED else name.strip("_")
        name = _RENAMED.get(name, name)
        with suppress(TypeError):
            _names[function] = name
        return name


def is_placed(name: str) -> bool:
    """Whether calls of that name get a `Site`: everything that can draw at random, and softmax."""
    return name in _PLACED


def layer_of(module: nn.Module) -> str:
    """The torch.nn class whose `forward` the module runs, or an empty string for a class of the user's."""
    for base in type(module).__mro__:
        if "forward" in vars(base):
            return base.__name__ if base.__module__.startswith("torch.nn.") else ""
    return ""


@contextmanager
def eager() -> Iterator[None]:
    """Run what the user wrote: no fused attention path, no compiled code."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as undo:
        undo.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        torch.backends.mha.set_fastpath_enabled(False)
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and asking would import it
            undo.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class Sight(TorchFunctionMode):
    """A function mode that knows which module is running and gives random calls their `Site`."""

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        super().__init__()
        self._paths: dict[int, str] = {id(module): path for path, module in reversed(list(model.named_modules()))}
        self._running: list[nn.Module] = []
        self._turns: Counter[tuple[str, str, Place | None]] = Counter()
        self._locate = locate
        self.called: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow modules and torch calls for the duration of a `with` block."""

        def enter(module: nn.Module, args: Any) -> None:
            self._running.append(module)
            self.called.add(self._paths.get(id(module), ""))

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            while self._running and self._running[-1] is not module:
                self._running.pop()
            self.left(module, args, result)
            self._running.pop()

        before = register_module_forward_pre_hook(enter)
        after = register_module_forward_hook(leave, always_call=True)
        try:
            with self:
                yield
        finally:
            before.remove()
            after.remove()
            self._running.clear()

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        """Called as each module's forward returns; `result` is None where it raised."""

    def path_of(self, module: nn.Module) -> str:
        """The module's path in the model; a module that is not registered is named after where it runs."""
        known = self._paths.get(id(module))
        if known is not None:
            return known
        above = next((self._paths[id(each)] for each in reversed(self._running) if id(each) in self._paths), "")
        return f"{above}.<{type(module).__name__}>".removeprefix(".")

    @property
    def module(self) -> str:
        """Path of the innermost running module."""
        return "" if not self._running else self.path_of(self._running[-1])

    @property
    def layer(self) -> str:
        """The torch.nn layer that is running, or an empty string inside the user's own `forward`."""
        return layer_of(self._running[-1]) if self._running else ""

    def site(self, name: str) -> Site:
        """The site of the call in progress. To be asked once per call: it counts turns."""
        module = self.module
        place = self._place()
        turn = self._turns[module, name, place]
        self._turns[module, name, place] += 1
        return Site(module, name, place, turn)

    def _place(self) -> Place | None:
        place = calling_place()
        owner = self._owner()
        if owner is not None and self._locate is not None:
            return self._locate(*owner) or place
        return place

    def _owner(self) -> tuple[type, str] | None:
        """For a layer that a container calls: the class that runs the container, and the layer's path in it."""
        if len(self._running) < 2 or not layer_of(self._running[-2]):
            return None
        user = next((each for each in reversed(self._running) if not layer_of(each)), None)
        if user is None or id(self._running[-1]) not in self._paths:
            return None
        path, prefix = self._paths[id(self._running[-1])], self._paths.get(id(user))
        if prefix is None or not path.startswith(prefix):
            return None
        return type(user), path[len(prefix) :].lstrip(".")


def arguments_of(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[float | None, bool | None]:
    """Rate and activity of a dropping call, from its arguments as given (None: a value that is not a number)."""
    how = DROPPING[name]
    rate = _argument(how.rate, args, kwargs)
    training = True if how.training is None else _argument(how.training, args, kwargs)
    if how.training is not None and "train" in kwargs:
        training = kwargs["train"]
    rate = float(rate) if isinstance(rate, (int, float)) else None
    if not isinstance(training, (bool, int)):
        return rate, None
    return rate, bool(training) and rate != 0.0


def _argument(spec: tuple[int, str, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    position, name, default = spec
    if name in kwargs:
        return kwargs[name]
    return args[position] if len(args) > position else default


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested tuples, lists and dicts, depth first."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors_in(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
