"""The masks that random draws become, the activations that these drop, and the share that is passed on on average.

A mask is computed from one draw and constants alone. A uniform draw is replaced by evenly spaced numbers, which gives
the mean of any mask whose thresholds and scales are known numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from regcheck.core.graph import Flow, Kind, Op, Operand
from regcheck.lazy_dataclass import dataclass

from .functions import FACTORIES, FORMING, PARTS

CUTS = frozenset(
    "lt gt le ge less greater less_equal greater_equal floor ceil round bernoulli binomial"
    " randint randint_like dropout".split()
)
"""Functions that make zeros and ones of a draw, or draw them."""

SCALES = frozenset("mul div truediv rmul rtruediv".split())
FILLS = frozenset("masked_fill setitem index_fill index_put".split())
"""Functions that set selected values of their first argument to their last."""

POINTS = 2000
"""How many values stand for a uniform draw; a threshold shifts the mean of a mask by half of its inverse at most."""

_UNIFORM = frozenset(("rand", "rand_like", "uniform"))
_TRUTH: Mapping[str, Callable[[float], float]] = {
    "invert": lambda a: float(not a),
    "logical_not": lambda a: float(not a),
    "bitwise_not": lambda a: float(not a),
    "bool": lambda a: float(bool(a)),
    "int": int,
    "long": int,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    **dict.fromkeys(("lt", "less"), lambda a, b: float(a < b)),
    **dict.fromkeys(("le", "less_equal"), lambda a, b: float(a <= b)),
    **dict.fromkeys(("gt", "greater"), lambda a, b: float(a > b)),
    **dict.fromkeys(("ge", "greater_equal"), lambda a, b: float(a >= b)),
    "eq": lambda a, b: float(a == b),
    "ne": lambda a, b: float(a != b),
    **dict.fromkeys(("add", "radd"), lambda a, b: a + b),
    "sub": lambda a, b: a - b,
    "rsub": lambda a, b: b - a,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
}
_UNCHANGED = (Kind.IDENTITY, Kind.RESHAPE)


def is_scaling(op: Op) -> bool:
    """Whether the only tensor of a product or quotient is scaled by a number, known or not."""
    return op.site.function in SCALES and len(op.inputs) == 1


def scale_of(op: Op) -> float | None:
    """The number that `is_scaling` ops multiply by; None where it is not known."""
    numbers = [each for each in op.operands if isinstance(each, float)]
    if len(numbers) != 1 or len(op.operands) != 2:
        return None
    if op.site.function == "mul":
        return numbers[0]
    is_divisor = op.operands[1] == numbers[0] and op.site.function == "div"
    return 1 / numbers[0] if is_divisor and numbers[0] else None


@dataclass(frozen=True)
class Drop:
    """An op that drops some of its `values` by a `mask`."""

    op: Op
    mask: Op
    values: Op


@dataclass(frozen=True)
class DrawnMask:
    """All masks of a `flow` that one `draw` becomes."""

    flow: Flow
    draw: Op

    @cached_property
    def constants(self) -> frozenset[str]:
        """Ops whose values depend on nothing: constants, and what is computed from these alone."""
        names: set[str] = set()
        for op in self.flow:
            is_made = op.kind is Kind.CONSTANT or op.site.function in FACTORIES
            is_random = op.kind in (Kind.RANDOM, Kind.DROPOUT)
            if is_made or (not is_random and op.inputs and names.issuperset(op.inputs)):
                names.add(op.id)
        return frozenset(names)

    @property
    def is_fair(self) -> bool:
        """Whether the draw does not depend on activations, as samples of a predicted probability do."""
        inputs = self.flow.inputs_of(self.draw)
        shaped = self.draw.site.function.endswith("_like")
        return shaped or all(op.id in self.constants for op in inputs)

    @cached_property
    def masks(self) -> Mapping[str, Op]:
        """The draw, and the ops computed from it and constants alone."""
        ops = {self.draw.id: self.draw}
        for op in self.flow:
            inputs = op.inputs[:1] if op.site.function in FORMING else op.inputs
            names = [name for name in inputs if name not in self.constants]
            is_fixed = op.kind is not Kind.RANDOM and not op.learned
            if is_fixed and names and all(name in ops for name in names):
                ops[op.id] = op
        return ops

    def drops(self) -> Iterator[Drop]:
        """The ops that set values to zero, or multiply them, by one of the masks; each value's first one only."""
        dropped: set[str] = set()
        for op in self.flow:
            if op.id in self.masks:
                continue
            inputs = [each for each in self.flow.inputs_of(op) if each.id not in self.constants]
            masks = [each for each in inputs if each.id in self.masks]
            values = [each for each in inputs if each.id not in self.masks]
            if not dropped.isdisjoint(op.inputs):
                if op.kind in (*_UNCHANGED, Kind.SCALE) or (masks and op.site.function in SCALES):
                    dropped.add(op.id)
            elif len(masks) == len(values) == 1 and self._is_dropping(op, values[0]):
                dropped.add(op.id)
                yield Drop(op, masks[0], values[0])

    def _is_dropping(self, op: Op, values: Op) -> bool:
        function, operands = op.site.function, op.operands
        if function == "mul":
            return True
        if function == "where":
            return len(operands) == 3 and any(self._is_zero(each) for each in operands[1:])
        if function in FILLS:
            return bool(operands) and operands[0] == values.id and self._is_zero(operands[-1])
        return False

    def _is_zero(self, operand: Operand) -> bool:
        if isinstance(operand, str):
            op = self.flow.ops.get(operand)
            return op is not None and (
                op.site.function in ("zeros", "zeros_like", "new_zeros", "zero")
                or (op.kind is Kind.CONSTANT and op.site.function == "mul" and 0.0 in op.operands)
                or self._level(operand) == 0
            )
        return operand == 0

    def factors(self, drop: Drop) -> Sequence[float] | None:
        """What a drop multiplies its values by, over evenly spaced draws; None where some number is not known."""
        mask = self._points.get(drop.mask.id)
        if mask is None or drop.op.site.function == "mul":
            return mask
        keeps = drop.op.site.function == "where" and drop.op.operands[1] == drop.values.id
        return [float(bool(each) is keeps) for each in mask]

    @cached_property
    def _points(self) -> Mapping[str, Sequence[float]]:
        """The values of each mask over evenly spaced values of the draw."""
        points: dict[str, Sequence[float]] = {}
        uniform = [(index + 0.5) / POINTS for index in range(POINTS)]
        for name, op in self.masks.items():
            values = self._drawn(uniform) if op is self.draw else self._computed(op, points)
            if values is not None:
                points[name] = values
        return points

    def _drawn(self, uniform: Sequence[float]) -> Sequence[float] | None:
        function = self.draw.site.function
        if function in _UNIFORM and not (function == "uniform" and len(self.draw.operands) > 1):
            return uniform
        if function == "bernoulli":
            keep = self._keep()
            return None if keep is None else [float(each < keep) for each in uniform]
        if function in ("randint", "randint_like"):
            numbers = [each for each in self.draw.operands if isinstance(each, float)]
            low, high = ([0.0, *numbers] if len(numbers) == 1 else numbers)[:2] if numbers else (0.0, 0.0)
            return [math.floor(low + each * (high - low)) for each in uniform] if high > low else None
        rate = self.draw.rate
        if function != "dropout" or rate is None or rate >= 1:
            return None
        return [0.0 if each < rate else 1 / (1 - rate) for each in uniform]

    def _keep(self) -> float | None:
        """The probability of a Bernoulli draw."""
        first, *rest = self.draw.operands or (None,)
        numbers = [each for each in rest if isinstance(each, float)]
        if rest:
            return numbers[0] if len(numbers) == len(rest) == 1 else None
        return self._level(first)

    def _level(self, operand: Operand) -> float | None:
        """The number that a constant tensor is filled with."""
        if not isinstance(operand, str):
            return operand if isinstance(operand, float) else None
        op = self.flow.ops.get(operand)
        if op is None or op.id not in self.constants:
            return None
        function = op.site.function
        if function in ("full", "full_like", "new_full"):
            return self._level(op.operands[-1]) if op.operands else None
        if function in ("ones", "ones_like", "new_ones"):
            return 1.0
        if op.kind in _UNCHANGED:
            return self._level(op.inputs[0])
        levels = [self._level(each) for each in op.operands]
        compute = _ARITHMETIC.get(function)
        if compute is None or len(levels) != 2 or None in levels or (function == "div" and levels[1] == 0):
            return None
        return compute(*levels)  # type: ignore[arg-type]

    def _computed(self, op: Op, points: Mapping[str, Sequence[float]]) -> Sequence[float] | None:
        function = op.site.function
        if op.kind in _UNCHANGED and (len(op.inputs) == 1 or function in FORMING):
            return points.get(op.inputs[0])
        if function in _TRUTH:
            values = points.get(op.inputs[0])
            return None if values is None else [_TRUTH[function](each) for each in values]
        compute = _ARITHMETIC.get(function)
        if compute is None or len(op.operands) != 2:
            return None
        sides = [
            points.get(each) if isinstance(each, str) and each in points else self._level(each) for each in op.operands
        ]
        if any(side is None for side in sides):
            return None
        one, other = [[side] * POINTS if isinstance(side, float) else side for side in sides]
        try:
            return [compute(a, b) for a, b in zip(one, other, strict=True)]  # type: ignore[arg-type]
        except ZeroDivisionError:
            return None

    def sizes(self) -> tuple[Operand, ...]:
        """The sizes of the draw as the source gives them; a single `...` where it has those of another tensor."""
        behind = self.flow.behind(self.draw, lambda op: op.id in self.constants and op.site.function not in FACTORIES)
        for op in (self.draw, *(each for each in behind if each.id in self.constants)):
            function = op.site.function
            operands = op.operands[:-1] if "full" in function else op.operands
            if function.endswith("_like"):
                model = self.flow.ops.get(operands[0]) if operands and isinstance(operands[0], str) else None
                return (...,) if model is None or model.site.function not in PARTS else ()
            if ... in operands:
                return (...,)
            if function == "rand" or op is not self.draw:
                return tuple(each for each in operands if not isinstance(each, str))
        return ()
