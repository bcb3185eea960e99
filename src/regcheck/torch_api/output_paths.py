"""The ways on which a dropout's result reaches a model's outputs or a loss while no layer learns from it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from regcheck.core.graph import Flow, Kind, Op
from regcheck.lazy_dataclass import dataclass

from .functions import CHOICES, COMPARISONS, FACTORIES, REDUCTIONS, RESAMPLING
from .losses import is_loss

CARRYING = frozenset((Kind.IDENTITY, Kind.RESHAPE, Kind.CONCAT, Kind.SCALE, Kind.SOFTMAX, Kind.SIGMOID))
"""The kinds of op that hand each value on by itself, or rescale it among the others."""

_DATA = frozenset(Kind) - {Kind.PARAMETER, Kind.RANDOM, Kind.DROPOUT, Kind.OPAQUE}
_UNCHANGED = (Kind.INPUT, Kind.IDENTITY, Kind.RESHAPE)
_LAYERS = (Kind.LINEAR, Kind.CONV)
_JOINING = frozenset("add radd sub rsub".split())
_MASKING = frozenset("mul rmul where masked_fill".split()) | _JOINING
_SELECTING = frozenset("div truediv gather take_along_dim index_select".split())
"""Functions that hand on values of their first argument alone."""


@dataclass(frozen=True)
class OutputPaths:
    """The paths of one flow: reshaping, scaling, softmax, pooling, masks, and sums of nothing but dropped values."""

    flow: Flow

    def carries(self, op: Op) -> bool:
        """Whether an op hands dropped values on."""
        inert = op.kind is Kind.DROPOUT and not op.active
        return hands_on(op) or inert or op.id in self._sums or op.id in self._masked

    def carries_scores(self, op: Op) -> bool:
        """Whether an op hands dropped values on if they are known for scores: then an activation does, too."""
        pointwise = op.kind is Kind.ACTIVATION and not op.learned and op.site.function != "glu"
        return pointwise or self.carries(op)

    def layers_behind(self, drop: Op, through: Callable[[Op], bool]) -> list[Op]:
        """The nearest ops upstream that do not satisfy `through`: each layer of a sum, or of branches that join."""
        return self.flow.behind(drop, lambda op: op.id in self._sums_of_layers or through(op))

    @cached_property
    def through(self) -> Callable[[Op], bool]:
        """`carries` as one object, by which the flow memoizes what it reaches."""
        return self.carries

    @cached_property
    def through_scores(self) -> Callable[[Op], bool]:
        """`carries_scores` as one object."""
        return self.carries_scores

    def readers(self, drop: Op) -> list[Op]:
        """The nearest ops ahead that turn scores into something else: a softmax, a reduction or a loss."""
        reading, carrying = reads_scores, self.through_scores
        _, stopped = self.flow.ahead(drop, lambda op: carrying(op) and not reading(op))
        return [op for op in stopped if reading(op)]

    def scorers(self, drop: Op) -> list[Op]:
        """The ops within the model that score what is dropped: losses and log-softmaxes."""
        carried, stopped = self.flow.ahead(drop, self.through_scores)
        return [op for op in (*carried, *stopped) if scores(op)]

    def companions(self, drop: Op) -> list[Op]:
        """The dropouts whose results are summed up with that of `drop`."""
        carried, _ = self.flow.ahead(drop, self.through_scores)
        beside = (each for op in carried if op.id in self._sums for each in self.flow.behind(op, self.through_scores))
        return [*{each.id: each for each in beside if each.id != drop.id}.values()]

    def feeds_a_layer(self, drop: Op) -> bool:
        """Whether a layer learns from what is dropped; a choice by the scores, as of the next word, hands none on."""
        _, stopped = self.flow.ahead(drop, lambda op: not (op.learned or is_loss(op.site.function) or chooses(op)))
        return any(op.learned and not is_loss(op.site.function) for op in stopped)

    @cached_property
    def _sums(self) -> frozenset[str]:
        """The ids of sums of dropped values, and of joins of branches that all drop."""
        dropped: set[str] = set()
        sums: set[str] = set()
        for op in self.flow:
            if op.kind is Kind.DROPOUT and op.active:
                dropped.add(op.id)
            elif op.id in self._masked:
                dropped |= {op.id} if self._masked[op.id] in dropped else set()
            elif op.inputs and dropped.issuperset(op.inputs):
                if joins(op):
                    sums.add(op.id)
                if joins(op) or hands_on(op):
                    dropped.add(op.id)
        return frozenset(sums)

    @cached_property
    def _sums_of_layers(self) -> frozenset[str]:
        """The ids of sums and joins of nothing but results of layers, and of parameters such as a bias."""
        results: set[str] = set()
        parameters: set[str] = set()
        sums: set[str] = set()
        for op in self.flow:
            if op.kind in _LAYERS:
                results.add(op.id)
            elif op.kind is Kind.PARAMETER:
                parameters.add(op.id)
            elif op.inputs and (results | parameters).issuperset(op.inputs) and not results.isdisjoint(op.inputs):
                if joins(op):
                    sums.add(op.id)
                if joins(op) or hands_on(op):
                    results.add(op.id)
        return frozenset(sums)

    @cached_property
    def _masked(self) -> dict[str, str]:
        """For each op that masks, weights or selects values by data, the id of these values."""
        masked: dict[str, str] = {}
        for op in self.flow:
            function, masks = op.site.function, self._masks
            if function in _JOINING:  # an input that is added as it is may be a residual
                masks = frozenset(each for each in masks if self.flow.ops[each].kind not in _UNCHANGED)
            if function in _MASKING:
                values = [each for each in op.inputs if each not in masks]
            else:
                values = [*op.inputs[:1]] if function in _SELECTING and masks.issuperset(op.inputs[1:]) else []
            if len(values) == 1 < len(op.inputs):
                masked[op.id] = values[0]
        return masked

    @cached_property
    def _masks(self) -> frozenset[str]:
        """The ids of data that tells which values count: comparisons, constants, and inputs that no layer reads."""
        data: set[str] = set()
        masks: set[str] = set()
        for op in self.flow:
            if op.site.function in FACTORIES:
                is_data = is_mask = True
            else:
                is_data = op.kind in _DATA and not op.learned and data.issuperset(op.inputs)
                is_mask = op.site.function in COMPARISONS or masks.issuperset(op.inputs)
            if op.kind is Kind.INPUT:
                is_mask = op.integral or not self._is_read_by_a_layer(op)
            data |= {op.id} if is_data else set()
            masks |= {op.id} if is_data and is_mask else set()
        return frozenset(masks)

    def _is_read_by_a_layer(self, result: Op) -> bool:
        """Whether a layer reads an input otherwise than by a comparison."""
        _, stopped = self.flow.ahead(result, lambda op: not (op.learned or op.site.function in COMPARISONS))
        return any(op.learned for op in stopped)


def hands_on(op: Op) -> bool:
    """Whether an op hands on the values of its input, each by itself, mixed with neighbours, or reduced."""
    return op.kind in CARRYING or is_reduction(op) or op.site.function in RESAMPLING


def joins(op: Op) -> bool:
    """Whether an op adds values up, or is one of several values, depending on the branch that ran."""
    return op.kind is Kind.JOIN or (op.kind is Kind.COMBINE and op.site.function in _JOINING)


def is_reduction(op: Op) -> bool:
    """Whether an op reduces a whole axis of its one input, as pooling over time does."""
    return op.site.function in REDUCTIONS and len(op.inputs) == 1 and not op.learned


def chooses(op: Op) -> bool:
    """Whether an op finds the places of the largest values, through which no gradient passes."""
    return op.site.function in CHOICES


def scores(op: Op) -> bool:
    """Whether an op takes its input for a model's scores."""
    return op.site.function == "log_softmax" or is_loss(op.site.function)


def reads_scores(op: Op) -> bool:
    """Whether an op turns scores into something else than scores of the same form."""
    return op.kind is Kind.SOFTMAX or op.site.function in RESAMPLING or is_reduction(op) or scores(op)
