"""A selftest told from top to bottom: every subject on every device in every mode, α shared by all that is drawn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch

from . import masks, norms, steps
from .layers import LAYERS, Layer
from .modes import MODES, as_it_is, compiled, no_compiler, reason
from .norms import NORMS, Norm
from .outcome import Outcome, Selftest, Subject
from .steps import METHODS, Method

ALPHA = 1e-6
"""The probability that a whole selftest fails although all is right (Bonferroni: the sum over its checks)."""


def selftest(
    devices: Sequence[str],
    modes: Sequence[str] = MODES,
    seed: int = 0,
    *,
    layers: Sequence[Layer] = LAYERS,
    batch_norms: Sequence[Norm] = NORMS,
    methods: Sequence[Method] = METHODS,
    tell: Callable[[Subject], None] = lambda subject: None,
) -> Selftest:
    """Hold torch's layers, norms and optimizers to the references.

    The global random streams are left as they are.

    Args:
        devices: where to run, each a name that torch knows.
        modes: "eager", "compiled" or both.
        seed: seeds all draws.
        layers: the dropping layers.
        batch_norms: the batch norms.
        methods: the optimizers.
        tell: is told of each subject before it is run.
    """
    began = time.monotonic()
    share = ALPHA / max(1, len(layers) * len(devices) * len(modes))
    outcomes: list[Outcome] = []
    things: list[Layer | Norm | Method] = [*layers, *batch_norms, *methods]
    with torch.random.fork_rng(), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for device, mode in product(devices, modes):
            why = no_compiler(device) if mode == "compiled" else ""
            if why:
                outcomes.append(Subject("torch.compile", device, mode).missed("everything", why))
                continue
            for thing in things:
                subject = Subject(thing.name, device, mode)
                tell(subject)
                outcomes += attempted(subject, thing, compiled if mode == "compiled" else as_it_is, seed, share)
    return Selftest(tuple(outcomes), torch.__version__, seed, ALPHA, time.monotonic() - began)


def attempted(
    subject: Subject, thing: Layer | Norm | Method, compile: Callable[[Any], Any], seed: int, alpha: float
) -> list[Outcome]:
    """The outcomes of all checks of a thing; where one raises, that is the last outcome."""
    outcomes: list[Outcome] = []
    try:
        if isinstance(thing, Layer):
            outcomes += masks.checked(subject, thing, compile, seed, alpha)
        elif isinstance(thing, Norm):
            outcomes += norms.checked(subject, thing, compile, seed)
        else:
            outcomes += steps.checked(subject, thing, compile, seed)
    except Exception as error:  # what a device or the compiler cannot do is no fault of what it can
        outcomes.append(subject.missed("everything" if not outcomes else "the rest", reason(error)))
    return outcomes
