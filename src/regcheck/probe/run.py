"""Run one model, on one device, the same way as often as needed."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import CannotMeasure, stops, told
from regcheck.core.graph import Mode, Site
from regcheck.trace.inputs import home_of, mapped, moved
from regcheck.trace.place import runs_the_model
from regcheck.trace.running import Locate
from regcheck.trace.sight import eager
from regcheck.trace.structure import named_tensors, tensors_in

from .intervene import Intervention, Replacement
from .restore import copied
from .seeds import seed_streams
from .state import State
from .world import use

Modes = Mode | Mapping[str, bool]
"""A mode for the whole model, or the training flag of each module by path."""


@dataclass(frozen=True)
class Deadline:
    """The `time.monotonic()` after which no run is begun, and what is told then."""

    at: float
    told: str

    def keep(self) -> None:
        """Raise `CannotMeasure` once it is over."""
        if time.monotonic() > self.at:
            raise CannotMeasure(self.told)


class Enough(Exception):
    """What was to be seen of a run was seen."""


class Runner:
    """Runs a copy of a model on `device`; every run starts from the same state, inputs and random streams.

    Args:
        model: a copy that may be run where it is; its state is put back after each run. On another device than its own
            a copy of it is run.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.
        device: where to run it.
        locate: as given to the recorder, so that the same calls have the same sites.
        deadline: until when runs may begin.
        around: what the forward is run under; by default under what the caller is.
    """

    def __init__(
        self,
        model: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        device: str,
        locate: Locate | None = None,
        deadline: Deadline | None = None,
        around: Callable[[], Any] = nullcontext,
    ) -> None:
        at_home = home_of(model).type == torch.device(device).type
        self._around: Callable[[], Any] | None = nullcontext if at_home else None
        use(device)
        self.model = model if at_home else copied(model, device)
        self.device = device
        self._at = None if at_home else device
        self._args, self._kwargs = tuple(args), dict(kwargs)
        self._state = State(self.model)
        self._locate = locate
        self._deadline = deadline
        self._under = around

    def inputs(self) -> list[torch.Tensor]:
        """The tensors among the arguments of the forward."""
        return tensors_in((self._args, self._kwargs))

    @runs_the_model
    def run(
        self,
        modes: Modes,
        seed: int,
        *,
        vary: Mapping[Site, int] | None = None,
        replace: Mapping[Site, Replacement] | None = None,
        observe: Callable[[Site | None, str, Any, Any, Any], None] | None = None,
        change: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> list[torch.Tensor]:
        """One forward; the tensors of its result, detached.

        Args:
            modes: the mode to run in.
            seed: seeds every random stream; the same seed gives the same draws.
            vary: seeds by site for the calls that shall draw differently.
            replace: what to do instead, by site.
            observe: sees every call; it ends the run, which then has no result, by raising `Enough`.
            change: applied to every input tensor.

        Raises:
            CannotMeasure: forward raised, or there is no time left.
        """
        if self._deadline is not None:
            self._deadline.keep()
        if self._around is None:
            self._around = self._needed_around()
        self._set(modes)
        args, kwargs = self._inputs()
        if change is not None:
            args, kwargs = mapped(args, change), mapped(kwargs, change)
        random.seed(seed)
        seed_streams(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed % 2**32)
        intervention = Intervention(self.model, seed, locate=self._locate, vary=vary, replace=replace, observe=observe)
        try:
            with eager(), torch.no_grad(), intervention.watching(), self._around(), self._under():
                result = self.model(*args, **kwargs)
        except Enough:
            return []
        except BaseException as error:
            if stops(error):
                raise
            raise CannotMeasure(f"forward raised {told(error)}") from error
        finally:
            self._state.restore()
        return [each.detach().clone() for each in outputs_of(result)]

    @runs_the_model
    def _needed_around(self) -> Callable[[], Any]:
        """What a forward away from home is run in: code that names no device for what it makes is given this one."""
        args, kwargs = self._inputs()
        try:
            with eager(), torch.no_grad(), self._under():
                self.model(*args, **kwargs)
        except BaseException as error:
            if stops(error):
                raise
            return partial(torch.device, self.device)
        finally:
            self._state.restore()
        return nullcontext

    def _inputs(self) -> tuple[Any, Any]:
        try:
            return moved(self._args, self._at), moved(self._kwargs, self._at)
        except Exception as error:
            raise CannotMeasure(f"the inputs cannot be copied to {self.device}: {told(error)}") from error

    def _set(self, modes: Modes) -> None:
        if isinstance(modes, Mode):
            self.model.train(modes is Mode.TRAIN)
            return
        for path, module in self.model.named_modules():
            if path in modes:
                module.training = modes[path]


def outputs_of(result: Any) -> list[torch.Tensor]:
    """The tensors of a forward's result, in a stable order."""
    return [tensor for _, tensor in named_tensors(result, "output")]
