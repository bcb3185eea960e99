"""Optimizers in source code: the parameter groups that they are constructed with, and later changes of these."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import field, replace

from regcheck.core.usage import Group, OptimizerInfo, Stepped
from regcheck.files.syntax import walk
from regcheck.lazy_dataclass import dataclass
from regcheck.static.interpreter.domain import Args, Kwargs
from regcheck.static.interpreter.part import Part
from regcheck.static.interpreter.values import (
    OPEN,
    VARYING,
    Cells,
    Constant,
    Entries,
    Items,
    Maybe,
    Module,
    OptimizerValue,
    ParameterGroup,
    Parameters,
    Setting,
    Several,
    Value,
    argument,
    by_default,
    clause_of,
    element,
)
from regcheck.static.torch_calls import number_of
from regcheck.torch_api.arguments import BY_KEYWORD, Argument
from regcheck.torch_api.optimizers import DECAY, FLAG, OPTIMIZERS, UNLISTED

from .events import EventLog
from .freezing import Freezing

_NO_DECAY = Argument(BY_KEYWORD, DECAY, 0.0)
_NO_FLAG = Argument(BY_KEYWORD, FLAG, False)


@dataclass(eq=False)
class _Built:
    """An optimizer, the index of the event of its construction, and the different groups that it steps with."""

    optimizer: OptimizerValue
    event: int
    stepped: dict[tuple[Group, ...], None] = field(default_factory=dict)


class Optimizers(Part):
    """Follows the parameter groups of optimizers, and records their construction and their steps."""

    def __init__(self, log: EventLog, freezing: Freezing) -> None:
        self.log = log
        self.freezing = freezing
        self._built: list[_Built] = []
        self._of_tasks: dict[int, Value] = {}

    def begin(self) -> None:
        """A program begins."""
        self._built.clear()
        self._of_tasks.clear()

    def configure(self, task: Module, configured: Value) -> None:
        """A library gets what `configure_optimizers` of a task returns."""
        optimizers = [*_optimizers_in(configured)]
        if optimizers:
            self._of_tasks[id(task)] = optimizers[0] if len(optimizers) == 1 else Items.of(tuple(optimizers))

    def of_task(self, task: Module) -> Value | None:
        """`task.optimizers()`: what the task has configured; None if it has configured nothing yet."""
        return self._of_tasks.get(id(task))

    def end(self) -> None:
        """The program is over: the event of each construction gets the groups that the optimizer steps with."""
        for each in self._built:
            if each.event >= len(self.log.events):  # a hook that could not be followed built it
                continue
            event = self.log.events[each.event]
            assert isinstance(event, Stepped)
            first, *others = [*each.stepped] or [_groups_of(each.optimizer)]
            groups = tuple(dict.fromkeys(group for state in each.stepped for group in state)) if others else first
            self.log.events[each.event] = replace(event, optimizer=replace(event.optimizer, groups=groups))

    def construct(self, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> OptimizerValue:
        """`torch.optim.name(…)`."""
        row = OPTIMIZERS.get(name, UNLISTED)
        decay = row.decay or _NO_DECAY
        defaults = {
            DECAY: argument(args, kwargs, *decay),
            FLAG: argument(args, kwargs, *(row.flag or _NO_FLAG)),
        }
        names = tuple(dict.fromkeys(_names(node, decay))) if isinstance(node, ast.Call) else ()
        parameters = argument(args, kwargs, 0, "params")
        described = OptimizerInfo(str(self.state.place(node)), name, name, (), names)
        groups = Items.of(self._groups(parameters, defaults))
        optimizer = OptimizerValue(described, defaults, groups)
        self.freezing.add_optimizer(parameters)
        self._built.append(_Built(optimizer, self.log.add(Stepped, node, optimizer=described)))
        return optimizer

    def step(self, optimizer: OptimizerValue, node: ast.AST) -> None:
        """`optimizer.step()`."""
        groups = _groups_of(optimizer)
        self.log.add(Stepped, node, optimizer=replace(optimizer.described, groups=groups))
        for each in self._built:
            if each.optimizer is optimizer:
                each.stepped[groups] = None

    def add_group(self, optimizer: OptimizerValue, group: Value) -> None:
        """`optimizer.add_param_group(group)`."""
        added = self._groups(Items.of((group,)), optimizer.defaults)
        self.state.set(optimizer.groups.cells, "items", (*optimizer.groups.items, *added))
        self.freezing.add_optimizer(group)

    def note_write(self, group: ParameterGroup) -> None:
        """The program sets an entry of a group; in a branch that some passes of a loop take, it steps with that."""
        doubts = self.state.doubts
        if doubts and all(each.varies and not each.off_by_default for each in doubts):
            for each in self._built:
                if any(element(item) is group for item in each.optimizer.groups.items):
                    each.stepped[(_group(group),)] = None

    def _groups(self, parameters: Value, defaults: Mapping[str, Value]) -> tuple[Value, ...]:
        """The parameter groups, each with the optimizer's settings unless it gives its own."""
        elements = parameters.items if isinstance(parameters, Items) else ()
        if elements and all(isinstance(element(each), Entries) for each in elements):
            groups = [self._group(element(each), defaults) for each in elements]
            return tuple(
                Several(group) if isinstance(each, Several) else group
                for each, group in zip(elements, groups, strict=True)
            )
        group = self._group(Entries.of({"params": parameters}), defaults)
        is_one = isinstance(parameters, Parameters) or bool(elements)
        return (group,) if is_one else (Several(group),)

    def _group(self, own: Value, defaults: Mapping[str, Value]) -> ParameterGroup:
        """A group; its decay is unknown where it has unknown entries, a decay perhaps among them.

        It is unknown, too, if it is a default, and the user changes another default so that the call is made.
        """
        assert isinstance(own, Entries)
        cells = Cells({**defaults, **own.cells})
        is_open = cells.pop(OPEN, None) is not None
        decay = cells[DECAY]
        if is_open or (self.state.is_off_by_default and isinstance(decay, Setting)):
            decay = cells[DECAY] = VARYING
        return ParameterGroup(cells, decay)


def _optimizers_in(configured: Value) -> Iterator[OptimizerValue]:
    """The optimizers that `configure_optimizers` returns: one, several, or each under a key beside its scheduler."""
    if isinstance(configured, OptimizerValue):
        yield configured
    elif isinstance(configured, Entries):
        yield from _optimizers_in(configured.cells.get("optimizer", VARYING))
    elif isinstance(configured, Items):
        for each in configured.items:
            yield from _optimizers_in(element(each))


def _names(call: ast.Call, decay: Argument) -> Iterator[str]:
    """The names in the expressions that a call gives as weight decay, for all parameters or for a group."""
    values = [each.value for each in call.keywords if each.arg == DECAY]
    values += call.args[decay.position : decay.position + 1]
    for each in (node for node in walk(call) if isinstance(node, ast.Dict)):
        pairs = zip(each.keys, each.values, strict=True)
        values += [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == DECAY]
    for node in (inner for each in values for inner in walk(each)):
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield ast.unparse(node)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)


def _groups_of(optimizer: OptimizerValue) -> tuple[Group, ...]:
    """The groups that an optimizer certainly has at this time."""
    groups = [element(each) for each in optimizer.groups.items if not isinstance(each, Maybe)]
    return tuple(_group(each) for each in groups if isinstance(each, ParameterGroup))


def _group(group: ParameterGroup) -> Group:
    """A parameter group as rules see it."""
    decay, flag = group.cells[DECAY], by_default(group.cells[FLAG])
    parameters = group.cells.get("params")
    holds, model = (parameters.holds, parameters.model) if isinstance(parameters, Parameters) else ((), None)
    is_decoupled = bool(flag.value) if isinstance(flag, Constant) else None
    is_set_later = decay is not group.constructed_with
    return Group(number_of(decay), is_decoupled, holds, model, clause_of(decay), is_set_later)
