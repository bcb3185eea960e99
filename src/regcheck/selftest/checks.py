"""Run the selftest: every layer, norm and optimizer on every device in every mode; statistical checks share α."""

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
"""The false-alarm probability of a whole selftest (Bonferroni: the sum over its checks)."""


def selftest(
    devices: Sequence[str],
    modes: Sequence[str] = MODES,
    seed: int = 0,
    *,
    layers: Sequence[DropoutLayer] = LAYERS,
    batch_norms: Sequence[Norm] = NORMS,
    methods: Sequence[Method] = METHODS,
    on_progress: Callable[[str], None] = lambda description: None,
) -> Selftest:
    """Compare torch's layers, norms and optimizers with the references.

    Restores the global random streams.

    Args:
        devices: names of torch devices to run on.
        modes: "eager", "compiled" or both.
        seed: seed of all draws.
        layers: the dropout layers.
        batch_norms: the batch norms.
        methods: the optimizers.
        on_progress: called with a description before each subject.
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
                outcomes.append(CheckSubject("torch.compile", device, mode).not_run("everything", why))
                continue
            for thing in things:
                subject = CheckSubject(thing.name, device, mode)
                on_progress(f"{subject.what} on {device}, {mode}")
                outcomes += run_checks(subject, thing, seed, share)
    return Selftest(tuple(outcomes), torch.__version__, seed, ALPHA, time.monotonic() - began)


def run_checks(
    subject: CheckSubject, thing: DropoutLayer | Norm | Method, seed: int, alpha: float
) -> list[CheckResult]:
    """Returns the outcomes of all checks of a thing, up to the first that raises, which is "not run"."""
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
    except Exception as error:  # an unsupported operation of a device or the compiler is no failure
        outcomes.append(subject.not_run("the rest" if outcomes else "everything", describe_error(error)))
    return outcomes


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress warnings and logs of the code under test."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
