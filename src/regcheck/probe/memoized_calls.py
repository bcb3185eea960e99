"""Run a model again without the torch calls whose results cannot differ from those of a first run.

Runs that differ in some calls only, the `behind` ones, compute the same values up to them and beside them. All of the
model's Python code runs each time. A torch call runs if it is one of those calls, or if it reads what one of them has
computed; any other returns a memoized result. Of these results only those that such calls read are copied: the others
are empty tensors of the same layout, and nothing can read them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from types import NoneType
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from regcheck.core.graph import Site
from regcheck.lazy_dataclass import dataclass
from regcheck.tracing.call_interceptor import arguments_by_name, draws
from regcheck.tracing.cost import CALL, Meter
from regcheck.tracing.identity import version_of
from regcheck.tracing.nested_values import tensors_in
from regcheck.tracing.record import SILENT
from regcheck.tracing.streams import TorchStream
from regcheck.tracing.writes import versions_of

_SCALARS = (NoneType, bool, int, float, complex, str, type(...), torch.dtype, torch.device, torch.memory_format)
_EXPOSING = frozenset(
    "numpy array dlpack data_ptr storage untyped_storage data set_data set resize share_memory backward grad".split()
)
"""Functions after which code can read or write a tensor's memory without a call that is seen, or needs its history."""

_MOVES_STATISTICS = frozenset(("batch_norm", "instance_norm"))
"""Functions that write running statistics without incrementing their version counters."""

_READERS = frozenset(
    [
        *(F.linear, F.bilinear, F.embedding, F.layer_norm, F.scaled_dot_product_attention),
        *(F.multi_head_attention_forward, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d),
        *(torch.matmul, torch.bmm, torch.addmm, torch.einsum, Tensor.matmul, Tensor.__matmul__, torch.lstm, torch.gru),
    ]
)
"""Functions that only read weights, or increment the version counters of what they write to."""


class Diverged(Exception):
    """A replay needs a value that the first run did not keep."""


@dataclass(slots=True)
class _Value:
    """What a tensor holds: a number that is equal in all runs for the same value, and whether it can be read.

    `depends` says that it depends on the calls that differ, `version` is the version counter of the tensor, and `root`
    says that it is older than the run.
    """

    number: int
    depends: bool = False
    version: int = 0
    root: bool = False
    ready: bool = True


@dataclass(slots=True)
class _NewTensor:
    """The layout of a new tensor, and the number of its value."""

    number: int
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


@dataclass(slots=True)
class _Step:
    """A call of the first run.

    Attributes:
        arguments: its arguments, with tensors as the numbers of their values; a memoized result depends on them.
        runs: whether it runs in a replay.
        escapes: whether it returns dependent values as Python objects, on which all later calls may depend.
        written: the indices of the tensors among its arguments that it writes to, with the numbers of the new values.
        result: the result of a call that does not run, see `_template`.
        numbers: the numbers of the new tensors in the result of one that runs.
    """

    function: Any
    arguments: Any
    runs: bool
    escapes: bool
    written: list[tuple[int, int]]
    result: Any = None
    numbers: Sequence[int] = ()


@dataclass(slots=True)
class _Call:
    """A call that is about to run; `perform` takes whether it depends on the calls that differ."""

    perform: Callable[[bool], Any]
    function: Any
    name: str
    site: Site | None
    args: Any
    kwargs: Any
    inputs: list[Tensor]


class MemoizedCalls:
    """The calls of a run, by which later runs with the same inputs, mode and seed replay it.

    Args:
        behind: the sites of the calls in which the runs differ.
    """

    def __init__(self, behind: Collection[Site]) -> None:
        self._behind = frozenset(behind)
        self._values: dict[int, tuple[weakref.ref[Tensor], _Value]] = {}
        self._roots: dict[int, tuple[Tensor, _Value]] = {}
        self._stored: dict[int, Tensor] = {}
        self._versions: dict[int, int] = {}
        self._steps: list[_Step] = []
        self.usable = True
        """Whether a replay is possible, as far as the runs so far show."""
        self.replays = False
        """Whether this run replays the first one."""
        self.diverged = False
        """Whether this run needed a value that the first run did not keep."""
        self.work = 0
        """The operations of a replay, or of a whole run where none is possible."""
        self.touched: set[int] | None = None
        """The ids of tensors that calls of this run may have written to unseen; None if that may be any tensor."""

    def begin(self, inputs: Iterable[Tensor], meter: Meter) -> None:
        """Begin the first run, or a replay of it."""
        self._meter = meter
        self._inputs = [*inputs]
        self._values = {id(each): (weakref.ref(each), self._input(index)) for index, each in enumerate(self._inputs)}
        self.replays, self.diverged = self.usable and bool(self._steps), False
        self._next, self._escaped, self._left = 0, False, False
        self.touched = set() if self.replays else None
        if not self.replays:
            self._numbers, self.work = len(self._inputs), 0
            self._steps, self._written = [], set[int]()
            self._roots.clear()
            self._stream = TorchStream()

    def end(self, outputs: Sequence[Tensor]) -> None:
        """End a run that returns `outputs`; `diverged` then says whether they are wrong.

        A run that an observer ends early has no outputs.
        """
        with torch._C.DisableTorchFunctionSubclass():
            if self.replays:
                self.diverged |= not all(value is not None and value.ready for value in map(self._lookup, outputs))
            else:
                self._keep(outputs, [self._value_of(each) for each in outputs])
                self.usable &= not self._stream.moved()
            unchanged = all(version_of(self._stored[number]) == each for number, each in self._versions.items())
        self.diverged |= self.replays and not unchanged
        if self.diverged or not unchanged or not self.usable:
            self.give_up()
        if not self.replays and not self.usable:
            self.work = self._meter.operations
        self._values, self._inputs = {}, []

    def give_up(self) -> None:
        """Memoize nothing from here on: all calls run."""
        self.usable = False
        self._stored, self._versions = {}, {}

    def call(
        self, perform: Callable[[bool], Any], func: Any, name: str, site: Site | None, args: Any, kwargs: Any
    ) -> Any:
        """The result of a call; `perform` makes it, and takes whether it depends on the calls that differ."""
        if name in SILENT and name not in _EXPOSING:
            return perform(False)
        with torch._C.DisableTorchFunctionSubclass():
            call = _Call(perform, func, name, site, args, kwargs, tensors_in((args, kwargs)))
        return self._replayed(call) if self.replays else self._recorded(call)

    def _recorded(self, call: _Call) -> Any:
        inputs = call.inputs
        with torch._C.DisableTorchFunctionSubclass():
            values = [self._value_of(each) for each in inputs]
            depends = self._depends(call, values)
            before = versions_of(inputs) or []
            written_elsewhere = any(
                value.version != now and not value.depends for value, now in zip(values, before, strict=False)
            )
            if written_elsewhere or call.name in _EXPOSING or not all(map(_is_ordinary, inputs)):
                self.usable = False
            if depends:
                self._keep(inputs, values)
            arguments = None if depends else self._arguments((call.args, call.kwargs))
            self._expect_no_draw(call)
        start = self._meter.operations
        result = call.perform(depends)
        cost = self._meter.operations - start
        with torch._C.DisableTorchFunctionSubclass():
            if draws(call.name):
                self._stream.moved()
            moved = _statistics(call)
            versions = zip(inputs, before, versions_of(inputs) or before, strict=False)
            changed = [
                index
                for index, (each, then, now) in enumerate(versions)
                if then != now or any(each is other for other in moved)
            ]
            results = tensors_in(result)
            runs = depends or not _is_plain(result) or not (results or changed)
            if runs and not depends:
                self.usable = self.usable and not changed
                self._keep(inputs, values)
            escapes = depends and not results and not changed
            self._escaped = self._escaped or escapes
            self._written.update(values[index].number for index in changed)
            written = [(index, self._note(inputs[index], depends)) for index in changed]
            step = _Step(call.function, arguments, runs, escapes, written)
            if runs:
                new = [each for each in results if not any(each is other for other in inputs)]
                step.numbers = [self._note(each, depends) for each in new]
            else:
                step.result = self._template(result, inputs)
        self._steps.append(step)
        self.work += cost if runs else CALL
        return result

    def _replayed(self, call: _Call) -> Any:
        inputs = call.inputs
        with torch._C.DisableTorchFunctionSubclass():
            values = [self._look_up(each) for each in inputs]
            depends = self._depends(call, values)
            step = self._next_step(call, depends)
            if step is not None and not step.runs:
                self._meter.operations += CALL
                self._write_kept(step, inputs)
                return self._rebuilt(step.result, inputs)
            if not all(each.ready for each in values):
                self._diverge()
            if call.name in _EXPOSING:
                self.touched = None
            if self.touched is not None and call.function not in _READERS:
                self.touched.update(map(id, inputs))
                self.touched.update(id(each._base) for each in inputs if each._base is not None)
        result = call.perform(depends or step is None)
        with torch._C.DisableTorchFunctionSubclass():
            results = tensors_in(result)
            if step is None:
                self._escaped = self._escaped or not results
                for each in (*inputs, *results):
                    self._bind(each, _Value(-1, depends=True))
                return result
            self._escaped = self._escaped or step.escapes
            for index, number in step.written:
                self._bind(inputs[index], _Value(number, depends))
            new = [each for each in results if not any(each is other for other in inputs)]
            for index, each in enumerate(new):
                number = step.numbers[index] if index < len(step.numbers) else -1
                self._bind(each, _Value(number, depends or number < 0))
        return result

    def _depends(self, call: _Call, values: Iterable[_Value]) -> bool:
        return self._escaped or call.site in self._behind or any(each.depends for each in values)

    def _next_step(self, call: _Call, depends: bool) -> _Step | None:
        """The step of the first run that this call repeats; None once the code takes another path."""
        step = self._steps[self._next] if self._next < len(self._steps) else None
        self._next += 1
        self._left = self._left or step is None or not self._repeats(call, step, depends)
        return None if self._left else step

    def _repeats(self, call: _Call, step: _Step, depends: bool) -> bool:
        """Whether a call is the same as in the first run, as far as what replaces it depends on that."""
        if step.function != call.function or len(step.written) > len(call.inputs):
            return False
        return step.runs or (not depends and step.arguments == self._arguments((call.args, call.kwargs)))

    def _write_kept(self, step: _Step, inputs: Sequence[Tensor]) -> None:
        """Write into arguments what a call that does not run has written there, as far as it is kept."""
        for index, number in step.written:
            stored = self._stored.get(number)
            if stored is not None:
                with torch.no_grad():
                    inputs[index].copy_(stored)
            self._bind(inputs[index], _Value(number, ready=stored is not None))

    def _expect_no_draw(self, call: _Call) -> None:
        """Memoize nothing where code has drawn random numbers by no call that is seeded."""
        if draws(call.name) and self._stream.moved():
            self.usable = False

    def _diverge(self) -> NoReturn:
        """End a replay that needs a value that is not kept."""
        self.diverged = True
        self.give_up()
        raise Diverged

    def _value_of(self, tensor: Tensor) -> _Value:
        """The value of a tensor; a new one for a tensor that no call of the first run has returned."""
        value = self._lookup(tensor)
        if value is None:
            value = _Value(self._new_number(), version=version_of(tensor) or 0, root=True)
            self._roots[id(tensor)] = tensor, value
            self._bind(tensor, value)
        return value

    def _look_up(self, tensor: Tensor) -> _Value:
        """The value of a tensor in a replay, where the first run has the same tensor or the same call."""
        value = self._lookup(tensor)
        return self._diverge() if value is None else value

    def _lookup(self, tensor: Tensor) -> _Value | None:
        entry = self._values.get(id(tensor))
        if entry is not None and entry[0]() is tensor:
            return entry[1]
        root = self._roots.get(id(tensor))
        return root[1] if root is not None and root[0] is tensor else None

    def _input(self, index: int) -> _Value:
        return _Value(index, version=version_of(self._inputs[index]) or 0, root=True)

    def _bind(self, tensor: Tensor, value: _Value) -> None:
        self._values[id(tensor)] = weakref.ref(tensor), value

    def _note(self, tensor: Tensor, depends: bool) -> int:
        """Give a tensor a new value; returns its number."""
        value = _Value(self._new_number(), depends, version_of(tensor) or 0)
        self._bind(tensor, value)
        return value.number

    def _new_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _keep(self, tensors: Sequence[Tensor], values: Sequence[_Value]) -> None:
        """Keep values that a replay reads: as copies, or as views of what is older than the run."""
        for tensor, value in zip(tensors, values, strict=True):
            if value.depends or value.root or value.number in self._stored or not self.usable:
                continue
            base = tensor._base
            copy = tensor if base is not None and id(base) in self._roots else tensor.detach().clone()
            if copy.stride() != tensor.stride():
                copy = tensor
            self._stored[value.number] = copy
            self._versions[value.number] = version_of(copy) or 0

    def _arguments(self, value: Any) -> Any:
        """Arguments as a value to compare: tensors as the numbers of their values, and other objects by identity."""
        if isinstance(value, Tensor):
            recorded = self._lookup(value)
            return _Number(-1 if recorded is None else recorded.number)
        if isinstance(value, (tuple, list)):
            return tuple(self._arguments(each) for each in value)
        if isinstance(value, dict):
            return tuple((key, self._arguments(each)) for key, each in value.items())
        if isinstance(value, slice):
            return self._arguments((value.start, value.stop, value.step))
        return value if isinstance(value, _SCALARS) else _Identity(value)

    def _template(self, result: Any, inputs: Sequence[Tensor]) -> Any:
        """A result with a `_NewTensor` for each new one, and for each argument its index."""
        if isinstance(result, Tensor):
            index = next((index for index, each in enumerate(inputs) if each is result), None)
            if index is not None:
                return index
            number = self._note(result, depends=False)
            return _NewTensor(number, result.shape, result.stride(), result.dtype, result.device)
        return None if result is None else (type(result), [self._template(each, inputs) for each in result])

    def _rebuilt(self, template: Any, inputs: Sequence[Tensor]) -> Any:
        """A result from its template: with kept values, and empty tensors for those that no replay reads."""
        if isinstance(template, int):
            return inputs[template]
        if isinstance(template, _NewTensor):
            stored = self._stored.get(template.number)
            if stored is None:
                tensor = torch.empty_strided(
                    template.size, template.stride, dtype=template.dtype, device=template.device
                )
            else:
                tensor = stored.clone() if template.number in self._written else stored.detach()
            self._bind(tensor, _Value(template.number, ready=stored is not None))
            return tensor
        if template is None:
            return None
        kind, parts = template
        rebuilt = [self._rebuilt(each, inputs) for each in parts]
        return kind(*rebuilt) if hasattr(kind, "_fields") else kind(rebuilt)


@dataclass(frozen=True, slots=True)
class _Number:
    """An argument that is a tensor, by the number of its value."""

    number: int


@dataclass(frozen=True, slots=True, eq=False)
class _Identity:
    """An argument that is compared by identity."""

    value: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _is_ordinary(tensor: Tensor) -> bool:
    """Whether an empty tensor of the same layout can stand for a tensor."""
    return type(tensor) in (Tensor, nn.Parameter) and not (
        tensor.layout is not torch.strided
        or tensor.is_quantized
        or tensor.is_nested
        or tensor.is_conj()
        or tensor.is_neg()
        or tensor.is_inference()
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _is_plain(result: Any) -> bool:
    """Whether a result consists of ordinary tensors without gradients."""
    if isinstance(result, Tensor):
        return _is_ordinary(result) and (not result.requires_grad or isinstance(result, nn.Parameter))
    if isinstance(result, (tuple, list)):
        return all(_is_plain(each) for each in result)
    return result is None


def _statistics(call: _Call) -> list[Tensor]:
    """The running statistics that a call moves without incrementing their version counters."""
    if call.name not in _MOVES_STATISTICS:
        return []
    named = arguments_by_name(call.function, call.name, call.args, call.kwargs)
    if not named.get("training", named.get("use_input_stats", True)):
        return []
    return [each for each in (named.get("running_mean"), named.get("running_var")) if isinstance(each, Tensor)]
