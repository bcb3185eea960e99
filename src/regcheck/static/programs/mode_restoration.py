"""Functions that switch a model's mode for a while: in which mode each of their paths gives it back."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from regcheck.core.usage import Backward, Called, ModeNotRestored, ModeSet, Stepped
from regcheck.core.usage import Model as Subject
from regcheck.files.place import Place
from regcheck.static.interpreter.state import Next
from regcheck.static.interpreter.values import (
    Cells,
    Constant,
    Entries,
    External,
    Function,
    Instance,
    Module,
    TensorRef,
    Value,
    descendants,
    modules_in,
)
from regcheck.static.models.inspection import depends_on_mode
from regcheck.static.project.names import Project

from .events import Args, Kwargs
from .penalties import Training


@dataclass(eq=False)
class _Pass:
    """One pass through a function: the modes its models were in before it set them, and the exits seen so far.

    `found` holds them by module; `off` the models that the path at hand has put in eval mode. `guarded` counts the
    blocks around, inside of which a `return` is not the last that happens.
    """

    name: str = ""
    body: object = None
    found: Cells = field(default_factory=Cells)
    off: Cells = field(default_factory=Cells)
    targets: dict[str, Module] = field(default_factory=dict)
    back: dict[str, Place] = field(default_factory=dict)
    exits: list[tuple[Place, str, Module, bool]] = field(default_factory=list)
    restored: set[str] = field(default_factory=set)
    guarded: int = 0


class Restoring(Training):
    """A program of which is known, too, what becomes of the modes that its functions were given models in."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self._passes: list[_Pass] = []
        self._debts = Cells()
        self._waiting: dict[int, set[int]] = {}

    def call_function(self, function: Function, args: Args, kwargs: Kwargs, node: ast.AST) -> Value:
        start = len(self.events)
        this = _Pass(function.name, function.node.body)
        self._passes.append(this)
        try:
            found = super().call_function(function, args, kwargs, node)
        finally:
            self._passes.pop()
        trained = this.exits and any(isinstance(each, (Backward, Stepped)) for each in self.events[start:])
        if this.exits and not trained and not _is_generator(function):
            self._tell(this, node, start)
        return found

    def _tell(self, this: _Pass, node: ast.AST, start: int) -> None:
        """Write down the exits of a function, called at `node`, that leave another mode than its models were in.

        One that has no way of giving it back counts where the model was to train, and it used the model in eval mode.
        """
        for place, key, module, training in this.exits:
            if key not in this.restored and self._is_to_train(key, start) and self._is_used_off(key, start):
                self.set(self._debts, str(id(module)), Constant(len(self.events)))
                left = ModeNotRestored(
                    place,
                    self.frame.name,
                    model=self.subject(module),
                    training=False,
                    mode_setter=this.name,
                    restores=False,
                )
                self.events.append(left)
            if key in this.restored:
                model = self.subject(this.targets[key])
                part = next(path for path, each in descendants(this.targets[key]) if each is module)
                if self._was_trained(model) if part else not self._is_asked(node):
                    self.set(self._debts, str(id(module)), Constant(len(self.events)))
                left = ModeNotRestored(
                    place, self.frame.name, model=model, training=training, mode_setter=this.name, part=part
                )
                self.events.append(left)

    def _is_to_train(self, key: str, start: int) -> bool:
        """Whether a model was put in train mode by a call, or called in it with gradients, before event `start`."""
        events = [each for each in self.events[:start] if isinstance(each, (Called, ModeSet)) and each.model.key == key]
        return any(each.training is True and (isinstance(each, ModeSet) or each.grad) for each in events)

    def _is_used_off(self, key: str, start: int) -> bool:
        """Whether a model was called in eval mode since event `start`."""
        calls = [each for each in self.events[start:] if isinstance(each, Called) and each.model.key == key]
        return any(each.training is False for each in calls)

    def _was_trained(self, model: Subject) -> bool:
        """Whether the model was called with gradients before: the modes of its parts were meant for training."""
        return any(isinstance(each, Called) and each.grad and each.model.key == model.key for each in self.events)

    def _is_asked(self, call: ast.AST) -> bool:
        """Whether the caller may end because of what a call gave: then an early return is no surprise to it."""
        scope = self.frame.function.node if self.frame.function else self.frame.source.tree
        nodes = [*ast.walk(scope)]
        kept: list[ast.expr] = []
        for each in nodes:
            if isinstance(each, (ast.Assign, ast.NamedExpr)) and _holds(each.value, call):
                kept += each.targets if isinstance(each, ast.Assign) else [each.target]
        names = {each.id for target in kept for each in ast.walk(target) if isinstance(each, ast.Name)}
        return any(
            any(each is call or (isinstance(each, ast.Name) and each.id in names) for each in ast.walk(node.test))
            and any(isinstance(each, (ast.Break, ast.Return, ast.Raise)) for each in ast.walk(node))
            for node in nodes
            if isinstance(node, (ast.If, ast.While))
        )

    def unsettle(self, values: Sequence[Value]) -> None:
        super().unsettle(values)
        for each in values:
            held = [*each.cells.values()] if isinstance(each, (Entries, Instance)) else []
            for model in (*modules_in(each), *(inside for value in held for inside in modules_in(value))):
                for _, part in descendants(model) if self._debts else ():
                    self._settle(part)

    def _settle(self, module: Module) -> None:
        """What was owed of a module's mode is given, or may be."""
        if str(id(module)) in self._debts:
            self.set(self._debts, str(id(module)), Constant(None))

    def set_training(self, value: Value, training: Value, node: ast.AST) -> None:
        for model in modules_in(value):
            for _, each in descendants(model):
                self._keep(each)
                self._settle(each)
            if self._passes:
                this, key = self._passes[-1], str(id(model))
                this.targets[key] = model
                if training == Constant(False):
                    self.set(this.off, key, Constant(True))
                else:
                    this.back[key] = self.place(node)
        super().set_training(value, training, node)

    def _keep(self, module: Module) -> None:
        """Remember the mode that a module is in before the function at hand sets it."""
        if self._passes and str(id(module)) not in self._passes[-1].found:
            self.set(self._passes[-1].found, str(id(module)), self.training(module))

    def run(self, body: Sequence[ast.stmt]) -> Next:
        end = super().run(body)
        if end is Next.GO and self._passes and body is self._passes[-1].body:
            self._leave(body[-1])
        return end

    def _run_return(self, node: ast.Return) -> Next:
        end = super()._run_return(node)
        if self._passes:
            self._leave(node)
        return end

    def _run_break(self, node: ast.Break) -> Next:
        for key in [*self._debts]:  # what comes next in the loop does not meet what this path leaves behind
            self.set(self._debts, key, Constant(None))
        return super()._run_break(node)

    def _leave(self, node: ast.stmt) -> None:
        """The function at hand ends here: compare the modes with those it found."""
        this = self._passes[-1]
        for key, model in this.targets.items() if not this.guarded else ():
            if this.found.get(key) != Constant(True) or key not in this.off:
                continue
            if self.training(model) == Constant(False):
                this.exits.append((self.place(node), key, model, False))
            elif self.training(model) == Constant(True):
                this.restored.add(key)
                part = next((each for _, each in descendants(model) if self._is_unfrozen(each, this)), None)
                if part is not None and key in this.back:
                    this.exits.append((this.back[key], key, part, True))

    def _is_unfrozen(self, module: Module, this: _Pass) -> bool:
        """Whether a layer was held in eval mode and is in train mode now."""
        held = this.found.get(str(id(module))) == Constant(False) and self.training(module) == Constant(True)
        return held and bool(depends_on_mode(module))

    def _run_try(self, node: ast.Try) -> Next:
        with self._guarded(bool(node.finalbody)):
            return super()._run_try(node)

    def _run_with(self, node: ast.With | ast.AsyncWith) -> Next:
        made = [each.context_expr for each in node.items]
        heads = [each.func if isinstance(each, ast.Call) else each for each in made]
        names = [self.project.resolve(self.frame.source, each) for each in heads]
        plain = all(isinstance(each, External) and each.name.startswith("torch.") for each in names)
        with self._guarded(not plain):
            return super()._run_with(node)

    _run_asyncwith = _run_with

    @contextmanager
    def _guarded(self, guarded: bool) -> Iterator[None]:
        """Inside of what may set the mode once more when the function returns."""
        this = self._passes[-1] if self._passes else _Pass()
        this.guarded += guarded
        try:
            yield
        finally:
            this.guarded -= guarded

    def call_module(self, module: Module, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        found = [self._debts.get(str(id(each))) for _, each in descendants(module)] if self._debts else []
        owed = {each.value for each in found if isinstance(each, Constant) and each.value is not None}
        result = super().call_module(module, args, kwargs, node)
        if owed and isinstance(result, TensorRef) and self.world["grad"] == Constant(True):
            self._waiting |= dict.fromkeys(self.origins([result]), owed)
        return result

    def method(self, owner: Value, name: str, args: Args, kwargs: Kwargs, node: ast.expr) -> Value:
        if name == "backward":
            for call in self.origins([owner]):
                for index in self._waiting.pop(call, ()):
                    left = self.events[index]
                    assert isinstance(left, ModeNotRestored)
                    self.events[index] = replace(left, next_use=left.next_use or self.events[call].place)
        return super().method(owner, name, args, kwargs, node)


def _holds(node: ast.expr, call: ast.AST) -> bool:
    return any(each is call for each in ast.walk(node))


def _is_generator(function: Function) -> bool:
    """Whether a function may be a context manager, whose end comes later."""
    return any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in ast.walk(function.node))
