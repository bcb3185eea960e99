"""Run one model, on one device, the same way as often as needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import CannotMeasure, format_error, stops
from regcheck.core.graph import Mode, Site
from regcheck.files.place import Place
from regcheck.keras_api.layer_tree import named_parts
from regcheck.tracing.call_interceptor import eager
from regcheck.tracing.cost import Meter, overhead_of
from regcheck.tracing.example_inputs import Inputs, home_of, mapped, moved
from regcheck.tracing.forward_call import run
from regcheck.tracing.mode_switch import switch_mode
from regcheck.tracing.nested_values import named_tensors, tensors_in
from regcheck.tracing.outputs import Output, outputs_of
from regcheck.tracing.running import Locate
from regcheck.tracing.streams import NumberStreams
from regcheck.tracing.user_line import runs_the_model

from .audit_copy import copied
from .batch_slice import affordable, batch_size, first_samples
from .interventions import CallNumbers, Intervention, Replacement
from .memoized_calls import Diverged, MemoizedCalls
from .process_state import use
from .run_state import RunState
from .seeds import seed_everything
from .statistics import binomial_interval, fewest_draws
from .work_plan import Budget

Modes = Mode | Mapping[str, bool]
"""A mode for the whole model, or the training flag of each module by path."""


class Enough(Exception):
    """Ends a run early: its observer has seen all that it needs."""


class Runner:
    """Runs a copy of a model on `device`; every run starts from the same state, inputs and random streams.

    Args:
        model: a copy that may run on its own device; its state is restored after each run. On another device a copy of
            it runs.
        args: positional arguments of its forward.
        kwargs: keyword arguments of its forward.
        device: where to run it.
        locate: as given to the recorder, so that the same calls have the same sites.
        budget: the work that all runs of this model may take.
        work: the operations of a forward in each mode, where they are recorded; else `try_out` counts them.
        around: returns a context manager to run the forward in.

    A measurement takes the work of its runs from the budget by `plan` before it makes them.
    """

    def __init__(
        self,
        model: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        device: str,
        locate: Locate | None = None,
        budget: Budget | None = None,
        work: Mapping[Mode, int] | None = None,
        around: Callable[[], Any] = nullcontext,
    ) -> None:
        at_home = home_of(model).type == torch.device(device).type
        self._around: Callable[[], Any] | None = nullcontext if at_home else None
        use(device)
        self.model = model if at_home else copied(model, device)
        self.device = device
        self._at = None if at_home else device
        self._args, self._kwargs = tuple(args), dict(kwargs)
        self._state = RunState(self.model)
        self._number_streams = NumberStreams(self.model)
        self._locate = locate
        self._under = around
        self.budget = budget or Budget()
        self._work = dict(work or {})
        self._numbers = CallNumbers()
        self._overhead = overhead_of(self.model)
        self.operations = 0
        self.notes: list[str] = []
        self._is_in_succession = False
        self._memoized: tuple[Any, MemoizedCalls] | None = None
        self._diverging: set[Any] = set()
        self._unsteady: set[str] | None = None  # outputs that differ between replays, such as times

    @property
    def samples(self) -> int:
        """The leading size that all tensors among the arguments have in common; zero where they differ."""
        return batch_size(Inputs(self._args, self._kwargs))

    def inputs(self) -> list[torch.Tensor]:
        """The tensors among the arguments of the forward."""
        return tensors_in((self._args, self._kwargs))

    def expect(self, sites: Iterable[Site]) -> None:
        """Number the calls at these sites in advance, so that their streams do not depend on which run is first."""
        self._numbers = CallNumbers(sites)

    def plan(
        self,
        runs: int,
        draws: tuple[int, int] = (0, 0),
        *,
        mode: Mode = Mode.TRAIN,
        work: int = 0,
        behind: Collection[Site] = (),
        few: int = 0,
    ) -> int:
        """Take the work of `runs` runs, and of as many more as the budget allows, from the model's budget.

        Args:
            runs: the runs that the measurement requires.
            draws: the fewest further runs that can decide anything, and the most that are useful.
            mode: the mode of the runs.
            work: the operations of one run, where it is not a whole forward.
            behind: the calls in which the runs differ, see `run`; the first one is a whole forward.
            few: how many samples the runs have, see `run`.

        Returns:
            How many further runs to make.

        Raises:
            CannotMeasure: the budget does not allow it.
        """
        if behind and self._memoized is not None:
            modes, _, sites, samples = self._memoized[0]
            if (modes, sites, samples) == (mode, frozenset(behind), few):
                work = self._memoized[1].work
        whole = self._work.get(mode, 0)
        each = (work or (whole * few // self.samples if few else whole)) + self._overhead
        return self.budget.take(each, runs + draws[0], runs + draws[1]) - runs

    def plan_share(self, draws: int, wanted: int, rate: float, alpha: float, **each: Any) -> int:
        """Plan the runs that count the units lost at a rate, and note what fewer than `wanted` runs cannot distinguish.

        Args:
            draws: the independent units of one run.
            wanted: the most runs that are useful, with the one that has been made.
            rate: the expected rate.
            alpha: the probability that the interval misses it.
            each: the `mode` and the `work` of each run, as `plan` takes them.

        Returns:
            How many runs there are in all.

        Raises:
            CannotMeasure: the budget does not allow the runs that distinguish the rate from zero.
        """
        least = min(wanted, -(-fewest_draws(rate, alpha) // max(draws, 1)))
        runs = 1 + self.plan(0, (least - 1, wanted - 1), **each)
        if runs < wanted:
            low, high = binomial_interval(runs * draws, rate, alpha)
            power = f"shares from {low:.2g} to {high:.2g} are indistinguishable from {rate:.2g}"
            self.notes.append(f"its budget allows {runs} of {wanted} runs: {power}")
        return runs

    def try_out(self, modes: Modes, seed: int) -> list[torch.Tensor]:
        """Run one forward, within the budget, to count its operations; return the tensors of its result.

        Raises:
            CannotMeasure: it takes more than the budget allows, or raises.
        """
        outputs = self.run(modes, seed, limit=self.budget.left)
        self._work = dict.fromkeys(Mode, self.operations)
        self.plan(1)
        return outputs

    def fit(self, modes: Modes, seed: int, runs: int) -> list[torch.Tensor]:
        """Take the work of `runs` runs, on fewer samples where all are too expensive; return one more run's result.

        Raises:
            CannotMeasure: the budget does not allow it, or forward raises.
        """
        outputs = self.try_out(modes, seed)
        whole, inputs = self.operations, Inputs(self._args, self._kwargs)
        size = self.samples
        count = affordable(size, whole, self._overhead, runs + 1, self.budget.left)
        if count < size:
            part = first_samples(inputs, count)
            self._args, self._kwargs = tuple(part.args), dict(part.kwargs)
            fewer = self.try_out(modes, seed)
            if [each.shape for each in fewer] == [torch.Size((count, *each.shape[1:])) for each in outputs]:
                self.notes.append(f"on {count} of {size} samples, as its budget allows no more")
                outputs = fewer
            else:
                self._args, self._kwargs = tuple(inputs.args), dict(inputs.kwargs)
                self._work = dict.fromkeys(Mode, whole)
        self.plan(runs)
        return outputs

    @contextmanager
    def in_succession(self) -> Iterator[None]:
        """Within the block, a run begins with the state that the run before it has left."""
        self._is_in_succession = True
        try:
            yield
        finally:
            self._is_in_succession = False
            self._state.restore()

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
        limit: float = math.inf,
        behind: Collection[Site] = (),
        few: int = 0,
        lines: Mapping[Place, int] | None = None,
    ) -> list[torch.Tensor]:
        """Run one forward; return the tensors of its result, detached, and its numbers as tensors.

        `operations` is then their number in this run.

        Args:
            modes: the mode to run in.
            seed: seeds every random stream; the same seed gives the same draws.
            vary: seeds by site, for calls that draw other numbers.
            replace: replacements by site.
            observe: called for every call; it ends the run, which then has no result, by raising `Enough`.
            change: applied to every input tensor.
            limit: stops a run that takes more operations.
            behind: the calls in which this run differs from others with the same mode and seed. The first of these
                runs is whole; in the others only calls run that depend on these ones. `observe` sees only such calls.
            few: run on so many of the first samples; on all of them if zero.
            lines: seeds by line, for lines that draw other numbers outside of torch; all lines then draw apart.

        Raises:
            CannotMeasure: forward raises, or exceeds the limit.
            Diverged: this run makes other calls than the first one. From now on all calls run: measure again.
        """
        memoized = self._memoized_calls(modes, seed, behind, few) if behind and change is None else None
        outputs = self._run(modes, seed, vary, replace, observe, change, limit, few, memoized, lines)
        if self._unsteady is None and any(each.source is not None for each in outputs):
            again = self._run(modes, seed, vary, replace, None, change, limit, few)
            pairs = itertools.zip_longest(outputs, again)
            self._unsteady = {
                one.name for one, other in pairs if one and one.source is not None and _differ(one, other)
            }
        steady = [each for each in outputs if each.name not in (self._unsteady or ())]
        if outputs and not steady:
            raise CannotMeasure("the numbers that forward returns differ between runs with the same random numbers")
        return [_strided(each.tensor.detach()) for each in steady]

    def _run(
        self,
        modes: Modes,
        seed: int,
        vary: Mapping[Site, int] | None,
        replace: Mapping[Site, Replacement] | None,
        observe: Callable[[Site | None, str, Any, Any, Any], None] | None,
        change: Callable[[torch.Tensor], torch.Tensor] | None,
        limit: float,
        few: int,
        memoized: MemoizedCalls | None = None,
        lines: Mapping[Place, int] | None = None,
    ) -> tuple[Output, ...]:
        if self._around is None:
            self._around = self._needed_around()
        self._set(modes)
        args, kwargs = self._inputs(few)
        if change is not None:
            args, kwargs = mapped(args, change), mapped(kwargs, change)
        seed_everything(seed)
        self._number_streams.seed(seed)
        meter = Meter(limit)
        intervention = Intervention(
            self.model,
            seed,
            locate=self._locate,
            vary=vary,
            replace=replace,
            observe=observe,
            numbers=self._numbers,
            meter=meter,
            memoized=memoized,
        )
        if memoized is not None:
            memoized.begin((each for _, each in named_tensors((args, kwargs), "")), meter)
        outputs: tuple[Output, ...] = ()
        try:
            apart = nullcontext() if lines is None else self._number_streams.drawing_apart(lines)
            around = self._around(), self._under(), apart
            watched = intervention.watching()
            with self.budget.watch_over(), eager(), torch.no_grad(), watched, around[0], around[1], around[2]:
                outputs = outputs_of(run(self.model, args, kwargs)).values
        except Enough:
            pass
        except CannotMeasure:
            raise
        except BaseException as error:
            if stops(error):
                raise
            if memoized is not None and memoized.diverged:
                raise self._diverged() from error
            if meter.exceeded:
                raise CannotMeasure(f"{self.budget.too_large}; {self.budget.advice}") from error
            raise CannotMeasure(f"forward raised {format_error(error)}") from error
        finally:
            self.operations = meter.operations
            if memoized is not None:
                memoized.end([each.tensor for each in outputs])
            if not self._is_in_succession:
                self._state.restore(None if memoized is None else memoized.touched)
        if memoized is not None and memoized.diverged:
            raise self._diverged()
        return outputs

    def _memoized_calls(self, modes: Modes, seed: int, behind: Collection[Site], few: int) -> MemoizedCalls:
        """The calls of the first of the runs that differ in these calls only."""
        key = modes, seed, frozenset(behind), few
        if self._memoized is None or self._memoized[0] != key:
            self._memoized = key, MemoizedCalls(behind)
            if key in self._diverging:
                self._memoized[1].give_up()
        return self._memoized[1]

    def _diverged(self) -> Diverged:
        """The error that ends a measurement, and makes the next one run all calls."""
        assert self._memoized is not None
        self._diverging.add(self._memoized[0])
        return Diverged()

    @runs_the_model
    def _needed_around(self) -> Callable[[], Any]:
        """The context of a forward on another device: a default device for tensors that code creates without one."""
        args, kwargs = self._inputs()
        try:
            with eager(), torch.no_grad(), self._under():
                run(self.model, args, kwargs)
        except BaseException as error:
            if stops(error):
                raise
            return partial(torch.device, self.device)
        finally:
            self._state.restore()
        return nullcontext

    def _inputs(self, few: int = 0) -> tuple[Any, Any]:
        inputs = Inputs(self._args, self._kwargs)
        inputs = first_samples(inputs, few) if few else inputs
        try:
            return moved(inputs.args, self._at), moved(dict(inputs.kwargs), self._at)
        except Exception as error:
            raise CannotMeasure(f"the inputs cannot be copied to {self.device}: {format_error(error)}") from error

    def _set(self, modes: Modes) -> None:
        if isinstance(modes, Mode):
            switch_mode(self.model, modes)
            return
        for path, module in named_parts(self.model):
            if path in modes:
                module.training = modes[path]


def _strided(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a tensor in the strided layout, which arithmetic supports."""
    if tensor.is_nested:
        return tensor.to_padded_tensor(0.0)
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor.clone() if tensor.layout is torch.strided else tensor.to_dense()


def _differ(one: Output, other: Output | None) -> bool:
    """Whether two replays return different numbers."""
    if other is None or one.name != other.name or one.tensor.shape != other.tensor.shape:
        return True
    return not torch.allclose(one.tensor, other.tensor, rtol=0, atol=0, equal_nan=True)
