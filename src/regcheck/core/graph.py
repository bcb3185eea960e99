"""One model's dataflow in the domain's own terms, one flow per mode.

Both front ends (a recorded run, a class body) produce these values; every graph rule reads nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from regcheck.files.place import Place


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
    """What an op does, as far as regularization is concerned."""

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
    """How a layer is kept: whether `train()` and `eval()` of the model get at it."""

    REGISTERED = "registered"
    HIDDEN = "kept in a plain container"
    NEW = "made during the call"


@dataclass(frozen=True, slots=True)
class BakedInMode:
    """A dropout in code that a tracer, `by`, wrote, which holds the mode that the model was traced in as a constant.

    `call` shows a dropout that is out of sight, in a scripted module; `place` is where the model's own code makes it,
    where the tracer kept that.
    """

    by: str
    drops: Drops
    call: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """Which call of a running model an op is: the `occurrence`-th call of `function` from `place` inside `module`.

    The same site is met again in every later run that takes the same branches, so a site names the op in both modes
    and tells an intervention what to replace.
    """

    module: str
    function: str
    place: Place | None = None
    occurrence: int = 0


@dataclass(frozen=True, slots=True)
class Op:
    """One operation of one flow.

    `active` says whether a random op draws, or a batch norm normalizes by its batch, in this flow's mode (None: the
    front end cannot tell). `shape` is the shape of the result where it is known. `integral` is True for an input of
    integers or flags: indices, no features. `learned` is True when the op consumes parameters. `window` is True for a
    convolution or pooling that looks at more than one position of its input at a time. `depth` is the number of layers
    that a recurrent op stacks, where it is known. `reach` tells how the model keeps the layer that makes the call
    (None: no layer of torch's does). `tracks` is False for a batch norm that has no running statistics. `latent` is
    True for a dropout whose rate is zero unless somebody gives another, and that drops in this flow's mode at any
    other. `within` names functions that were running when a draw was made, outermost first: the user's where source is
    read, those of `torch.distributions` where a run is recorded. `frozen` tells of a dropout that no change of the mode
    reaches, as a tracer wrote it; a scripted module that makes such a one is a draw.
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
    tracks: bool = True
    latent: bool = False
    within: tuple[str, ...] = ()
    frozen: BakedInMode | None = None
    integral: bool = False

    @property
    def place(self) -> Place | None:
        return self.frozen.place if self.frozen and self.frozen.place else self.site.place

    @property
    def module(self) -> str:
        return self.site.module

    @property
    def extent(self) -> tuple[int, ...] | None:
        """The spatial extent of a (N, C, …) map; None when the shape is unknown, empty when there is none."""
        return None if self.shape is None else self.shape[2:]


@dataclass(frozen=True)
class Flow:
    """The ops of one mode in the order they ran, and the outputs by name."""

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
        """The first ops met walking from `op` towards the inputs that do not satisfy `through`."""
        return self._walk(self.inputs_of(op), self.inputs_of, through)[1]

    def ahead(self, op: Op, through: Callable[[Op], bool]) -> tuple[list[Op], list[Op]]:
        """What `op` reaches walking towards the outputs: the ops passed through, and the ops that stopped the walk."""
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
        """Which outputs each op reaches, as bits by their index: for all ops at once, last to first."""
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
    """A model's two flows.

    `root` says whether the subject is a whole model rather than a part of one; None where a front end cannot know.
    `assumed` is True when values had to be guessed to obtain the graph.
    """

    subject: str
    train: Flow
    eval: Flow
    root: bool | None = True
    assumed: bool = False
    _by_site: dict[Mode, dict[Site, Op]] = field(init=False, repr=False, compare=False, default_factory=dict)
    _turns: dict[Mode, dict[Site, list[bool | None]]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for flow in (self.train, self.eval):
            placed = [op for op in flow if op.active is not False or op.drops]
            self._by_site[flow.mode] = {op.site: op for op in placed}
            turns = self._turns[flow.mode] = {}
            for op in placed:
                turns.setdefault(replace(op.site, occurrence=0), []).append(op.active)

    def flow(self, mode: Mode) -> Flow:
        return self.train if mode is Mode.TRAIN else self.eval

    def dropouts(self, active_in: Mode) -> Iterator[Op]:
        """Ops that drop something in that mode, at a rate that is above zero without anybody's asking for it."""
        return (op for op in self.flow(active_in) if op.drops and op.active and op.rate != 0 and not op.latent)

    def latent_dropouts(self, mode: Mode) -> Iterator[Op]:
        """Ops whose rate is zero by default, in a call or a configuration, and that drop in that mode at others."""
        return (op for op in self.flow(mode) if op.latent)

    def randoms(self, active_in: Mode) -> Iterator[Op]:
        """Random draws other than dropout that happen in that mode."""
        return (op for op in self.flow(active_in) if op.kind is Kind.RANDOM and op.active)

    def dropouts_right_before(self, op: Op) -> list[Op]:
        """The dropouts active in the flow of `op` whose result it gets with nothing but reshaping in between."""

        def passive(each: Op) -> bool:
            inactive = each.kind is Kind.DROPOUT and not each.active
            return each.kind in (Kind.IDENTITY, Kind.RESHAPE, Kind.SCALE) or inactive

        found = [each for each in self.flow(op.mode).behind(op, passive) if each.kind is Kind.DROPOUT and each.rate]
        return [*found, *(more for each in found for more in self.dropouts_right_before(each))]

    def gate(self, op: Op) -> Gate:
        """When `op` acts, by comparing the call at its site in the two flows.

        Where a place has its turn another number of times in each mode (a loop that skips layers, say), the turns do
        not belong together one by one: then the gate is known only if all turns of a mode agree.
        """
        train, evaluation = (
            self._turns[mode].get(replace(op.site, occurrence=0), []) for mode in (Mode.TRAIN, Mode.EVAL)
        )
        if train and evaluation and len(train) != len(evaluation):
            if len({*train}) > 1 or len({*evaluation}) > 1:
                return Gate.UNKNOWN
            acts = [train[0], evaluation[0]]
        else:
            by_mode = (self._by_site[mode].get(op.site) for mode in (Mode.TRAIN, Mode.EVAL))
            acts = [found.active if found else False for found in by_mode]
        if None in acts:
            return Gate.UNKNOWN
        if acts == [True, False]:
            return Gate.MODE
        return Gate.ALWAYS if any(acts) else Gate.NEVER
