"""How an optimizer decays weights: one real step of the user's own optimizer, on copies, against the references."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, optim

from regcheck.core.decayed import Decay, Shrinkage
from regcheck.core.errors import CannotMeasure, told
from regcheck.core.usage import BIAS, NORM_SCALE, Group
from regcheck.reference import optimizers as reference

from .reductions import has_float64

TENSORS = 128
"""At most this many parameters are copied, spread evenly over all of them."""

ELEMENTS = 64
"""At most this many elements of each, spread evenly too. All references are elementwise, so any sample will do."""

WARM_UP = 9
"""Steps before the one that is measured: RAdam adapts from the sixth step on."""

ROUNDING = 1000 * torch.finfo(torch.float64).eps
"""What `WARM_UP` + 1 steps in float64 can differ by, relative to the parameters, between two orders of the same
operations: some ten operations a step, each within half an eps, with an order of magnitude to spare."""

EXACT = 1e-9
"""The least tolerance: two ways of decaying that differ at all differ by far more than this share of what the decay
does, and rounding alone, at everyday learning rates and decays, by less."""

BLURRED = 1e-2
"""The largest tolerance: beyond it the step says nothing about the decay."""


def measure_decay(optimizer: optim.Optimizer, rule: str | None, *, seed: int, device: str) -> Decay:
    """Step a copy of `optimizer` on copies of a sample of its decayed parameters, in float64 on `device`.

    The copy takes `WARM_UP` steps on synthetic gradients, as large as the real ones where those are known. Its next
    step is compared to the two references driven through the same steps, and to the same step with the decay set to
    zero. The optimizer, its parameters, gradients and state, and the global random streams are left as they are.

    Args:
        optimizer: the user's optimizer.
        rule: the torch.optim class whose update it follows; without one that has a reference, only the effective decay
            is measured.
        seed: seeds the synthetic gradients.
        device: where to take the steps.

    Returns:
        Distances to the references, relative to what the decay does in the step: the larger of the references'
        difference and of what the decay asked for takes off. `tolerance` is relative to that, too.

    Raises:
        CannotMeasure: nothing is decayed, the step raises, or the decay is lost in rounding.
    """
    with _on_its_own():
        samples = [_Sample.of(group, turn, seed + turn, device) for turn, group in enumerate(_suspects(optimizer))]
        samples = [sample for sample in samples if sample.weights]
        if not samples:
            raise CannotMeasure("the optimizer has no floating-point parameters to decay")
        before, decayed = _steps(optimizer, samples, decay_at_last=True)
        _, undecayed = _steps(optimizer, samples, decay_at_last=False)
        asked = torch.cat([torch.full_like(sample.flat, sample.lr * sample.decay) for sample in samples])
        scale = float(before.abs().max())
        if scale == 0:
            raise CannotMeasure("all decayed parameters are zero")
        unit = float((asked * before).abs().max())
        coupled, decoupled = _references(rule, samples)
        if coupled is not None and decoupled is not None:
            unit = max(unit, float((coupled - decoupled).abs().max()))
        tolerance = max(EXACT, ROUNDING * scale / float((asked * before).abs().max()))
        if tolerance > BLURRED:
            raise CannotMeasure(f"a decay of {float(asked.max()):.2g} a step (lr × weight_decay) is lost in rounding")
        if not bool(decayed.isfinite().all()):
            raise CannotMeasure("the step gives values that are not finite")
        effective = ((decayed - undecayed) / (-asked * before))[before != 0]
        p5, p95 = torch.quantile(effective, torch.tensor([0.05, 0.95], dtype=effective.dtype, device=device)).tolist()
    return Decay(
        coupled=None if coupled is None else float((decayed - coupled).abs().max()) / unit,
        decoupled=None if decoupled is None else float((decayed - decoupled).abs().max()) / unit,
        p5=p5,
        p95=p95,
        asked=max(sample.decay for sample in samples),
        parameters=effective.numel(),
        tolerance=tolerance,
    )


def measure_shrinkage(optimizer: optim.Optimizer, groups: Sequence[Group], *, device: str) -> Shrinkage:
    """Step a copy of `optimizer` once, at zero gradient, on copies of its biases and norm scales in float64.

    Of a copy that is zero, which nothing can shrink, the step is taken from one. The optimizer, its parameters,
    gradients and state, and the global random streams are left as they are.

    Args:
        optimizer: the user's optimizer.
        groups: what its groups hold. Those that decay weights too are measured; all, if there are none.
        device: where to take the step.

    Raises:
        CannotMeasure: no bias and no norm scale is known, the step raises, or the decay is lost in rounding.
    """
    with _on_its_own():
        pairs = list(enumerate(zip(optimizer.param_groups, groups, strict=False)))
        samples, kinds = [], []
        for turn, (group, known) in [each for each in pairs if each[1][1].is_mixed] or pairs:
            held = [each for each in zip(group["params"], known.holds, strict=False) if each[1] in (BIAS, NORM_SCALE)]
            if held and group.get("weight_decay") is not None:
                apart = {**group, "params": [parameter for parameter, _ in held]}
                samples.append(_Sample.of(apart, turn, turn, device).at_rest())
                kinds += [kind for _, kind in held]
        if not samples:
            raise CannotMeasure("none of the optimizer's parameters is known to be a bias or a norm scale")
        before, decayed = _steps(optimizer, samples, decay_at_last=True)
        _, undecayed = _steps(optimizer, samples, decay_at_last=False)
        lost = (undecayed - decayed) / before
        if not bool(lost.isfinite().all()):
            raise CannotMeasure("the step gives values that are not finite")
        asked = max(sample.lr * sample.decay for sample in samples)
        if 0 < asked <= ROUNDING:
            raise CannotMeasure(f"a decay of {asked:.2g} a step (lr × weight_decay) is lost in rounding")
    return Shrinkage(
        smallest=float(lost.min()),
        largest=float(lost.max()),
        norm_scales=kinds.count(NORM_SCALE),
        biases=kinds.count(BIAS),
        values=lost.numel(),
        tolerance=ROUNDING,
    )


def _suspects(optimizer: optim.Optimizer) -> list[dict[str, Any]]:
    """The groups with decay, without those whose decay is said to be decoupled unless all are."""
    decayed = [group for group in optimizer.param_groups if float(group.get("weight_decay") or 0.0) > 0]
    if not decayed:
        raise CannotMeasure("no parameter group has a weight decay")
    return [group for group in decayed if not group.get("decoupled_weight_decay", False)] or decayed


@dataclass(frozen=True)
class _Sample:
    """A group's settings, with copies of a sample of its parameters and the gradients of every step."""

    settings: Mapping[str, Any]
    originals: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    gradients: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(cls, group: Mapping[str, Any], turn: int, seed: int, device: str) -> _Sample:
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
        noise: dict[str, Any] = {"generator": generator, "dtype": torch.float64, "device": "cpu"}
        steps = tuple(
            tuple((size * torch.randn(size.shape, **noise)).to(device) for size in sizes) for _ in range(WARM_UP + 1)
        )
        return cls(settings, originals, weights, steps)

    def at_rest(self) -> _Sample:
        """The same for a single step with gradients of zero, from one where a weight is zero."""
        weights = tuple(torch.where(each == 0, 1.0, each) for each in self.weights)
        return replace(self, weights=weights, gradients=(tuple(map(torch.zeros_like, weights)),))

    @property
    def lr(self) -> float:
        return float(self.settings["lr"])

    @property
    def decay(self) -> float:
        return float(self.settings["weight_decay"])

    @property
    def flat(self) -> Tensor:
        """All sampled weights in one row."""
        return _row(self.weights)


def _evenly(count: int, most: int) -> Tensor:
    """Up to `most` of the numbers 0 … count - 1, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _part(tensor: Tensor) -> Tensor:
    """Up to `ELEMENTS` elements of a tensor (of its local part where it is distributed), copied."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor.detach()
    if local.numel() <= ELEMENTS:
        return local.detach().clone()
    return torch.take(local.detach(), _evenly(local.numel(), ELEMENTS).to(local.device))


def _gradient_size(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """The size of each sampled element's gradient: the real one where it is known, or else spread over four decades."""
    gradient = parameter.grad
    if gradient is not None and gradient.layout is torch.strided:
        size = _part(gradient).double().cpu().abs()
        if bool(size.isfinite().all()) and bool(size.any()):
            return size
    shape = _part(parameter).shape
    return 10 ** (-4 * torch.rand(shape, generator=generator, dtype=torch.float64, device="cpu"))


def _steps(optimizer: optim.Optimizer, samples: Sequence[_Sample], *, decay_at_last: bool) -> tuple[Tensor, Tensor]:
    """The weights before and after the last of the clone's steps, which is taken with or without decay.

    A variant of the step (fused, foreach, capturable) that cannot do float64 on this device is left for the plain one.
    """
    problem: Exception | None = None
    for flags in ({}, {"fused": False, "foreach": False, "capturable": False}):
        try:
            return _steps_of(_clone(optimizer, samples, flags), samples, decay_at_last)
        except CannotMeasure:
            raise
        except Exception as error:
            problem = error
    raise CannotMeasure(f"its step raised {type(problem).__name__}: {problem}") from problem


def _steps_of(clone: optim.Optimizer, samples: Sequence[_Sample], decay_at_last: bool) -> tuple[Tensor, Tensor]:
    leaves = [leaf for group in clone.param_groups for leaf in group["params"]]
    before = _row(leaves)
    last = len(samples[0].gradients) - 1
    for turn in range(last + 1):
        gradients = (gradient for sample in samples for gradient in sample.gradients[turn])
        for leaf, gradient in zip(leaves, gradients, strict=True):
            leaf.grad = gradient.clone()
        if turn == last:
            before = _row(leaves)
            for group in clone.param_groups:
                group["weight_decay"] = group["weight_decay"] if decay_at_last else 0.0
        clone.step()
    return before, _row(leaves)


def _clone(optimizer: optim.Optimizer, samples: Sequence[_Sample], flags: Mapping[str, bool]) -> optim.Optimizer:
    """An optimizer like `optimizer` on copies of the sampled weights, without state, hooks and patched methods.

    Neither `copy` nor the constructor are used: the former hands a subclass's `__setstate__` the user's own groups, the
    latter may want arguments that nobody knows.
    """
    kind = type(optimizer)
    clone: optim.Optimizer = kind.__new__(kind)
    leaves = [[weight.clone().requires_grad_() for weight in sample.weights] for sample in samples]
    memo = {id(each): torch.empty(0) for group in optimizer.param_groups for each in group["params"]}
    for sample, row in zip(samples, leaves, strict=True):
        memo.update({id(original): leaf for original, leaf in zip(sample.originals, row, strict=True)})
    apart = ("state", "param_groups", "defaults")
    own = {
        name: OrderedDict() if name.startswith("_optimizer_") and name.endswith("_hooks") else value
        for name, value in vars(optimizer).items()
        if name not in apart and not callable(getattr(kind, name, None))
    }
    try:
        vars(clone).update(copy.deepcopy(own, memo))
    except Exception as error:
        raise CannotMeasure(f"the optimizer cannot be copied: {told(error)}") from error
    clone.defaults = {**optimizer.defaults, "differentiable": False}
    clone.state = defaultdict(dict)
    clone.param_groups = []
    for sample, row in zip(samples, leaves, strict=True):
        settings = {name: _copied(value) for name, value in sample.settings.items()}
        known = {name: flag for name, flag in {**flags, "differentiable": False}.items() if name in settings}
        clone.param_groups.append({"params": row, **settings, **known})
        if isinstance(clone, optim.Adagrad):  # its state is made when it is built
            for leaf in row:
                total = torch.full_like(leaf, settings["initial_accumulator_value"], requires_grad=False)
                clone.state[leaf] = {"step": torch.tensor(0.0), "sum": total}
    return clone


def _references(rule: str | None, samples: Sequence[_Sample]) -> tuple[Tensor | None, Tensor | None]:
    """The weights after the same steps with coupled and with decoupled decay; None without a reference."""
    name = "Adam" if rule == "AdamW" else rule or ""
    if name not in reference.RULES:
        return None, None

    def after(sample: _Sample, decoupled: bool) -> Tensor:
        weights, state = sample.flat, reference.State()
        for gradients in sample.gradients:
            weights = reference.step(name, weights, _row(gradients), state, sample.settings, decoupled=decoupled)
        return weights

    coupled, decoupled = (torch.cat([after(sample, how) for sample in samples]) for how in (False, True))
    return coupled, decoupled


def _row(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.detach().flatten() for each in tensors])


def _copied(value: Any) -> Any:
    """A setting, copied so that a step may change it, and in float64 where it is a tensor."""
    if isinstance(value, Tensor):
        return value.detach().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
    if type(value) is tuple:
        return tuple(_copied(each) for each in value)
    return copy.deepcopy(value) if isinstance(value, (dict, list, set)) else value


@contextmanager
def _on_its_own() -> Iterator[None]:
    """No gradients, no warnings, no hooks of the program's; scalars that an optimizer keeps are float64."""
    module: Any = import_module("torch.optim.optimizer")  # torch.optim hides it behind a name of its own
    hooks = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
    saved = {name: getattr(module, name) for name in hooks if hasattr(module, name)}
    dtype = torch.get_default_dtype()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.set_default_dtype(torch.float64)
        try:
            for name in saved:
                setattr(module, name, OrderedDict())
            yield
        finally:
            torch.set_default_dtype(dtype)
            for name, value in saved.items():
                setattr(module, name, value)
