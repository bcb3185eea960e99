"""A selftest told from top to bottom: every subject on every device in every mode, α shared by all that is drawn."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product

import torch

from regcheck.probe.seeds import Streams

from . import mask_checks, norm_checks, optimizer_checks
from .dropout_layers import LAYERS, DropoutLayer
from .execution_modes import compile_in_parts, compile_whole, describe_error, eager, reason_not_compiled, reset_compiler
from .norm_checks import NORMS, Norm
from .optimizer_checks import METHODS, Method
from .results import MODES, CheckResult, CheckSubject, Selftest

ALPHA = 1e-6
"""The probability that a whole selftest fails although all is right (Bonferroni: the sum over its checks)."""


def selftest(
    devices: Sequence[str],
    modes: Sequence[str] = MODES,
    seed: int = 0,
    *,
    layers: Sequence[DropoutLayer] = LAYERS,
    batch_norms: Sequence[Norm] = NORMS,
    methods: Sequence[Method] = METHODS,
    tell: Callable[[str], None] = lambda what: None,
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
        tell: is told what will be run next.
    """
    began = time.monotonic()
    share = ALPHA / max(1, len(layers) * len(devices) * len(modes))
    outcomes: list[CheckResult] = []
    things: list[DropoutLayer | Norm | Method] = [*layers, *batch_norms, *methods]
    with quietly(), Streams() as streams, torch.enable_grad():
        for device in devices:
            streams.begin_to_use(device)
        for device, mode in product(devices, modes):
            why = reason_not_compiled(device) if mode == "compiled" else ""
            if why:
                outcomes.append(CheckSubject("torch.compile", device, mode).missed("everything", why))
                continue
            for thing in things:
                subject = CheckSubject(thing.name, device, mode)
                tell(f"{subject.what} on {device}, {mode}")
                outcomes += run_checks(subject, thing, seed, share)
    return Selftest(tuple(outcomes), torch.__version__, seed, ALPHA, time.monotonic() - began)


def run_checks(
    subject: CheckSubject, thing: DropoutLayer | Norm | Method, seed: int, alpha: float
) -> list[CheckResult]:
    """The outcomes of all checks of a thing; where one raises, that is the last outcome."""
    outcomes: list[CheckResult] = []
    whole = parts = eager
    if subject.mode == "compiled":
        whole, parts = compile_whole, compile_in_parts
        reset_compiler()
    try:
        if isinstance(thing, DropoutLayer):
            outcomes += mask_checks.check_masks(subject, thing, whole, seed, alpha)
        elif isinstance(thing, Norm):
            outcomes += norm_checks.check_norm(subject, thing, whole, seed)
        else:
            outcomes += optimizer_checks.check_optimizer(subject, thing, parts, seed)
    except Exception as error:  # what a device or the compiler cannot do is no fault of what it can
        outcomes.append(subject.missed("the rest" if outcomes else "everything", describe_error(error)))
    return outcomes


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of what is run: it is run as it is on purpose."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
