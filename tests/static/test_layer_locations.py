"""Where `__init__` builds a model's layers."""

from __future__ import annotations

from pathlib import Path

from regcheck.files.place import Place
from regcheck.static.models.layer_locations import constructors

SOURCE = """\
from collections import OrderedDict

from torch import nn


class Net(nn.Module):
    def __init__(self, depth=3, norm=True):
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.Sequential(nn.ReLU(), nn.Dropout()),
        )
        self.named = nn.Sequential(OrderedDict([("conv", nn.Conv2d(3, 8, 3)), ("drop", nn.Dropout())]))
        layers = [nn.Linear(4, 4)]
        for width in (4, 8):
            layers.append(nn.Linear(width, width))
        self.known = nn.Sequential(*layers)
        self.many = nn.ModuleList([nn.Linear(4, 4) for _ in range(depth)])
        parts = [nn.Conv2d(3, 8, 3)]
        if norm:
            parts.append(nn.BatchNorm2d(8))
        parts.append(nn.Dropout())
        self.choice = nn.Sequential(*parts)
"""


def test_the_position_of_each_constructor_call_is_told(tmp_path: Path) -> None:
    """Attributes, elements of nested containers and of loops that are certain have the place of the call."""
    file = tmp_path / "net.py"
    file.write_text(SOURCE)
    places = constructors(str(file), "Net", 6)
    lines = {name: place.line for name, place in places.items()}
    assert lines == {
        "drop": 9,
        "features": 10,
        "features.0": 11,
        "features.1": 12,
        "features.1.0": 12,
        "features.1.1": 12,
        "named": 14,
        "named.conv": 14,
        "named.drop": 14,
        "known": 18,
        "known.0": 15,
        "known.1": 17,
        "known.2": 17,
        "many": 19,
        "choice": 24,
        "choice.0": 20,
    }
    assert places["features.1.1"] == Place(str(file), 12, 38)


def test_what_depends_on_the_arguments_is_left_out(tmp_path: Path) -> None:
    """Nothing is said of a class that is not there, or of layers whose index depends on the arguments."""
    file = tmp_path / "net.py"
    file.write_text(SOURCE)
    assert constructors(str(file), "Net", 7) == {}
    assert constructors(str(file), "Other", 6) == {}
    assert constructors(str(tmp_path / "missing.py"), "Net", 6) == {}
    assert not any(name.startswith(("many.", "choice.1", "choice.2")) for name in constructors(str(file), "Net", 6))
