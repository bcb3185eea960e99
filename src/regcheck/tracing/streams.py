"""Detect random draws by the state of the generators, and the user's line that makes them."""

from __future__ import annotations

import ctypes
import dis
import itertools
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from types import FrameType, FunctionType
from typing import Any

import torch
from torch import nn

from regcheck.core.errors import stops
from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass

from .accelerators import in_use, states
from .call_interceptor import TorchCallInterceptor, eager, is_placed, name_of
from .forward_call import run
from .running import Locate
from .script_interpreter import is_opaque_script
from .user_line import calling_place, is_user_code, runs_the_model, user_functions

State = tuple[Any, ...]

_APART = 1_000_003
"""Separates the streams of lines that are seeded apart."""


class TorchStream:
    """Detects that torch's default generators advanced."""

    def __init__(self) -> None:
        self._state = torch_state()

    def moved(self) -> bool:
        """Whether a generator advanced since the last call of this method."""
        before, self._state = self._state, torch_state()
        return self._state != before


def torch_state() -> State:
    """The states of the default generators of the CPU and of an accelerator in use, read without entering any mode."""
    module = in_use()
    on_accelerator = [] if module is None else states(module)
    on_cpu = torch._C.Generator.get_state(torch.default_generator)
    return tuple(ctypes.string_at(each.data_ptr(), each.numel()) for each in (on_cpu, *on_accelerator))


def python_state() -> State:
    """The state of Python's global random stream."""
    return random.getstate()


def numpy_state() -> State:
    """The state of NumPy's global random stream; NumPy is not imported for it."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return ()
    _, words, *rest = numpy.random.get_state()
    return words.tobytes(), tuple(rest)


class NumberStreams:
    """The streams outside of torch that a model's forward may draw from.

    That is the global ones of Python and NumPy, and generators that its modules, or the files of their classes, hold.
    """

    def __init__(self, model: nn.Module) -> None:
        self._own = _generators_of(model)

    def states(self) -> tuple[State, ...]:
        """The state of Python's stream, of NumPy's, and of each generator."""
        return python_state(), numpy_state(), *(_state_of(each) for each in self._own)

    def seed(self, seed: int) -> None:
        """Seed all of them."""
        random.seed(seed)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(seed)
        for each in self._own:
            if hasattr(each, "bit_generator"):
                each.bit_generator.state = type(each.bit_generator)(seed).state
            else:
                each.seed(seed)

    @contextmanager
    def drawing_apart(self, lines: Mapping[Place, int]) -> Iterator[None]:
        """Within the block, each line that runs draws from a stream of its own; `lines` gives seeds of some.

        Where a line draws other numbers, the lines after it draw the same as before.
        """
        seeds = {(place.path, place.line): seed for place, seed in lines.items()}
        paths, turn = {path for path, _ in seeds}, itertools.count()

        def begin(frame: FrameType, event: str, arg: Any) -> Any:
            return step if frame.f_code.co_filename in paths else None

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            own = seeds.get((frame.f_code.co_filename, frame.f_lineno), 0) if event == "line" else 0
            self.seed((own * _APART + next(turn)) % 2**32)
            return step

        with _tracing(begin):
            yield

    @contextmanager
    def generators_untouched(self) -> Iterator[None]:
        """After the block the generators are as before; the global streams are not its concern."""
        before = [deepcopy(_generator_state(each)) for each in self._own]
        try:
            yield
        finally:
            for each, state in zip(self._own, before, strict=True):
                if isinstance(each, random.Random):
                    each.setstate(state)
                elif hasattr(each, "bit_generator"):
                    each.bit_generator.state = state
                else:
                    each.set_state(state)

    def package_of(self, index: int) -> str:
        """The package that a stream belongs to, by its index in `states`."""
        is_python = index == 0 or (index > 1 and isinstance(self._own[index - 2], random.Random))
        return "random" if is_python else "numpy.random"


def _generators_of(model: nn.Module) -> list[Any]:
    """The generators of Python and NumPy, but for the global ones, that modules or the globals of their files hold."""
    numpy = sys.modules.get("numpy")
    kinds: tuple[type, ...] = (random.Random,)
    if numpy is not None:
        kinds = (*kinds, numpy.random.Generator, numpy.random.RandomState)
    modules = [*model.modules()]
    files = {type(each).__module__: sys.modules.get(type(each).__module__) for each in modules}
    holders = [vars(each) for each in modules]
    holders += [vars(each) for each in files.values() if is_user_code(getattr(each, "__file__", None) or "<frozen ")]
    generators = {id(value): value for each in holders for value in [*each.values()] if isinstance(value, kinds)}
    return [each for each in generators.values() if not isinstance(each, random.SystemRandom)]


def _generator_state(generator: Any) -> Any:
    """The state of a generator of Python or NumPy, as its setter takes it."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    return generator.bit_generator.state if hasattr(generator, "bit_generator") else generator.get_state()


def _state_of(generator: Any) -> State:
    """The state of a generator as a value to compare."""
    state = _generator_state(generator)
    if isinstance(generator, random.Random):
        return tuple(state)
    if isinstance(state, dict):
        return (repr(state),)
    _, words, *rest = state
    return words.tobytes(), tuple(rest)


@dataclass(frozen=True)
class HiddenDraw:
    """A line that draws random numbers outside of any op.

    `source` is the package of the stream (`random`, `numpy.random` or `torch`), `module` the path of the running
    module, and `within` are the names of the model's own functions around the line, outermost first.
    """

    source: str
    module: str
    place: Place | None
    within: tuple[str, ...] = ()


@runs_the_model
def hidden_draws(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], locate: Locate | None = None
) -> tuple[HiddenDraw, ...]:
    """Run the model again, line by line, and return the lines that advance a generator other than by a torch call.

    It takes many times as long as a forward, and sees lines of this thread only.
    """
    listener = _Listener(model, locate)
    with eager(), listener.watching(), _tracing(listener.trace):
        try:
            run(model, args, kwargs)
        except BaseException as error:  # the draws before the error are valid all the same
            if stops(error):
                raise
    listener.compare()
    return tuple(listener.draws)


@contextmanager
def _tracing(trace: Callable[[FrameType, str, Any], Any]) -> Iterator[None]:
    """Within the block, the interpreter calls a trace function."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class _Listener(TorchCallInterceptor):
    """Compares the generators between the user's lines; draws of torch calls do not count."""

    def __init__(self, model: nn.Module, locate: Locate | None) -> None:
        super().__init__(model, locate)
        self.draws: dict[HiddenDraw, None] = {}
        self._streams, self._torch = NumberStreams(model), TorchStream()
        self._states = self._streams.states()
        self._at: tuple[str, Place | None, tuple[str, ...]] = "", None, ()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if is_placed(name_of(func)):
            self._torch.moved()
        return result

    def left(self, module: nn.Module, args: Any, result: Any) -> None:
        if is_opaque_script(module):
            self._torch.moved()

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        """The interpreter's trace function; the line that ran is the one of the event before."""
        if not is_user_code(frame.f_code.co_filename):
            return None
        self.compare()
        at = frame.f_back if event == "return" else frame
        self._at = self.running.module, calling_place(at), user_functions(at)
        return self.trace

    def compare(self) -> None:
        """Note the generators that advanced since the event before."""
        before, self._states = self._states, self._streams.states()
        sources = [
            self._streams.package_of(index)
            for index, pair in enumerate(zip(before, self._states, strict=True))
            if pair[0] != pair[1]
        ]
        sources += ["torch"] * self._torch.moved()
        module, place, within = self._at
        self.draws |= dict.fromkeys(HiddenDraw(source, module, place, within) for source in sources)


_UNSEEDED = frozenset(
    "default_rng RandomState SystemRandom Random urandom token_bytes randbelow randbits uuid1 uuid4 time time_ns"
    " perf_counter perf_counter_ns monotonic monotonic_ns process_time now utcnow".split()
)
"""Names of clocks, generators and functions of the operating system: no seed of a global stream determines these."""


def unseeded_line(model: nn.Module) -> Place | None:
    """The first line of the model's own code that names a source of numbers which no seed of a stream determines.

    The classes of its modules are searched, and the functions of their files that these name.
    """
    for cls in {type(each): None for each in model.modules()}:
        own = [each for base in cls.__mro__ for each in vars(base).values() if _is_of_user(each)]
        named = [each.__globals__.get(name) for each in own for name in each.__code__.co_names]
        for function in dict.fromkeys((*own, *filter(_is_of_user, named))):
            if not _UNSEEDED.isdisjoint(function.__code__.co_names):
                code = function.__code__
                at = next(each.offset for each in dis.get_instructions(code) if each.argval in _UNSEEDED)
                lines = [line for offset, line in dis.findlinestarts(code) if offset <= at and line]
                return Place(code.co_filename, lines[-1] if lines else code.co_firstlineno)
    return None


def _is_of_user(value: Any) -> bool:
    return isinstance(value, FunctionType) and is_user_code(value.__code__.co_filename)
