"""braindecode: every model, with the parameters and signals that its own tests use."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from zoo.entry import Arguments, Entry


def entries(library: str) -> Iterator[Entry]:
    """Models that take one signal of shape (samples, channels, times); interpolating variants are left out."""
    from braindecode.models import util

    for name, required, own in util.models_mandatory_parameters:
        if not name.startswith("Interpolated"):
            yield Entry(library, name, partial(built, name, required, own), partial(signal, own))


def built(name: str, required: list[str], own: Any) -> nn.Module:
    from braindecode.models import util

    wanted = util._get_signal_params(own, required)
    model: nn.Module = util.models_dict[name](**wanted)
    if any(map(nn.parameter.is_lazy, model.parameters())):
        model(*signal(own, model)[0])
    return model


def signal(own: Any, model: nn.Module) -> Arguments:
    """Two samples of the signal that the model was built for."""
    from braindecode.models import util

    size = util._get_signal_params(own)
    return (torch.randn(2, size["n_chans"], size["n_times"]),), {}
