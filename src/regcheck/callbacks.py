"""Callbacks for the trainers of Lightning and transformers: watch a training, and report once, at its first validation.

`from regcheck.callbacks import LightningCallback, TransformersCallback`; a framework is imported when its callback is
first asked for. Training goes on as it would without them, bit for bit.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import weakref
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from regcheck.config import select
from regcheck.config.options import Options
from regcheck.core.errors import RegcheckError
from regcheck.core.report import Report
from regcheck.core.usage import Event, ModeSet
from regcheck.plugins import catalogue
from regcheck.session.block import WatchSession

LIGHTNINGS = ("lightning.pytorch", "pytorch_lightning")
"""Lightning under its two names, which share no class."""

VALIDATIONS = ("validation_step", "test_step", "predict_step", "evaluate", "evaluation_loop", "prediction_step")
"""The methods that trainers call for a validation after they have called `eval()`."""


class Reporting:
    """The base of both callbacks: watch a training from its beginning to its first report.

    Args:
        options: as `regcheck.audit` takes them.
        raise_on_findings: stop the training with `regcheck.core.errors.Failed` if the report is not ok.

    Raises:
        UsageError: an unknown option or rule code.
    """

    def __init__(self, options: Options | Mapping[str, Any] | None = None, *, raise_on_findings: bool = False) -> None:
        self._options = Options.of(options)
        select.chosen(catalogue(), self._options)
        self._raises = raise_on_findings
        self._watch: WatchSession | None = None
        self.report: Report | None = None

    def _begin(self) -> None:
        if self._watch is None and self.report is None:
            self._watch = WatchSession(self._options, "the training", without_undone_eval)
            self._watch.start()
            weakref.finalize(self, self._watch.give_up)

    def _end(self, logger: str, *, speaks: bool) -> None:
        watch, self._watch = self._watch, None
        if watch is None:
            return
        watch.stop(whole=False)
        self.report = watch.report
        if speaks:
            level = logging.WARNING if self.report.findings else logging.INFO
            logging.getLogger(logger).log(level, "regcheck: %s", self.report)
        if self._raises:
            self.report.raise_if_failed()


class LightningHooks(Reporting):
    """The hooks of Lightning. The sanity check before training is watched, but ends nothing."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._begin()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self._end(package_of(trainer), speaks=trainer.is_global_zero)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._end(package_of(trainer), speaks=trainer.is_global_zero)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        with contextlib.suppress(RegcheckError):  # the training's own exception is the one to show
            self._end(package_of(trainer), speaks=trainer.is_global_zero)


class TransformersHooks(Reporting):
    """The hooks of transformers. An evaluation before the first step is watched, but ends nothing."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._watch is not None:  # the training before raised; transformers calls no hook then
            self._watch.give_up()
            self._watch = None
        self._begin()

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step:
            self._end("transformers.trainer", speaks=state.is_world_process_zero)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end("transformers.trainer", speaks=state.is_world_process_zero)


def without_undone_eval(event: Event) -> Event | None:
    """Returns the event, or None for a `train()` in a validation.

    Elsewhere a `train()` just before a prediction requests Monte-Carlo dropout. Here the trainer has called `eval()`
    for the validation, and code that undoes it spoils the metrics that select models.
    """
    undoes = isinstance(event, ModeSet) and event.training and function_name(event.function) in VALIDATIONS
    return None if undoes else event


def function_name(function: str) -> str:
    """The bare name of an event's function, `path:name:line`."""
    return function.rpartition(":")[0].rpartition(":")[2]


def package_of(trainer: Any) -> str:
    """The name under which a trainer of Lightning was imported, which is its logger's name, too."""
    modules = [cls.__module__ for cls in type(trainer).__mro__]
    return next((name for name in LIGHTNINGS if any(each.startswith(name) for each in modules)), LIGHTNINGS[0])


def _lightning() -> type:
    """The callback class: of each Lightning that is imported, or of one that is installed."""
    loaded = [name for name in LIGHTNINGS if sys.modules.get(name)]
    bases = [import_module(name).Callback for name in loaded or [_installed(*LIGHTNINGS)]]
    return type("LightningCallback", (LightningHooks, *bases), {"__module__": __name__, "__doc__": Reporting.__doc__})


def _transformers() -> type:
    base = import_module(_installed("transformers")).TrainerCallback
    return type("TransformersCallback", (TransformersHooks, base), {"__module__": __name__})


def _installed(*names: str) -> str:
    """The first of these modules that can be imported.

    Raises:
        ImportError: none is installed.
    """
    for name in names:
        try:
            import_module(name)
            return name
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    package = names[0].partition(".")[0]
    raise ImportError(f"this callback needs {package}: `pip install {package}`")


_FACTORIES = {"LightningCallback": _lightning, "TransformersCallback": _transformers}


def __getattr__(name: str) -> Any:
    if name not in _FACTORIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    callback = globals()[name] = _FACTORIES[name]()
    return callback


def __dir__() -> list[str]:
    return sorted(_FACTORIES)
