"""Change what single calls of a running model do, without touching the model.

Every random call draws from its own stream, seeded by the call's place in the model. So one call's stream can change,
or the call can be removed, and all other calls draw the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import CannotMeasure
from regcheck.core.graph import Site
from regcheck.files.escape import encode
from regcheck.files.place import Place
from regcheck.torch_api.functions import DROPOUTS, DROPPING, STACKED
from regcheck.tracing.call_interceptor import (
    TorchCallInterceptor,
    draws,
    is_placed,
    name_of,
    rate_position,
    script_name,
)
from regcheck.tracing.cost import Meter
from regcheck.tracing.running import Locate

from .memoized_calls import MemoizedCalls
from .seeds import seed_streams

Replacement = Callable[[Any, Any, Any], Any]
"""Takes the torch function, its positional and its keyword arguments; returns the call's result."""


class CallNumbers:
    """Numbers the source positions where a module calls a function, in order of first appearance.

    Streams are seeded by this number and not by the position itself: code that moves by a line draws the same numbers.
    """

    def __init__(self, expected: Iterable[Site] = ()) -> None:
        self._numbers: dict[tuple[str, str], dict[Place | None, int]] = {}
        for site in expected:
            self.number(site)

    def number(self, site: Site) -> int:
        """The number of a call's source position."""
        numbers = self._numbers.setdefault((site.module, site.function), {})
        return numbers.setdefault(site.place, len(numbers))


class Intervention(TorchCallInterceptor):
    """A function mode with one random stream for each call, which replaces the calls at chosen sites.

    Args:
        model: the model about to run.
        seed: seeds every stream.
        locate: as given to the recorder, so that the same calls have the same sites.
        vary: seeds by site, for calls whose stream does not follow `seed`.
        replace: replacements by site.
        observe: called with the site, the function's name, its arguments and its result, for every call.
        numbers: numbers the calls; runs that share it seed the same call alike.
        meter: counts the operations of all calls.
        memoized: memoizes calls; `observe` then sees only those that depend on the calls in which the runs differ.
    """

    def __init__(
        self,
        model: nn.Module,
        seed: int,
        *,
        locate: Locate | None = None,
        vary: Mapping[Site, int] | None = None,
        replace: Mapping[Site, Replacement] | None = None,
        observe: Callable[[Site | None, str, Any, Any, Any], None] | None = None,
        numbers: CallNumbers | None = None,
        meter: Meter | None = None,
        memoized: MemoizedCalls | None = None,
    ) -> None:
        super().__init__(model, locate)
        self._memoized = memoized
        self._meter = meter or Meter()
        self._numbers = numbers or CallNumbers()
        self._seed = seed
        self._vary = vary or {}
        self._replace = replace or {}
        self._observe = observe

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        site = self.running.site(name) if is_placed(name) else None
        if self._memoized is None:
            return self._perform(func, name, site, args, kwargs, self._observe is not None)
        perform = partial(self._perform, func, name, site, args, kwargs)
        return self._memoized.call(perform, func, name, site, args, kwargs)

    def _perform(self, func: Any, name: str, site: Site | None, args: Any, kwargs: Any, observed: bool) -> Any:
        """Make a call: from its own stream, or by its replacement."""
        drawing = site is not None and draws(name)
        if site is not None and drawing:
            seed = self._seed_stream(site)
            for each in (*args, *kwargs.values()):
                if isinstance(each, torch.Generator):  # the model's own; its state is restored after the run
                    each.manual_seed(seed)
        observe = self._observe if observed else None
        before = _before_call(args) if observe is not None and drawing else args
        replacement = None if site is None else self._replace.get(site)
        result = func(*args, **kwargs) if replacement is None else replacement(func, args, kwargs)
        self._meter.count(name, args, kwargs, result)
        if observe is not None:
            observe(site, name, before, kwargs, result)
        return result

    def script_begins(self, module: nn.Module) -> None:
        """Seed the stream of a scripted module, whose calls are not seen."""
        if self._memoized is not None:
            self._memoized.give_up()
        self._seed_stream(self.running.site(script_name(module)))

    def _seed_stream(self, site: Site) -> int:
        seed = stream(self._vary.get(site, self._seed), site, self._numbers.number(site))
        seed_streams(seed)
        return seed


def stream(seed: int, site: Site, number: int) -> int:
    """The seed of a call's random stream; `number` is that of its source position (see `CallNumbers`)."""
    text = f"{seed}|{site.module}|{site.function}|{number}|{site.occurrence}"
    return int.from_bytes(hashlib.blake2b(encode(text), digest_size=7).digest(), "big")


def _before_call(args: Any) -> Any:
    """Copies of positional arguments, as the call may work in place."""
    return tuple(each.detach().clone() if isinstance(each, torch.Tensor) else each for each in args)


def identity(func: Any, args: Any, kwargs: Any) -> Any:
    """The call without its dropping: dropout returns its input, and a call that does more than drop is re-gated."""
    name = name_of(func)
    if name in DROPOUTS:
        tensor = args[0] if args else kwargs["input"]
        return _in_result_form(func, tensor.clone())
    return regated(func, args, kwargs)


def regated(func: Any, args: Any, kwargs: Any) -> Any:
    """The call as in eval mode: with its `training` off, or at a rate of 0 where it has no such argument."""
    name = name_of(func)
    if name in STACKED:
        place = rate_position(args)
        return func(*(0.0 if index == place else each for index, each in enumerate(args)), **kwargs)
    how = DROPPING[name]
    position, word, _ = how.switch(kwargs) or how.rate
    off = 0.0 if how.training is None else False
    if len(args) > position:
        return func(*args[:position], off, *args[position + 1 :], **kwargs)
    return func(*args, **{**kwargs, word: off})


def nothing(func: Any, args: Any, kwargs: Any) -> Any:
    """Everything dropped: zeros in place of a dropout's result, or alpha dropout's value for a dropped unit."""
    tensor = args[0] if args else kwargs["input"]
    if "alpha" not in name_of(func):
        return _in_result_form(func, torch.zeros_like(tensor))
    zeros = torch.zeros(256, 256, 1, dtype=tensor.dtype, device=tensor.device)
    sample = func(zeros, *args[1:], **{name: each for name, each in kwargs.items() if name != "input"})
    dropped, passed = sample.aminmax()  # a dropped unit is set far below zero, the others move up a little
    if not dropped < passed:
        raise CannotMeasure("too few units are dropped to observe the value of a dropped unit")
    return torch.full_like(tensor, float(dropped))


def _in_result_form(func: Any, tensor: torch.Tensor) -> Any:
    """A tensor in the form of a dropout's result: some of torch's functions return their mask with it."""
    masked = "native_dropout" in str(func) or "fused_dropout" in str(func)
    return (tensor, torch.ones_like(tensor, dtype=torch.bool)) if masked else tensor
