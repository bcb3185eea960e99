"""The running module of a model: its path, its layer, and the place of its call."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import takewhile

from torch import fx, nn

from regcheck.core.graph import Reach, Site
from regcheck.files.place import Place
from regcheck.keras_api.layer_tree import is_layer, named_parts

from .keras_construction import places_of
from .traced_code import traced_module
from .unregistered import unregistered_modules
from .user_line import calling_place

Locate = Callable[[type, str], Place | None]
"""Returns where a class's `__init__` builds the layer at a module path, for layers that a container calls."""


def layer_of(module: nn.Module) -> str:
    """The torch.nn class whose `forward` the module runs, or Keras' as `keras.layers.…`.

    It is an empty string for a class of the user's.
    """
    bases = type(module).__mro__
    if is_layer(module):
        owner = next((base for base in bases if "call" in vars(base)), object)
        named = next((base.__name__ for base in bases if base.__module__.startswith("keras.src.")), "")
        return f"keras.layers.{named}" if owner.__module__.startswith("keras.src.") else ""
    owner = next((base for base in bases if "forward" in vars(base)), object)
    if not owner.__module__.startswith("torch.nn."):
        return ""
    return next(base.__name__ for base in bases if base.__module__.startswith("torch.nn."))


class ModuleStack:
    """The stack of a model's running modules, which determines the `Site` of the current call.

    `ran` holds the paths of the registered modules whose forward has run.
    """

    def __init__(self, model: nn.Module, locate: Locate | None = None) -> None:
        self._paths: dict[int, str] = {id(module): path for path, module in reversed(list(named_parts(model)))}
        self._model = model
        self._unregistered: set[int] | None = None
        self._stack: list[nn.Module] = []
        self.ran: set[str] = set()
        self._occurrences: Counter[tuple[str, str, Place | None]] = Counter()
        self._layers: dict[type, str] = {}
        self._locate = locate

    def enter(self, module: nn.Module) -> None:
        self._stack.append(module)
        self.note(module)

    def note(self, module: nn.Module) -> None:
        """Note that a module runs, if it is registered."""
        path = self._paths.get(id(module))
        if path is not None:
            self.ran.add(path)

    def leave(self, module: nn.Module) -> None:
        """Pop `module`, and the modules above it that an error left on the stack."""
        while self._stack and self._stack.pop() is not module:
            pass

    def path_of(self, module: nn.Module) -> str:
        """The module's path in the model; an unregistered module gets the path of the module that runs it."""
        path = self._paths.get(id(module))
        if path is not None:
            return path
        above = next((self._paths[id(each)] for each in reversed(self._stack) if id(each) in self._paths), "")
        return f"{above}.<{type(module).__name__}>".removeprefix(".")

    @property
    def innermost(self) -> nn.Module | None:
        """The module on top of the stack."""
        return self._stack[-1] if self._stack else None

    @property
    def module(self) -> str:
        """Path of the innermost running module."""
        return "" if not self._stack else self.path_of(self._stack[-1])

    @property
    def layer(self) -> str:
        """The torch.nn layer that is running, or an empty string inside the user's own `forward`."""
        if not self._stack:
            return ""
        layer = self._layers.get(type(self._stack[-1]))
        if layer is None:
            layer = self._layers[type(self._stack[-1])] = layer_of(self._stack[-1])
        return layer

    @property
    def returns_to_code(self) -> bool:
        """Whether the user's code alone gets what the running layer returns: no hook of it, no `Sequential` around."""
        if not self.layer:
            return True
        hooked = bool(self._stack[-1]._forward_hooks)
        return not hooked and not (len(self._stack) > 1 and isinstance(self._stack[-2], nn.Sequential))

    @property
    def reach(self) -> Reach | None:
        """How the model stores the running torch.nn layer; None inside the user's own `forward`.

        It is None in a layer of Keras too: the call decides about its mode, and no switch of the model has to reach it.
        """
        if not self.layer or self.layer.startswith("keras."):
            return None
        if id(self._stack[-1]) in self._paths:
            return Reach.REGISTERED
        if self._unregistered is None:
            self._unregistered = {id(each) for each in unregistered_modules(self._model)}
        return Reach.HIDDEN if id(self._stack[-1]) in self._unregistered else Reach.NEW

    @property
    def constructed_at(self) -> Place | None:
        """Where the source of a module around it builds the running torch.nn layer; None where no source shows it."""
        path = self._paths.get(id(self._stack[-1])) if self.layer and self._locate is not None else None
        for module in reversed(self._stack[:-1]):
            prefix = self._paths.get(id(module))
            if self._locate is not None and path is not None and prefix is not None and path.startswith(prefix):
                built = self._locate(type(module), path[len(prefix) :].lstrip("."))
                if built is not None:
                    return built
        return None

    def site(self, name: str) -> Site:
        """The site of the current call; ask once per call, because it counts occurrences."""
        module = self.module
        if isinstance(self.innermost, fx.GraphModule):
            module = ".".join(filter(None, (module, traced_module(sys._getframe(1)))))
        place = self._place()
        occurrence = self._occurrences[module, name, place]
        self._occurrences[module, name, place] += 1
        return Site(module, name, place, occurrence)

    def _place(self) -> Place | None:
        if self._locate is not None:
            for owner, path in self._builders():
                built = self._locate(owner, path)
                if built is not None:
                    return built
        return self._construction_of_keras_layer() or calling_place()

    def _construction_of_keras_layer(self) -> Place | None:
        """For a layer of Keras that a container calls: the line that constructs it, or the layer around it."""
        if not self.layer.startswith("keras."):
            return None
        running = [*takewhile(layer_of, reversed(self._stack))]
        called_by_code = len(running) < len(self._stack)
        places = places_of(self._model)
        return next((places[id(each)] for each in running[: len(running) - called_by_code] if id(each) in places), None)

    def _builders(self) -> Iterator[tuple[type, str]]:
        """For a torch.nn layer that a container calls: the classes that may have built it, with its path in each."""
        if len(self._stack) < 2 or not self.layer or not layer_of(self._stack[-2]):
            return
        if id(self._stack[-1]) not in self._paths:
            return
        path = self._paths[id(self._stack[-1])]
        for module in reversed(self._stack[:-1]):
            prefix = self._paths.get(id(module))
            if (
                prefix is not None
                and path.startswith(prefix)
                and not type(module).__module__.startswith(("torch.nn.", "keras.src."))
            ):
                yield type(module), path[len(prefix) :].lstrip(".")
            if not layer_of(module):
                return
