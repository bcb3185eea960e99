"""One model's dataflow in the domain's own terms, one flow per mode.

Both front ends (a recorded run, a class body) produce these values; every graph rule reads nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from enum import Enum
from functools import cached_property
from operator import attrgetter
from types import EllipsisType
from typing import Any

from regcheck.files.place import Place
from regcheck.lazy_dataclass import dataclass


class Mode(Enum):
    """Which of `train()` and `eval()` the model is in."""

    TRAIN = "train"
    EVAL = "eval"


class Gate(Enum):
    """When a random op acts."""

    MODE = "mode"
    ALWAYS = "always"
    NEVER = "never"
    UNKNOWN = "unknown"


class Kind(Enum):
    """The role of an op in regularization."""

    INPUT = "input"
    PARAMETER = "parameter"
    CONSTANT = "constant"
    LINEAR = "linear"
    CONV = "conv"
    EMBEDDING = "embedding"
    RECURRENT = "recurrent"
    ATTENTION = "attention"
    BATCH_NORM = "batch_norm"
    NORM = "norm"
    DROPOUT = "dropout"
    RANDOM = "random"
    ACTIVATION = "activation"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    POOL = "pool"
    IDENTITY = "identity"
    RESHAPE = "reshape"
    SCALE = "scale"
    CONCAT = "concat"
    COMBINE = "combine"
    MATMUL = "matmul"
    JOIN = "join"
    OTHER = "other"
    OPAQUE = "opaque"


class Drops(Enum):
    """What a dropout drops as one unit; the value is the word used in messages."""

    ELEMENTS = "activations"
    CHANNELS = "channels"
    ATTENTION = "attention weights"
    PATHS = "paths"


class Reach(Enum):
    """How a model stores a layer, which decides whether its `train()` and `eval()` reach the layer."""

    REGISTERED = "registered"
    HIDDEN = "kept in a plain container"
    NEW = "made during the call"


class Wholeness(Enum):
    """Whether the subject of a graph is a whole model; a front end cannot always tell it from a part of one.

    `WHOLE` says that the user names it as a model, `SCORED` that the program scores or trains its outputs, `ALONE` that
    it is a class in source that no other model calls.
    """

    WHOLE = "whole"
    SCORED = "scored"
    ALONE = "alone"
    UNKNOWN = "unknown"


Operand = str | float | EllipsisType | None
"""An argument: the id of an op, a number, `...` for all sizes of a tensor, None for anything else or unknown."""


@dataclass(frozen=True, slots=True)
class Site:
    """The call that an op comes from: the `occurrence`-th call of `function` from `place` inside `module`.

    Every later run that takes the same branches reaches the same site. A site therefore identifies an op in both modes,
    and an intervention replaces the call at one site.
    """

    module: str
    function: str
    place: Place | None = None
    occurrence: int = 0


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of one flow.

    Attributes:
        active: whether a random op draws, or a batch norm normalizes by its batch, in this flow's mode (None: the front
            end cannot tell).
        learned: the op consumes parameters.
        shape: the shape of the result, None where it is unknown.
        window: a convolution or pooling reads more than one position of its input at a time.
        depth: the number of layers that a recurrent op stacks, None where it is unknown.
        reach: how the model stores the layer that makes the call (None: no layer of torch's makes it).
        has_running_stats: False for a batch norm without running statistics.
        latent: a dropout whose rate is zero by default, and that drops in this flow's mode at any other rate.
        by_default: a clause for messages where the rate or the depth is a default that the user may change, else empty.
        within: functions on the stack of a draw, outermost first: the user's functions in source, those of
            `torch.distributions` in a recorded run, and both where a tracer wrote the call.
        traced_by: the tracer (`torch.export`, say) that wrote the call and its mode as a constant; empty where the
            model's own code makes the call.
        integral: an input of integers or flags: indices, not features.
        discarded: no code reads the result of a dropout that changes nothing in place.
        reused_mask: when the mask is drawn that a product reuses at each call, in words; empty for any other op.
        requires_grad: whether a parameter, or any parameter that the op consumes, is trained; None where there is none,
            or the front end cannot tell.
        axis_arguments: the arguments by name that decide which axes the call moves, see `torch_api.axes`.
        of_classes: the source names the width of a layer as a number of classes.
        operands: the arguments of a function that masks are made of or applied with (`torch_api.functions.MASKING`),
            in order; empty for any other op.
        keep_name: the name in source of a keep probability that a dropout takes as its rate, else empty.
    """

    id: str
    kind: Kind
    site: Site
    call: str = ""
    inputs: tuple[str, ...] = ()
    rate: float | None = None
    drops: Drops | None = None
    active: bool | None = False
    learned: bool = False
    shape: tuple[int, ...] | None = None
    window: bool = False
    mode: Mode = Mode.TRAIN
    depth: int | None = None
    reach: Reach | None = None
    has_running_stats: bool = True
    latent: bool = False
    by_default: str = ""
    within: tuple[str, ...] = ()
    traced_by: str = ""
    integral: bool = False
    requires_grad: bool | None = None
    discarded: bool = False
    reused_mask: str = ""
    axis_arguments: tuple[tuple[str, Any], ...] = ()
    operands: tuple[Operand, ...] = ()
    keep_name: str = ""
    of_classes: bool = False

    def moved(self, site: Site, mode: Mode) -> Op:
        """The same op at another site and in another mode, in a third of the time that `replace` takes."""
        copy = object.__new__(Op)
        for assign, value in zip(_ASSIGN, _values_of(self), strict=True):
            assign(copy, value)
        _ASSIGN_SITE(copy, site)
        _ASSIGN_MODE(copy, mode)
        return copy

    @property
    def place(self) -> Place | None:
        return self.site.place

    @property
    def module(self) -> str:
        return self.site.module

    @property
    def reduces_first_axis(self) -> bool:
        """Whether the code names the first axis among those that the call reduces, as that of samples often is."""
        axes = dict(self.axis_arguments).get("dim") if "keepdim" in dict(self.axis_arguments) else None
        return axes == 0 or (isinstance(axes, (tuple, list)) and 0 in axes)

    @property
    def extent(self) -> tuple[int, ...] | None:
        """The spatial sizes of an (N, C, …) map; None where the shape is unknown, empty without spatial dimensions."""
        return None if self.shape is None else self.shape[2:]


_values_of = attrgetter(*Op.__slots__)
_ASSIGN = [getattr(Op, name).__set__ for name in Op.__slots__]
_ASSIGN_SITE, _ASSIGN_MODE = (getattr(Op, name).__set__ for name in ("site", "mode"))


@dataclass(frozen=True)
class Flow:
    """The ops of one mode in execution order, and the outputs by name."""

    mode: Mode
    ops: Mapping[str, Op]
    outputs: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops.values())

    def inputs_of(self, op: Op) -> tuple[Op, ...]:
        return tuple(self.ops[name] for name in op.inputs if name in self.ops)

    @cached_property
    def _users(self) -> dict[str, list[Op]]:
        users: dict[str, list[Op]] = {}
        for op in self:
            for name in dict.fromkeys(op.inputs):
                users.setdefault(name, []).append(op)
        return users

    def users_of(self, op: Op) -> tuple[Op, ...]:
        return tuple(self._users.get(op.id, ()))

    def behind(self, op: Op, through: Callable[[Op], bool]) -> list[Op]:
        """The nearest ops upstream of `op` that do not satisfy `through`."""
        return self._walk(self.inputs_of(op), self.inputs_of, through)[1]

    def ahead(self, op: Op, through: Callable[[Op], bool]) -> tuple[list[Op], list[Op]]:
        """The ops downstream of `op` that the walk passes `through`, and the nearest ones that stop it."""
        return self._walk(self.users_of(op), self.users_of, through)

    @staticmethod
    def _walk(
        start: Iterable[Op], step: Callable[[Op], tuple[Op, ...]], through: Callable[[Op], bool]
    ) -> tuple[list[Op], list[Op]]:
        passed: list[Op] = []
        stopped: list[Op] = []
        todo = list(start)
        seen: set[str] = set()
        while todo:
            op = todo.pop()
            if op.id in seen:
                continue
            seen.add(op.id)
            if through(op):
                passed.append(op)
                todo.extend(step(op))
            else:
                stopped.append(op)
        return passed, stopped

    def outputs_reached(self, op: Op, through: Callable[[Op], bool] = lambda op: True) -> tuple[str, ...]:
        """Names of the outputs that `op` reaches through ops that satisfy `through` (any op by default)."""
        if through not in self._reach:
            self._reach[through] = self._outputs_by_op(through)
        reached = self._reach[through].get(op.id, 0)
        return tuple(name for index, (name, _) in enumerate(self.outputs) if reached >> index & 1)

    @cached_property
    def _reach(self) -> dict[Callable[[Op], bool], dict[str, int]]:
        return {}

    def _outputs_by_op(self, through: Callable[[Op], bool]) -> dict[str, int]:
        """The outputs that each op reaches, as a bit set of output indices; computed from the last op to the first."""
        reached: dict[str, int] = {}
        for index, (_, producer) in enumerate(self.outputs):
            reached[producer] = reached.get(producer, 0) | 1 << index
        for op in [*self][::-1]:
            outputs = reached.get(op.id, 0)
            if outputs and through(op):
                for name in op.inputs:
                    reached[name] = reached.get(name, 0) | outputs
        return reached


@dataclass(frozen=True)
class Graph:
    """A model's two flows; `assumed` is True when a front end guessed values to obtain them.

    `model` is the key of the model in the usage that a rule is given along with the graph (see `usage.Model`).
    `uncalled` are the dropout layers with a rate above zero that the model registers, that neither flow calls and no
    code reads, as ops at the places that construct them; it is filled in where a rule starts from them. `unseen` are
    the lines that draw from streams of Python and NumPy in eval mode, where predictions differ by draws that no flow
    shows. `steering` are the draws of the eval flow that reach no output there, though predictions differ: a branch or
    a number may depend on them.
    """

    subject: str
    train: Flow
    eval: Flow
    wholeness: Wholeness = Wholeness.WHOLE
    assumed: bool = False
    model: str = ""
    uncalled: tuple[Op, ...] = ()
    unseen: tuple[Op, ...] = ()
    steering: tuple[Op, ...] = ()
    _by_site: dict[Mode, dict[Site, Op]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _calls_by_place: dict[Mode, dict[Site, list[bool | None]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for flow in (self.train, self.eval):
            placed = [op for op in flow if op.active is not False or op.drops]
            self._by_site[flow.mode] = {op.site: op for op in placed}
            calls = self._calls_by_place[flow.mode] = {}
            for op in placed:
                calls.setdefault(replace(op.site, occurrence=0), []).append(op.active)

    def flow(self, mode: Mode) -> Flow:
        return self.train if mode is Mode.TRAIN else self.eval

    def dropouts(self, active_in: Mode) -> Iterator[Op]:
        """Ops that drop in that mode at their default rate."""
        return (op for op in self.flow(active_in) if op.drops and op.active and op.rate != 0 and not op.latent)

    def latent_dropouts(self, mode: Mode) -> Iterator[Op]:
        """Ops whose rate is zero by default (in a call or a configuration) and that drop in that mode at others."""
        return (op for op in self.flow(mode) if op.latent)

    def randoms(self, active_in: Mode) -> Iterator[Op]:
        """Random ops other than dropout that draw in that mode."""
        return (op for op in self.flow(active_in) if op.kind is Kind.RANDOM and op.active)

    def dropouts_right_before(self, op: Op) -> list[Op]:
        """The dropouts of the flow of `op` whose result reaches it through reshaping and scaling alone."""

        def passive(each: Op) -> bool:
            inactive = each.kind is Kind.DROPOUT and not each.active
            return each.kind in (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE) or inactive

        nearest = [each for each in self.flow(op.mode).behind(op, passive) if each.kind is Kind.DROPOUT and each.rate]
        return [*nearest, *(earlier for each in nearest for earlier in self.dropouts_right_before(each))]

    def gate(self, op: Op) -> Gate:
        """When `op` acts, by comparing the call at its site in the two flows.

        Where the number of calls from a place differs between the modes (as in a loop that skips layers), calls cannot
        be paired by occurrence: the gate is then known only if all calls of a mode agree.
        """
        train, evaluation = (
            self._calls_by_place[mode].get(replace(op.site, occurrence=0), []) for mode in (Mode.TRAIN, Mode.EVAL)
        )
        if train and evaluation and len(train) != len(evaluation):
            if len({*train}) > 1 or len({*evaluation}) > 1:
                return Gate.UNKNOWN
            acts = [train[0], evaluation[0]]
        else:
            by_mode = (self._by_site[mode].get(op.site) for mode in (Mode.TRAIN, Mode.EVAL))
            acts = [each.active if each else False for each in by_mode]
        if None in acts:
            return Gate.UNKNOWN
        if acts == [True, False]:
            return Gate.MODE
        return Gate.ALWAYS if any(acts) else Gate.NEVER
