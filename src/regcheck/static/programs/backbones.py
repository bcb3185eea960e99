"""Models of torchvision: built from the table of their parts, so that programs may freeze, take and replace these."""

from __future__ import annotations

from regcheck.files.place import Place
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    OPEN,
    Cells,
    Constant,
    Container,
    LayerValue,
    Module,
    argument,
    truth,
)
from regcheck.torch_api.backbones import Parts, backbone_named

from .events import EventLog

_SEQUENTIAL = "classifier"
"""The part that programs index to replace a layer, a `Sequential` in each family that has several layers there."""


class Backbones(Part):
    """Builds them."""

    def __init__(self, log: EventLog) -> None:
        self.log = log

    def built(self, name: str, args: Args, kwargs: Kwargs, place: Place | None) -> Container | None:
        """The model that a function of torchvision returns; None if its parts, or its norms' class, are unknown."""
        parts = backbone_named(name)
        if parts is None or "norm_layer" in kwargs or OPEN in kwargs:
            return None
        model = self._container(name.rpartition(".")[2], parts, place)
        loaded = kwargs.get("weights", argument(args, kwargs, 0, "pretrained"))
        if truth(loaded) is not False:
            self.log.load_weights(model)
        return model

    def _container(self, name: str, parts: Parts, place: Place | None) -> Container:
        container = Container(place, name=name, entries=Cells())
        self.state.created.append(container)
        for key, each in parts.items():
            container.entries[key] = self._part(key, each, place)
        return container

    def _part(self, name: str, part: Parts | tuple[object, ...], place: Place | None) -> Module:
        if not isinstance(part, tuple):
            return self._container("Sequential" if name == _SEQUENTIAL else name, part, place)
        layer, *arguments = part
        value = LayerValue(place, name=str(layer), args=tuple(map(Constant, arguments)))
        self.state.created.append(value)
        return value
