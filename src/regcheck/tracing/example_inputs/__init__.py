"""Example inputs for a model that came without any, inferred from what it says and from its layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch
from torch import nn

from .arguments import drawn_for, guessed
from .call_inputs import Inputs, elsewhere, home_of, mapped, moved, suited, with_another_sample
from .configured import Config, configured
from .declared import examples, pretrained
from .detection import detection
from .drawing import smooth
from .graphs import graphs

__all__ = [
    "Inputs",
    "candidates",
    "drawn_for",
    "elsewhere",
    "home_of",
    "mapped",
    "moved",
    "smooth",
    "with_another_sample",
]


def candidates(model: nn.Module) -> Iterator[Inputs]:
    """Inputs to try, on the model's device, most trustworthy first; nothing is run, each is made when asked for.

    What a model declares comes first. The `dummy_inputs` of a model with a configuration are one for all models of the
    library, so what its own configuration says goes before them.
    """
    sources = [examples, configured] if Config.of(model) is None else [configured, examples]
    for source in (*sources, pretrained, detection, graphs, guessed):
        with suppress(Exception):  # what a model says of itself may be anything; one source less is no reason to stop
            drawn = source(model)
            while (inputs := _next(drawn)) is not None:
                yield suited(inputs, model)


def _next(drawn: Iterator[Inputs]) -> Inputs | None:
    """The next inputs, drawn on the CPU whatever the program's default device."""
    with torch.device("cpu"):
        return next(drawn, None)
