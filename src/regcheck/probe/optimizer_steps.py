"""Real steps of the user's own optimizer, on copies of a sample of its parameters in float64.

The optimizer, its parameters, gradients and state, random streams and hooks stay unchanged. A step that the user wrote
may do anything; a guard stops one that accesses a tensor of the program before it does.
"""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn, optim
from torch.overrides import TorchFunctionMode

from regcheck.core.errors import CannotMeasure, format_error
from regcheck.lazy_dataclass import dataclass
from regcheck.runtime.optimizers import inner_optimizers, update_rule
from regcheck.torch_api.optimizers import decay_key
from regcheck.tracing.call_interceptor import eager
from regcheck.tracing.cost import CALL, ELEMENT
from regcheck.tracing.nested_values import tensors_in
from regcheck.tracing.unwrap import processes

from .function_references import reached_by_functions
from .process_state import world_untouched
from .reductions import has_float64
from .seeds import seed_everything
from .work_plan import Budget

TENSORS = 128
"""The most parameters that are copied, spread evenly over all of them."""

ELEMENTS = 64
"""The most elements of each, spread evenly over its axes; no axis is dropped, as a step may depend on their number."""

WARM_UP = 9
"""Steps before the measured one: RAdam adapts from the sixth step on."""

CALLS = 4
"""The estimated cost of one parameter's step, in calls: many methods make a dozen, or one call for all parameters."""

ROUNDING = 1000 * torch.finfo(torch.float64).eps
"""The largest difference, relative to the parameters, that two orders of the same operations can make in `WARM_UP` + 1
float64 steps: some ten operations a step, each within half an eps, with an order of magnitude to spare."""


Steps: TypeAlias = Callable[..., tuple[Tensor, Tensor]]
"""Steps samples, with options for the decay of the last steps; returns the weights before and after the last one."""


@dataclass(frozen=True)
class Sample:
    """A group's settings, with copies of a sample of its parameters and the gradients of every step."""

    settings: Mapping[str, Any]
    originals: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    gradients: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(cls, group: Mapping[str, Any], turn: int, seed: int, device: str) -> Sample:
        settings = {name: _copied(value) for name, value in group.items() if name not in ("params", "param_names")}
        try:
            settings["lr"] = _copied(group["lr"] or group["initial_lr"])  # schedulers may begin or end at zero
        except KeyError:
            settings["lr"] = 0.0
        if not float(settings["lr"]) > 0:
            raise CannotMeasure(f"parameter group {turn} has no learning rate above zero")
        if not has_float64(device):
            raise CannotMeasure(f"{device} has no float64, and in less the decay may be lost in rounding")
        generator = torch.Generator().manual_seed(seed)
        real = [each for each in group["params"] if each.is_floating_point() and each.numel() and not each.is_meta]
        originals = tuple(real[index] for index in _evenly(len(real), TENSORS).tolist())
        weights = tuple(_part(each).to(device, torch.float64) for each in originals)
        sizes = [_gradient_size(each, generator) for each in originals]
        return cls(settings, originals, weights, ()).with_gradients(sizes, generator)

    def with_gradients(self, sizes: Sequence[Tensor], generator: torch.Generator) -> Sample:
        """The same sample with normal gradients of these standard deviations."""
        noise: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
        devices = [weight.device for weight in self.weights]
        steps = tuple(
            tuple(
                (size * torch.randn(size.shape, **noise)).to(device)
                for size, device in zip(sizes, devices, strict=True)
            )
            for _ in range(WARM_UP + 1)
        )
        return replace(self, gradients=steps)

    def at_rest(self) -> Sample:
        """The same sample for one step with zero gradients; weights of zero become one."""
        weights = tuple(torch.where(each == 0, 1.0, each) for each in self.weights)
        return replace(self, weights=weights, gradients=(tuple(map(torch.zeros_like, weights)),))

    @property
    def lr(self) -> float:
        return float(self.settings["lr"])

    @property
    def decay(self) -> float:
        return float(self.settings[decay_key(self.settings)])

    @property
    def flat(self) -> Tensor:
        """All sampled weights as one vector."""
        return row(self.weights)


def _evenly(count: int, most: int) -> Tensor:
    """Up to `most` of the numbers 0 … count - 1, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _part(tensor: Tensor) -> Tensor:
    """Up to `ELEMENTS` elements of a tensor (of its local part where it is distributed), copied with all its axes."""
    local: Tensor = (tensor.to_local() if hasattr(tensor, "to_local") else tensor).detach()
    left = ELEMENTS
    for turn, axis in enumerate(sorted(range(local.dim()), key=local.size)):
        size = local.size(axis)
        wanted = min(size, max(1, int(left ** (1 / (local.dim() - turn)) + 1e-9)))
        local = local.narrow(axis, 0, size // wanted * wanted)
        local = local[(*[slice(None)] * axis, slice(None, None, size // wanted))]
        left //= wanted
    return local.clone(memory_format=torch.contiguous_format)


def _gradient_size(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """The size of each sampled element's gradient: the real one where there is one, else spread over four decades."""
    gradient = parameter.grad
    if gradient is not None and gradient.layout is torch.strided:
        size = _part(gradient).double().cpu().abs()
        if bool(size.isfinite().all()) and bool(size.any()):
            return size
    shape = _part(parameter).shape
    return 10 ** (-4 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu"))


def _steps(
    optimizer: optim.Optimizer,
    budget: Budget | None,
    samples: Sequence[Sample],
    *,
    without: int = 0,
    folded: Sequence[float] = (),
) -> tuple[Tensor, Tensor]:
    """The weights before and after the last of a clone's steps.

    Where a variant of the step (fused, foreach, capturable) cannot do float64 on this device, the plain one runs. The
    clone begins without state, or with zeros where the step requires the state that the optimizer already has.

    Args:
        optimizer: the user's optimizer.
        budget: the work that all steps of this optimizer may take.
        samples: the weights that the clone steps, and their gradients.
        without: the number of last steps that do not decay.
        folded: the factor by which each sampled parameter is added to its last gradient.
    """
    problem: Exception | None = None
    plain = {"fused": False, "foreach": False, "capturable": False}
    guard: AbstractContextManager[Any] = nullcontext() if update_rule(type(optimizer)) else _Guard(optimizer)
    for flags, with_state in (({}, False), (plain, False), ({}, True)):
        if budget is not None:
            budget.take(_operations_of(samples), 1, 1)
        clone = _clone(optimizer, samples, flags, with_state)
        try:
            with guard:
                return _steps_of(clone, samples, without, folded)
        except CannotMeasure:
            raise
        except Exception as error:
            problem = problem or error
    assert problem is not None
    raise CannotMeasure(f"its step raised {format_error(problem)}") from problem


def _operations_of(samples: Sequence[Sample]) -> int:
    """The estimated operations of a clone's steps: a few calls for each parameter and step."""
    elements = sum(each.numel() for sample in samples for each in sample.weights)
    calls = CALLS * sum(len(sample.weights) for sample in samples)
    return len(samples[0].gradients) * (CALL * calls + CALLS * ELEMENT * elements)


def _steps_of(
    clone: optim.Optimizer, samples: Sequence[Sample], without: int, folded: Sequence[float]
) -> tuple[Tensor, Tensor]:
    leaves = [leaf for group in clone.param_groups for leaf in group["params"]]
    before = row(leaves)
    last = len(samples[0].gradients) - 1
    seed_everything(0)  # a step that draws random numbers repeats them
    for turn in range(last + 1):
        gradients = (gradient for sample in samples for gradient in sample.gradients[turn])
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient.clone()
        if turn == last:
            before = row(leaves)
            for leaf, share in zip(leaves, folded, strict=False):
                leaf.grad = leaf.grad + share * leaf.detach()
        if turn > last - without:
            for group in clone.param_groups:
                group[decay_key(group)] = 0.0
        clone.step()
    return before, row(leaves)


def _clone(
    optimizer: optim.Optimizer, samples: Sequence[Sample], flags: Mapping[str, bool], with_state: bool
) -> optim.Optimizer:
    """An optimizer like `optimizer` on copies of the sampled weights, without hooks and patched methods.

    It uses neither `copy`, which passes the user's own groups to a subclass's `__setstate__`, nor the constructor,
    which may require unknown arguments. It has no state, or a state of zeros `with_state`.
    """
    kind = type(optimizer)
    clone: optim.Optimizer = kind.__new__(kind)
    leaves = [[weight.clone().requires_grad_() for weight in sample.weights] for sample in samples]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    memo: dict[int, Any] = {id(each): torch.empty(0) for each in parameters}
    own, shapes = _own(optimizer), {each.shape for each in parameters}
    for each in tensors_in([*own.values()]):
        if id(each) not in memo:
            memo[id(each)] = _copied(_part(each) if each.shape in shapes else each)
    for sample, copies in zip(samples, leaves, strict=True):
        memo.update({id(original): leaf for original, leaf in zip(sample.originals, copies, strict=True)})
    memo[id(optimizer)] = clone
    try:
        vars(clone).update(copy.deepcopy(own, memo))
    except Exception as error:
        raise CannotMeasure(f"the optimizer cannot be copied: {format_error(error)}") from error
    clone.defaults = {**optimizer.defaults, "differentiable": False}
    clone.state = defaultdict(dict)
    clone.param_groups = []
    for sample, copies in zip(samples, leaves, strict=True):
        settings = {name: _copied(value) for name, value in sample.settings.items()}
        supported = {name: flag for name, flag in {**flags, "differentiable": False}.items() if name in settings}
        clone.param_groups.append({"params": copies, **settings, **supported})
        for original, leaf in zip(sample.originals, copies, strict=True):
            if isinstance(clone, optim.Adagrad):  # its constructor makes the state
                total = torch.full_like(leaf, settings["initial_accumulator_value"], requires_grad=False)
                clone.state[leaf] = {"step": torch.tensor(0.0), "sum": total}
            elif with_state and original in optimizer.state:
                was = optimizer.state[original]
                clone.state[leaf] = {name: _zeroed(value, original, leaf) for name, value in was.items()}
    return clone


def _own(optimizer: optim.Optimizer) -> dict[str, Any]:
    """The attributes that a user's class may have set, without hooks and patched methods."""
    common = ("state", "param_groups", "defaults")
    return {
        name: OrderedDict() if name.startswith("_optimizer_") and name.endswith("_hooks") else value
        for name, value in vars(optimizer).items()
        if name not in common and not callable(getattr(type(optimizer), name, None))
    }


def _zeroed(value: Any, original: Tensor, leaf: Tensor) -> Any:
    """A piece of a parameter's state as before the first step: zeros of the same shape and type."""
    if isinstance(value, Tensor):
        if value.shape == original.shape and value.is_floating_point():
            return torch.zeros_like(leaf, requires_grad=False)
        return torch.zeros_like(_copied(value))
    return 0 if type(value) is int else copy.deepcopy(value)


def row(tensors: Sequence[Tensor]) -> Tensor:
    """The elements of all tensors as one detached vector."""
    return torch.cat([each.detach().flatten() for each in tensors])


def _copied(value: Any) -> Any:
    """A copy of a setting that a step may change, in float64 where it is a tensor."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
    if type(value) is tuple:
        return tuple(_copied(each) for each in value)
    return copy.deepcopy(value) if isinstance(value, (dict, list, set)) else value


@contextmanager
def stepping(optimizer: optim.Optimizer, budget: Budget | None = None) -> Iterator[Steps]:
    """Yields steps of a copy: without gradients, warnings and the program's hooks, and with float64 scalars.

    Raises:
        CannotMeasure: the user wrote the step, and it cannot run in isolation.
    """
    module: Any = import_module("torch.optim.optimizer")  # torch.optim shadows it with a name
    hooks = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
    saved = {name: getattr(module, name) for name in hooks if hasattr(module, name)}
    with world_untouched(), torch.no_grad(), ExitStack() as stack:
        torch.set_default_dtype(torch.float64)
        if update_rule(type(optimizer)) is None:
            _refuse(optimizer)
            stack.enter_context(eager())
        try:
            for name in saved:
                setattr(module, name, OrderedDict())
            yield partial(_steps, optimizer, budget)
        finally:
            for name, value in saved.items():
                setattr(module, name, value)


def _refuse(optimizer: optim.Optimizer) -> None:
    """Raise `CannotMeasure` where a step that the user wrote may access more than the copies, or wait for processes."""
    if processes() > 1:
        raise CannotMeasure("the user wrote its step, which may wait for the other processes")
    for each in reached_by_functions(_own(optimizer).values()):
        if isinstance(each, (Tensor, nn.Module, optim.Optimizer)):
            raise CannotMeasure("a function among its attributes refers to tensors or modules, which no copy shares")
    if inner_optimizers(optimizer):
        raise CannotMeasure("it delegates its steps to another optimizer")


class _Guard(TorchFunctionMode):
    """Stops a step before it reads or writes the program's tensors: parameters, gradients, state."""

    def __init__(self, optimizer: optim.Optimizer) -> None:
        super().__init__()
        tensors = tensors_in([*vars(optimizer).values()])
        tensors += [each.grad for each in tensors if each.is_leaf and each.grad is not None]
        self._protected = {storage for each in tensors if (storage := _storage(each))}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(_storage(each) in self._protected for each in tensors_in((args, kwargs))):
            raise CannotMeasure("its step accesses tensors of the program")
        return func(*args, **(kwargs or {}))


def _storage(tensor: Tensor) -> int:
    """The identity of a tensor's storage; zero where a layout has no single storage."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return 0
